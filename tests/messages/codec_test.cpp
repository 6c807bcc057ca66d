#include "messages/codec.hpp"

#include <catch2/catch.hpp>
#include <random>
#include <type_traits>

#include "messages/group_size.hpp"
#include "tests/messages/samples.hpp"
#include "tracewise.pb.h"

namespace tracewise {
namespace {

template <class R>
const char* name_of();
#define NAME_OF(R)           \
  template <>                \
  const char* name_of<R>() { \
    return #R;               \
  }
TRACEWISE_RECORD_TYPES(NAME_OF)

template <class R>
struct TwinOf;
#define TWIN_OF(R)      \
  template <>           \
  struct TwinOf<R> {    \
    using type = v1::R; \
  };
TRACEWISE_RECORD_TYPES(TWIN_OF)

// Calls f(record) with a filled-in record of every type.
template <class F>
void for_each_record(F f) {
  std::apply([&](const auto&... records) { (f(records), ...); }, samples::all());
}

template <class R>
R decoded(const std::string& bytes) {
  R out;
  const auto result = decode(bytes, out);
  INFO((result.ok() ? std::string() : result.error().message));
  REQUIRE(result.ok());
  return out;
}

template <class R>
std::string encoded(const R& record) {
  auto bytes = encode(record);
  REQUIRE(bytes.ok());
  return *bytes;
}

template <class R>
std::string decode_error(const std::string& bytes) {
  R out;
  const auto result = decode(bytes, out);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().error_class == ErrorClass::kCorrupt);
  return result.error().message;
}

// A field number that no record uses: tag 900, wire type 2, 3 bytes.
const std::string kUnknownField = std::string("\xa2\x38\x03") + "new";

}  // namespace

TEST_CASE("the samples cover every record type of the list") {
  size_t listed = 0;
#define COUNT(R) ++listed;
  TRACEWISE_RECORD_TYPES(COUNT)
  CHECK(listed == std::tuple_size_v<decltype(samples::all())>);
}

TEST_CASE("every record comes back as it was sent") {
  for_each_record([](const auto& record) {
    using R = std::decay_t<decltype(record)>;
    INFO(name_of<R>());
    CHECK(decoded<R>(encoded(record)) == record);
  });
}

TEST_CASE("every field of every record reaches its twin") {
  // A twin made from a filled-in record has each of its fields set: none was forgotten.
  for_each_record([](const auto& record) {
    using R = std::decay_t<decltype(record)>;
    typename TwinOf<R>::type twin;
    REQUIRE(twin.ParseFromString(encoded(record)));
    std::vector<const google::protobuf::FieldDescriptor*> set;
    twin.GetReflection()->ListFields(twin, &set);
    INFO(name_of<R>() << ": " << twin.ShortDebugString());
    // A usable rollout has no failure, so its empty part is present all the same.
    CHECK(static_cast<int>(set.size()) == twin.GetDescriptor()->field_count());
  });
}

TEST_CASE("records with empty arrays and texts come back as they were sent") {
  CHECK(decoded<Prompt>(encoded(Prompt{})) == Prompt{});
  CHECK(decoded<GroupTask>(encoded(GroupTask{})) == GroupTask{});
  CHECK(decoded<Rollout>(encoded(Rollout{})) == Rollout{});
  CHECK(decoded<TracedRollout>(encoded(TracedRollout{})) == TracedRollout{});
  CHECK(decoded<ProbeResult>(encoded(ProbeResult{})) == ProbeResult{});
  CHECK(decoded<SampleGroup>(encoded(SampleGroup{})) == SampleGroup{});
  CHECK(decoded<Commit>(encoded(Commit{})) == Commit{});
  CHECK(decoded<WeightsManifest>(encoded(WeightsManifest{})) == WeightsManifest{});
  CHECK(decoded<WeightsReady>(encoded(WeightsReady{})) == WeightsReady{});
  CHECK(decoded<GroupKey>("") == GroupKey{});
}

