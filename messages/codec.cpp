#include "messages/codec.hpp"

#include <google/protobuf/arena.h>

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "messages/group_size.hpp"
#include "messages/validate.hpp"
#include "tracewise.pb.h"

namespace tracewise {
namespace {

// Each record has one visit() below that names each field once; a visitor carries the fields over,
// Encoder from record to twin, Decoder from twin to record.

struct Encoder {
  template <class R>
  using Record = const R;

  template <class T, class Set>
  void scalar(const T& field, const T&, Set set) {
    set(field);
  }
  template <class E, class Set>
  void enumeration(const char*, E field, int, E, Set set) {
    set(static_cast<int>(field));
  }
  template <class T, class Repeated>
  void array(const std::vector<T>& field, Repeated& twin) {
    twin.Add(field.begin(), field.end());
  }
  template <class R, class Get>
  void message(const R& field, bool, Get get);
  template <class R, class Repeated>
  void list(const std::vector<R>& field, Repeated& twin);
};

struct Decoder {
  template <class R>
  using Record = R;

  template <class T, class U, class Set>
  void scalar(T& field, const U& twin, Set) {
    field = twin;
  }
  // Enumerations are dense from 0 to `last`. A value that this build does not know cannot be acted
  // on, so it fails the message.
  template <class E, class Set>
  void enumeration(const char* place, E& field, int twin, E last, Set) {
    if (twin < 0 || twin > static_cast<int>(last)) {
      if (error.empty()) {
        error = std::string(place) + " is " + std::to_string(twin) +
                ", the largest known value is " + std::to_string(static_cast<int>(last));
      }
      return;
    }
    field = static_cast<E>(twin);
  }
  template <class T, class Repeated>
  void array(std::vector<T>& field, const Repeated& twin) {
    field.assign(twin.begin(), twin.end());
  }
  template <class R, class Get>
  void message(R& field, bool present, Get get);
  template <class R, class Repeated>
  void list(std::vector<R>& field, Repeated& twin);

