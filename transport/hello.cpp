#include "transport/hello.hpp"

namespace tracewise {

const char* to_string(Channel channel) {
  switch (channel) {
    case Channel::kActors:
      return "actors";
    case Channel::kWeights:
      return "weights";
    case Channel::kShell:
      return "shell";
    case Channel::kRanks:
      return "ranks";
    case Channel::kNccl:
      return "nccl";
  }
  TW_CHECK(false, "a channel is one of its enumerators");
}

Result<void> check_hello(const Hello& own, const Hello& theirs, const std::string& peer) {
  const auto differ = [&](const std::string& what, const std::string& their_value,
                          const std::string& own_value) {
    return "node '" + theirs.node + "' " + what + " " + their_value + ", node '" + own.node + "' " +
           own_value;
  };
  const auto quoted = [](const std::string& text) { return "'" + text + "'"; };
  // First, because what follows calls the node by its name.
  if (theirs.node != peer) {
    return bad_input("a node calls itself '" + theirs.node + "', but its certificate is that of '" +
                     peer + "'");
  }
  if (theirs.protocol != own.protocol) {
    return unsupported(
        differ("speaks protocol", std::to_string(theirs.protocol), std::to_string(own.protocol)) +
        " (builds '" + theirs.build + "' and '" + own.build + "'); start the same build on both");
  }
  if (theirs.build != own.build) {
    return unsupported(differ("is of build", quoted(theirs.build), quoted(own.build)) +
                       "; start the same build on both");
  }
  if (theirs.run != own.run) {
    return bad_input(differ("belongs to run", quoted(theirs.run), quoted(own.run)));
  }
  if (!theirs.config_hash.empty() && !own.config_hash.empty() &&
      theirs.config_hash != own.config_hash) {
    return bad_input(
        differ("was started with config", quoted(theirs.config_hash), quoted(own.config_hash)));
  }
  return {};
}

std::string framed(std::string_view message) {
  TW_CHECK(message.size() <= kMaxHelloBytes, "a hello is validated before it is sent");
  std::string out;
  for (size_t i = 0; i < kHelloPrefixBytes; ++i) {
    out.push_back(static_cast<char>((message.size() >> (8 * i)) & 0xff));
  }
  return out.append(message);
}

Result<size_t> framed_bytes(std::span<const std::byte, kHelloPrefixBytes> prefix) {
  size_t bytes = 0;
  for (size_t i = 0; i < kHelloPrefixBytes; ++i) {
    bytes |= static_cast<size_t>(prefix[i]) << (8 * i);
  }
  if (bytes <= kMaxHelloBytes) return bytes;
  return corrupt("a hello of " + std::to_string(bytes) + " bytes exceeds the limit of " +
                 std::to_string(kMaxHelloBytes));
}

}  // namespace tracewise
