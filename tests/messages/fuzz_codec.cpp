// libFuzzer target: no bytes may crash a decoder, and what it accepts must survive a round trip.
// The first byte chooses the record type, the rest is the message. Built by scripts/fuzz_codec.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "messages/codec.hpp"

namespace tracewise {
namespace {

// Records may hold NaN metrics, so bytes are compared, not records.
template <class R>
void round_trip(std::string_view bytes) {
  R first;
  if (!decode(bytes, first).ok()) return;
  const auto once = encode(first);
  // Bytes within the limit may grow when numbers were sent in fewer bytes than our own form takes.
  if (!once.ok()) return;
  R second;
  TW_CHECK(decode(*once, second).ok(), "a decoded record, written again, must be readable");
  const auto twice = encode(second);
  TW_CHECK(twice.ok() && *twice == *once, "the second round trip must change nothing");
}

constexpr void (*kRoundTrips[])(std::string_view) = {
#define ENTRY(R) &round_trip<R>,
    TRACEWISE_RECORD_TYPES(ENTRY)
#undef ENTRY
};

}  // namespace
}  // namespace tracewise

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tracewise::kRoundTrips;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  kRoundTrips[data[0] % std::size(kRoundTrips)](bytes.substr(1));
  return 0;
}