  std::string error;  // the first enumeration out of range; empty: none
};

template <class V, class R>
using Ref = typename V::template Record<R>&;

#define SCALAR(f) v.scalar(r.f, p.f(), [&p](const auto& x) { p.set_##f(x); })
#define ARRAY(f) v.array(r.f, *p.mutable_##f())
#define MESSAGE(f) \
  v.message(       \
      r.f, p.has_##f(), [&p]() -> auto& { return *p.mutable_##f(); })
#define LIST(f) v.list(r.f, *p.mutable_##f())
#define ENUM(R, f, last)                                       \
  v.enumeration(#R "." #f, r.f, static_cast<int>(p.f()), last, \
                [&p](int x) { p.set_##f(static_cast<std::remove_cvref_t<decltype(p.f())>>(x)); })

template <class V>
void visit(V& v, Ref<V, Hello> r, v1::Hello& p) {
  SCALAR(protocol);
  SCALAR(build);
  SCALAR(run);
  SCALAR(config_hash);
  SCALAR(node);
  ENUM(Hello, channel, Channel::kNccl);
  SCALAR(address);
  SCALAR(port);
}

template <class V>
void visit(V& v, Ref<V, HelloReply> r, v1::HelloReply& p) {
  SCALAR(accepted);
  SCALAR(reason);
  SCALAR(protocol);
  SCALAR(build);
  SCALAR(node);
  SCALAR(later);
}

template <class V>
void visit(V& v, Ref<V, Prompt> r, v1::Prompt& p) {
  SCALAR(id);
  ARRAY(tokens);
  SCALAR(gold);
  ARRAY(gold_tokens);
}

template <class V>
void visit(V& v, Ref<V, SamplingParams> r, v1::SamplingParams& p) {
  SCALAR(temperature);
  SCALAR(top_k);
  SCALAR(top_p);
  SCALAR(min_p);
  SCALAR(max_new_tokens);
}

template <class V>
void visit(V& v, Ref<V, GroupKey> r, v1::GroupKey& p) {
  SCALAR(group);
  SCALAR(attempt);
}

template <class V>
void visit(V& v, Ref<V, Route> r, v1::Route& p) {
  SCALAR(generator);
  SCALAR(tracer);
  SCALAR(builder);
}

template <class V>
void visit(V& v, Ref<V, GroupTask> r, v1::GroupTask& p) {
  MESSAGE(key);
  ENUM(GroupTask, purpose, Purpose::kEval);
  SCALAR(issue_version);
  SCALAR(samples);
  MESSAGE(sampling);
  MESSAGE(prompt);
  MESSAGE(route);
}

template <class V>
void visit(V& v, Ref<V, Failure> r, v1::Failure& p) {
  ENUM(Failure, failure_class, FailureClass::kCancelled);
  SCALAR(message);
}

template <class V>
void visit(V& v, Ref<V, Rollout> r, v1::Rollout& p) {
  MESSAGE(key);
  ENUM(Rollout, purpose, Purpose::kEval);
  SCALAR(sample);
  SCALAR(group_samples);
  MESSAGE(prompt);
  ARRAY(tokens);
  ARRAY(logprobs);
  ARRAY(policy_logprobs);
  ARRAY(versions);
  ENUM(Rollout, finish, FinishReason::kFailed);
  SCALAR(lease);
  SCALAR(generate_seconds);
  MESSAGE(failure);
  MESSAGE(route);
}

template <class V>
void visit(V& v, Ref<V, ProbeRequest> r, v1::ProbeRequest& p) {
  MESSAGE(key);
  SCALAR(sample);
  SCALAR(lease);
  ENUM(ProbeRequest, kind, ProbeKind::kGenerate);
  ARRAY(prefix_ends);
  ARRAY(probe_tokens);
  ARRAY(target_tokens);
  SCALAR(continuations);
  MESSAGE(sampling);
  SCALAR(tracer);
}

template <class V>
void visit(V& v, Ref<V, std::vector<int32_t>> r, v1::TokenList& p) {
  v.array(r, *p.mutable_tokens());
}

template <class V>
void visit(V& v, Ref<V, ProbeResult> r, v1::ProbeResult& p) {
  MESSAGE(key);
  SCALAR(sample);
  SCALAR(lease);
  ARRAY(target_logprobs);
  LIST(continuations);
  SCALAR(version);
  SCALAR(probe_tokens);
  SCALAR(prefilled_again);
  SCALAR(probe_seconds);
  MESSAGE(failure);
  SCALAR(tracer);
}

template <class V>
void visit(V& v, Ref<V, TracedRollout> r, v1::TracedRollout& p) {
  MESSAGE(rollout);
  ARRAY(step_ends);
  ARRAY(values);
  SCALAR(reward);
  SCALAR(probe_tokens);
  SCALAR(probe_seconds);
  SCALAR(probed_by_other_weights);
}

template <class V>
void visit(V& v, Ref<V, AdvantageRollout> r, v1::AdvantageRollout& p) {
  SCALAR(sample);
  ARRAY(tokens);
  SCALAR(prompt_tokens);
  ARRAY(logprobs);
  ARRAY(versions);
  ARRAY(advantages);
}

template <class V>
void visit(V& v, Ref<V, StepPair> r, v1::StepPair& p) {
  ARRAY(prefix);
  ARRAY(chosen);
  ARRAY(rejected);
  SCALAR(margin);
}

template <class V>
void visit(V& v, Ref<V, GroupStats> r, v1::GroupStats& p) {
  SCALAR(rollouts);
  SCALAR(failures);
  SCALAR(reward_sum);
  SCALAR(response_tokens);
  SCALAR(steps);
  SCALAR(truncated);
  SCALAR(probed_rollouts);
  SCALAR(solving_tokens);
  SCALAR(checking_tokens);
  SCALAR(right_to_wrong);
  SCALAR(value_steps);
  SCALAR(brier_sum);
  SCALAR(values);
  SCALAR(probe_tokens);
  SCALAR(probe_seconds);
  SCALAR(generate_seconds);
  SCALAR(probed_by_other_weights);
}

template <class V>
void visit(V& v, Ref<V, SampleGroup> r, v1::SampleGroup& p) {
  MESSAGE(key);
  SCALAR(issue_version);
  LIST(rollouts);
  LIST(pairs);
  MESSAGE(stats);
}

template <class V>
void visit(V& v, Ref<V, GroupFailed> r, v1::GroupFailed& p) {
  MESSAGE(key);
  MESSAGE(failure);
}

template <class V>
void visit(V& v, Ref<V, Metric> r, v1::Metric& p) {
  SCALAR(name);
  SCALAR(value);
}

template <class V>
void visit(V& v, Ref<V, Commit> r, v1::Commit& p) {
  SCALAR(step);
  SCALAR(version);
  LIST(groups);
  LIST(metrics);
}

template <class V>
void visit(V& v, Ref<V, TensorEntry> r, v1::TensorEntry& p) {
  SCALAR(name);
  ARRAY(shape);
  SCALAR(offset);
  SCALAR(bytes);
}

template <class V>
void visit(V& v, Ref<V, WeightsManifest> r, v1::WeightsManifest& p) {
  SCALAR(version);
  SCALAR(epoch);
  SCALAR(dtype);
  SCALAR(bytes);
  SCALAR(checksum);
  LIST(tensors);
}

template <class V>
void visit(V& v, Ref<V, WeightsPlace> r, v1::WeightsPlace& p) {
  SCALAR(node);
  SCALAR(host);
  SCALAR(port);
  SCALAR(host_id);
  SCALAR(pid);
  SCALAR(fd);
  SCALAR(chunk_bytes);
  ARRAY(chunk_checksums);
}

template <class V>
void visit(V& v, Ref<V, WeightsReady> r, v1::WeightsReady& p) {
  MESSAGE(manifest);
  MESSAGE(place);
  LIST(others);
}

template <class V>
void visit(V& v, Ref<V, WeightsPull> r, v1::WeightsPull& p) {
  SCALAR(version);
  SCALAR(epoch);
  SCALAR(bytes);
  SCALAR(checksum);
  SCALAR(transfer);
  SCALAR(chunk);
  SCALAR(chunk_bytes);
  SCALAR(deadline_ms);
}

template <class V>
void visit(V& v, Ref<V, WeightsShare> r, v1::WeightsShare& p) {
  SCALAR(node);
  SCALAR(bytes);
}

template <class V>
void visit(V& v, Ref<V, WeightsDelivered> r, v1::WeightsDelivered& p) {
  SCALAR(version);
  SCALAR(epoch);
  SCALAR(generator);
  SCALAR(seconds);
  SCALAR(transport);
  LIST(shares);
}

#undef SCALAR
#undef ARRAY
#undef MESSAGE
#undef LIST
#undef ENUM

template <class R, class Get>
void Encoder::message(const R& field, bool, Get get) {
  visit(*this, field, get());
}

template <class R, class Repeated>
void Encoder::list(const std::vector<R>& field, Repeated& twin) {
  twin.Reserve(static_cast<int>(field.size()));
  for (const R& entry : field) visit(*this, entry, *twin.Add());
}

// A part that the sender left out keeps the record's own default.
template <class R, class Get>
void Decoder::message(R& field, bool present, Get get) {
  if (present) visit(*this, field, get());
}

template <class R, class Repeated>
void Decoder::list(std::vector<R>& field, Repeated& twin) {
  field.resize(static_cast<size_t>(twin.size()));
  for (size_t i = 0; i < field.size(); ++i)
    visit(*this, field[i], *twin.Mutable(static_cast<int>(i)));
}

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
    static thread_local std::array<char, 32 << 10> block;
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
  Encoder encoder;
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
  Decoder decoder;
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