namespace {

// With the largest ids and versions that sizes are counted for, and numbers that are not 0.
SampleGroup full_group(const GroupShape& shape) {
  constexpr int32_t kId = INT32_MAX;
  SampleGroup group;
  const auto prompt = static_cast<size_t>(shape.prompt_tokens);
  const auto response = static_cast<size_t>(shape.response_tokens);
  AdvantageRollout rollout;
  rollout.tokens.assign(prompt + response, kId);
  rollout.prompt_tokens = static_cast<uint32_t>(prompt);
  rollout.logprobs.assign(response, -1.5f);
  rollout.versions.assign(response, (uint64_t{1} << 35) - 1);
  rollout.advantages.assign(response, 0.5f);
  group.rollouts.assign(static_cast<size_t>(shape.rollouts), rollout);
  StepPair pair{std::vector<int32_t>(prompt + response - 1, kId),
                {kId},
                std::vector<int32_t>(response, kId),
                0.5f};
  group.pairs.assign(static_cast<size_t>(shape.pairs), pair);
  return group;
}

}  // namespace

TEST_CASE("a group of 64 rollouts of 32,768 tokens travels as one message") {
  const GroupShape shape{64, 1000, 32768, 8};
  const SampleGroup group = full_group(shape);
  const std::string bytes = encoded(group);
  CHECK(bytes.size() > kMaxMessageBytes);
  CHECK(bytes.size() < kMaxGroupBytes);
  CHECK(decoded<SampleGroup>(bytes) == group);
}

TEST_CASE("no group is larger than its shape says, and few bytes smaller") {
  for (const GroupShape& shape : {GroupShape{3, 10, 500, 0}, GroupShape{40, 700, 2000, 8}}) {
    const auto bytes = static_cast<double>(encoded(full_group(shape)).size());
    const double bound = largest_group_bytes(shape);
    CHECK(bytes <= bound);
    CHECK(bytes >= bound - 1100.0 * (1.0 + static_cast<double>(shape.rollouts + shape.pairs)));
  }
  // A response token of a group is 4 + 4 + 5 + 4 bytes: 64 MiB hold 3,947,580 of them, less what
  // each rollout has once.
  CHECK(rollouts_that_fit({1000, 0, 32768, 0}) == 120);
  CHECK(rollouts_that_fit({120, 0, 32768, 0}) == 120);
  CHECK(response_tokens_that_fit({64, 0, 100000, 0}) == 61619);
  CHECK(rollouts_that_fit({INT64_MAX, 0, INT64_MAX, 0}) == 0);
}

TEST_CASE("a group above its limit is refused by both ends") {
  const auto refused = encode(full_group({1, 1, static_cast<int64_t>(kMaxGroupBytes / 17 + 1), 0}));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kResource);
  CHECK_THAT(refused.error().message,
             Catch::StartsWith("SampleGroup of ") &&
                 Catch::EndsWith(" bytes exceeds a message's limit of 67108864"));
  SampleGroup out;
  CHECK(decode(std::string(kMaxGroupBytes + 1, 'x'), out).error().error_class ==
        ErrorClass::kResource);
}

TEST_CASE("a message of the largest size passes and one byte more is refused by both ends") {
  // An id of n >= 2^21 bytes takes 1 byte of tag and 4 of length before it.
  Prompt prompt;
  prompt.id.assign(kMaxMessageBytes - 5, 'x');
  const std::string largest = encoded(prompt);
  CHECK(largest.size() == kMaxMessageBytes);
  CHECK(decoded<Prompt>(largest) == prompt);

  prompt.id.push_back('x');
  const auto refused = encode(prompt);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kResource);
  CHECK(refused.error().message == "Prompt of 8388609 bytes exceeds a message's limit of 8388608");
  Prompt out{"kept", {}, "", {}};
  const auto too_large = decode(largest + "x", out);
  REQUIRE_FALSE(too_large.ok());
  CHECK(too_large.error().error_class == ErrorClass::kResource);
  CHECK(out.id == "kept");
}

TEST_CASE("a rollout with extreme numbers comes back bit for bit") {
  Rollout r = samples::rollout();
  r.key = {UINT64_MAX, UINT32_MAX};
  r.sample = UINT32_MAX - 1;
  r.group_samples = UINT32_MAX;
  r.lease = UINT64_MAX;
  r.tokens.assign(100000, INT32_MAX);
  r.logprobs.assign(100000, std::numeric_limits<float>::lowest());
  r.policy_logprobs.assign(100000, std::numeric_limits<float>::denorm_min());
  r.versions.assign(100000, UINT64_MAX);
  CHECK(decoded<Rollout>(encoded(r)) == r);
}

