#include "messages/codec.hpp"

#include <google/protobuf/arena.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "messages/group_size.hpp"
#include "messages/validate.hpp"
#include "tracewise.pb.h"

#include "messages/codec_fields.inc"  // of the twins above

namespace tracewise {
namespace {

template <class R>
constexpr size_t kMaxBytes = std::is_same_v<R, SampleGroup> ? kMaxGroupBytes : kMaxMessageBytes;

Error too_large(const char* record, size_t bytes, size_t limit) {
  return {ErrorClass::kResource, std::string(record) + " of " + std::to_string(bytes) +
                                     " bytes exceeds a message's limit of " +
                                     std::to_string(limit)};
}

// Where a twin lives for as long as one call, which makes no other: its many small arrays are cut
// from one block, which a thread keeps, and let go of together.
class TwinArena {
 public:
  template <class Twin>
  Twin& make() {
    return *google::protobuf::Arena::CreateMessage<Twin>(&arena_);
  }

 private:
  static google::protobuf::ArenaOptions options() {
    alignas(std::max_align_t) static thread_local std::array<char, 32 << 10> block;
    google::protobuf::ArenaOptions options;
    options.initial_block = block.data();
    options.initial_block_size = block.size();
    return options;
  }
  google::protobuf::Arena arena_{options()};
};

template <class Twin, class R>
Result<std::string> encode_as(const char* name, const R& record) {
  TwinArena arena;
  Twin& twin = arena.make<Twin>();
  codec::Encoder encoder;
  visit(encoder, record, twin);
  const size_t bytes = twin.ByteSizeLong();
  if (bytes > kMaxBytes<R>) return too_large(name, bytes, kMaxBytes<R>);
  std::string out(bytes, '\0');
  // With the sizes that were just added up: adding them up again takes a quarter as long as
  // writing.
  twin.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(out.data()));
  return out;
}

template <class Twin, class R>
Result<void> decode_as(const char* name, std::string_view bytes, R& out) {
  if (bytes.size() > kMaxBytes<R>) return too_large(name, bytes.size(), kMaxBytes<R>);
  TwinArena arena;
  Twin& twin = arena.make<Twin>();
  if (!twin.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return corrupt(std::string(name) + ": " + std::to_string(bytes.size()) +
                   " bytes are cut short or are no such message");
  }
  R record;
  codec::Decoder decoder;
  visit(decoder, record, twin);
  if (!decoder.error.empty()) return corrupt(decoder.error);
  TW_TRY(validate(record));
  out = std::move(record);
  return {};
}

}  // namespace

#define TRACEWISE_DEFINE_CODEC(R)                                                      \
  Result<std::string> encode(const R& record) { return encode_as<v1::R>(#R, record); } \
  Result<void> decode(std::string_view bytes, R& out) { return decode_as<v1::R>(#R, bytes, out); }
TRACEWISE_RECORD_TYPES(TRACEWISE_DEFINE_CODEC)
#undef TRACEWISE_DEFINE_CODEC

}  // namespace tracewise
