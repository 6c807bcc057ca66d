#include "transport/resolve.hpp"

#include <netdb.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "messages/waits.hpp"

namespace tracewise {
namespace {

// Owned by the caller and by the thread that asks, whichever ends last.
struct Question {
  std::mutex mutex;
  Condition answered;
  bool done = false;
  int failure = 0;  // getaddrinfo's
  std::vector<SocketAddress> addresses;
};

void ask(Question& question, const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* at = failure == 0 ? found : nullptr; at != nullptr; at = at->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.length = at->ai_addrlen;
    addresses.push_back(address);
  }
  if (failure == 0) ::freeaddrinfo(found);
  const std::lock_guard lock(question.mutex);
  question.failure = failure;
  question.addresses = std::move(addresses);
  question.done = true;
  question.answered.notify_all();
}

}  // namespace

Result<std::vector<SocketAddress>> resolve(const std::string& host, uint16_t port,
                                           TimePoint deadline, std::stop_token stop) {
  if (const auto address = numeric_address(host, port)) return std::vector{*address};
  const auto question = std::make_shared<Question>();
  try {
    // getaddrinfo() can't be ended, and Asio's resolver waits for it when it dies; a thread that
    // nobody waits for is the only way to keep a deadline.
    std::thread([question, host, port] { ask(*question, host, port); }).detach();
  } catch (const std::system_error& failure) {
    return Error{ErrorClass::kResource,
                 std::string("no thread to resolve '") + host + "': " + failure.what()};
  }
  std::unique_lock lock(question->mutex);
  Wait("an address", "the resolver", deadline).on(question->answered, lock, stop, [&] {
    return question->done;
  });
  if (question->done) {
    if (question->failure == 0) return std::move(question->addresses);
    return bad_input("'" + host + "' does not resolve: " + ::gai_strerror(question->failure));
  }
  if (stop.stop_requested()) {
    return Error{ErrorClass::kCancelled, "resolving '" + host + "' was cancelled"};
  }
  return Error{ErrorClass::kDeadline, "'" + host + "' was not resolved in time"};
}

}  // namespace tracewise