TEST_CASE("fields of a newer build are skipped: neither in the record nor in what it encodes to") {
  for_each_record([](const auto& record) {
    using R = std::decay_t<decltype(record)>;
    INFO(name_of<R>());
    const std::string newer = encoded(record) + kUnknownField;
    CHECK(decoded<R>(newer) == record);
    CHECK(encoded(decoded<R>(newer)) == encoded(record));
  });
}

TEST_CASE("an enumeration value of a newer build fails the message and is named") {
  v1::GroupTask twin;
  REQUIRE(twin.ParseFromString(encoded(samples::group_task())));
  twin.set_purpose(static_cast<v1::Purpose>(2));
  CHECK(decode_error<GroupTask>(twin.SerializeAsString()) ==
        "GroupTask.purpose is 2, the largest known value is 1");
  twin.set_purpose(static_cast<v1::Purpose>(-1));
  CHECK(decode_error<GroupTask>(twin.SerializeAsString()) ==
        "GroupTask.purpose is -1, the largest known value is 1");

  v1::GroupFailed failed;
  failed.mutable_failure()->set_failure_class(static_cast<v1::FailureClass>(256));
  CHECK(decode_error<GroupFailed>(failed.SerializeAsString()) ==
        "Failure.failure_class is 256, the largest known value is 6");
}

TEST_CASE("a message cut inside a field is refused, cut between two it lacks the later ones") {
  for_each_record([](const auto& record) {
    using R = std::decay_t<decltype(record)>;
    INFO(name_of<R>());
    const std::string whole = encoded(record);
    size_t refused = 0;
    for (size_t n = 0; n < whole.size(); ++n) {
      const std::string cut = whole.substr(0, n);
      R out;
      if (!decode(cut, out).ok()) {
        ++refused;
        continue;
      }
      // It passed, so the cut lies between two fields: the twin writes exactly these bytes again.
      typename TwinOf<R>::type twin;
      REQUIRE(twin.ParseFromString(cut));
      CHECK(twin.SerializeAsString() == cut);
    }
    CHECK(refused > 0);
  });
}

TEST_CASE("a rollout cut among its per-token arrays is refused because they no longer agree") {
  const std::string whole = encoded(samples::rollout());
  size_t passed = 0;
  for (size_t n = 0; n < whole.size(); ++n) {
    Rollout out;
    if (!decode(whole.substr(0, n), out).ok()) continue;
    ++passed;
    // Either all arrays are still missing or all are there.
    CHECK((out.tokens.empty() || out.versions == samples::rollout().versions));
    CHECK(out.logprobs.size() == out.tokens.size());
    CHECK(out.policy_logprobs.size() == out.tokens.size());
    CHECK(out.versions.size() == out.tokens.size());
  }
  // After group_samples and prompt; after versions, finish, lease, route, generate_seconds.
  CHECK(passed == 7);
}

TEST_CASE("a length that claims more than the bytes hold is refused without allocating it") {
  // Field 2 (tokens, packed) with a length of 2^31 - 1, then two bytes.
  CHECK(decode_error<Prompt>("\x12\xff\xff\xff\xff\x07\x01\x02") ==
        "Prompt: 8 bytes are cut short or are no such message");
  // A group tag that never ends, a varint of 11 bytes, an invalid wire type, field number 0.
  CHECK_FALSE(decode_error<Prompt>("\x0b").empty());
  CHECK_FALSE(decode_error<GroupKey>("\x08" + std::string(11, '\xff')).empty());
  CHECK_FALSE(decode_error<GroupKey>("\x0f").empty());
  CHECK_FALSE(decode_error<GroupKey>(std::string("\x00\x00", 2)).empty());
}

TEST_CASE("random bytes and random flips never crash a decoder") {
  std::mt19937 random(5);
  for_each_record([&](const auto& record) {
    using R = std::decay_t<decltype(record)>;
    const std::string whole = encoded(record);
    for (int round = 0; round < 300; ++round) {
      std::string bytes = whole;
      for (int flips = 0; flips < 1 + round % 4 && !bytes.empty(); ++flips) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      R out;
      if (decode(bytes, out).ok()) {
        const std::string again = encoded(out);
        CHECK(encoded(decoded<R>(again)) == again);
      }
    }
  });
}

}  // namespace tracewise
