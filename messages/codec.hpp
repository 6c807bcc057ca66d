// Records <-> the bytes of their protobuf twins. codec.cpp alone sees protobuf.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Nothing larger travels but a SampleGroup (group_size.hpp); weights go over a transport.
inline constexpr size_t kMaxMessageBytes = size_t{8} << 20;

// Every record type, in travel order. Both ends of a connection announce exactly this list.
#define TRACEWISE_RECORD_TYPES(X) \
  X(Hello)                        \
  X(HelloReply)                   \
  X(Prompt)                       \
  X(SamplingParams)               \
  X(GroupKey)                     \
  X(Route)                        \
  X(GroupTask)                    \
  X(Failure)                      \
  X(Rollout)                      \
  X(ProbeRequest)                 \
  X(ProbeResult)                  \
  X(TracedRollout)                \
  X(AdvantageRollout)             \
  X(StepPair)                     \
  X(GroupStats)                   \
  X(SampleGroup)                  \
  X(GroupFailed)                  \
  X(Metric)                       \
  X(Commit)                       \
  X(TensorEntry)                  \
  X(WeightsManifest)              \
  X(WeightsPlace)                 \
  X(WeightsReady)                 \
  X(WeightsPull)                  \
  X(WeightsShare)                 \
  X(WeightsDelivered)

// encode(): the record as its twin's bytes. kResource if they exceed kMaxMessageBytes. What
// validate() (messages/validate.hpp) refuses is written all the same and refused by the reader.
//
// decode(): the record that `bytes` spell. kResource if they exceed kMaxMessageBytes, kCorrupt if
// they are cut short, are no such message or spell a record that validate() refuses; `out` then
// keeps its value. Fields that this build does not know are skipped. Allocates at most some 100
// bytes for each byte it is given, whatever lengths the bytes claim.
//
// Both may be called from any thread.
#define TRACEWISE_DECLARE_CODEC(R)                           \
  [[nodiscard]] Result<std::string> encode(const R& record); \
  [[nodiscard]] Result<void> decode(std::string_view bytes, R& out);
TRACEWISE_RECORD_TYPES(TRACEWISE_DECLARE_CODEC)
#undef TRACEWISE_DECLARE_CODEC

}  // namespace tracewise
