#include "learner/gloo_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstring>

namespace tracewise {
namespace {

// Where an entry's socket address begins. An entry is: size_t length and bytes of the host's name;
// size_t length of the address; sockaddr_storage; int64 sequence; int64 sequence of each rank.
Result<size_t> address_at(const std::string& entry) {
  const auto number_at = [&](size_t at) {
    size_t number = 0;
    std::memcpy(&number, entry.data() + at, sizeof(number));
    return number;
  };
  const Error other = unsupported("this Gloo describes ranks in a form that cannot be forwarded");
  if (entry.size() < sizeof(size_t)) return other;
  const size_t name = number_at(0);
  constexpr size_t kAddress = sizeof(sockaddr_storage) + sizeof(int64_t);
  if (name > entry.size() || entry.size() < 2 * sizeof(size_t) + name + kAddress) return other;
  const size_t at = 2 * sizeof(size_t) + name;
  sockaddr_in address{};
  std::memcpy(&address, entry.data() + at, sizeof(address));
  if (number_at(at - sizeof(size_t)) != kAddress || address.sin_family != AF_INET) return other;
  return at;
}

}  // namespace

std::optional<int> rank_of(const std::string& key) {
  const char* begin = key.data() + key.rfind('/') + 1;
  const char* end = key.data() + key.size();
  int rank = 0;
  const auto [stop, error] = std::from_chars(begin, end, rank);
  if (error != std::errc{} || stop != end || rank < 0) return std::nullopt;
  return rank;
}

Result<uint16_t> gloo_port(const std::string& entry) {
  TW_ASSIGN(const size_t at, address_at(entry));
  sockaddr_in address{};
  std::memcpy(&address, entry.data() + at, sizeof(address));
  return ntohs(address.sin_port);
}

Result<std::string> with_gloo_address(std::string entry, const std::string& address,
                                      uint16_t port) {
  TW_ASSIGN(const size_t at, address_at(entry));
  sockaddr_in changed{};
  changed.sin_family = AF_INET;
  changed.sin_port = htons(port);
  TW_CHECK(inet_pton(AF_INET, address.c_str(), &changed.sin_addr) == 1, address);
  std::memcpy(entry.data() + at, &changed, sizeof(changed));
  return entry;
}

}  // namespace tracewise
