// Every record that travels between actors, in travel order:
//
//   dataset -> coordinator -> generator -> tracer -> preference builder -> learner -> generator
//
// and before any of them the hello that two nodes meet with.
//
// Records are plain values. Inside a process they are moved, never serialised; between processes
// messages/codec writes the protobuf twin of the same name (messages/tracewise.proto).
// Token offsets named *_end are exclusive. Log-probabilities are in nats. Seconds are wall-clock.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

// --- node -> node -----------------------------------------------------------------------------

// Goes up with each change after which older builds would misread what newer ones send.
inline constexpr uint32_t kProtocol = 2;

// What a connection between two nodes is for.
enum class Channel : uint8_t {
  kActors,   // messages between actors
  kWeights,  // a weight transport
  kShell,    // what an operator asks the head
  kRanks,    // what the learner's ranks say to each other (transport/tunnel.hpp)
  kNccl,     // who broadcasts weights to whom (transport/nccl_wire.hpp)
};

// The first words on a connection, from the node that dialled. Texts are printable ASCII, at most
// 256 bytes each.
struct Hello {
  uint32_t protocol = kProtocol;
  std::string build;        // build id of the binary
  std::string run;          // run id
  std::string config_hash;  // of the resolved config; empty: not known yet, or of no meaning
  std::string node;         // who speaks; the common name of its certificate
  Channel channel = Channel::kActors;
  std::string address;  // where the speaker's own door can be reached; empty: nowhere
  uint32_t port = 0;    // of that door, <= 65535
  bool operator==(const Hello&) const = default;
};

// The answer to a Hello. After a refusal the connection ends.
struct HelloReply {
  bool accepted = false;
  std::string reason;  // why not, one sentence
  uint32_t protocol = kProtocol;
  std::string build;  // as in Hello, of the node that answers
  std::string node;
  bool later =
      false;  // a refusal: nothing is wrong with the Hello, another time it may be accepted
  bool operator==(const HelloReply&) const = default;
};

// --- dataset -> coordinator -------------------------------------------------------------------

// Made by rollout/dataset. One row of a prompt file, tokenised once and never again.
struct Prompt {
  std::string id;                    // row id; unique in its dataset
  std::vector<int32_t> tokens;       // [P] with the tokenizer's own prefix (bos), if it has one
  std::string gold;                  // gold answer as text; empty where the row has none
  std::vector<int32_t> gold_tokens;  // gold answer as tokens, for the likelihood probe
  std::string text = {};      // what the tokens were made of; empty where the row gave token ids
  std::string verifier = {};  // the kind that verifies this row; empty: the run's
  std::string metadata = {};  // JSON object, for reward functions; empty: none
  bool operator==(const Prompt&) const = default;
};

// --- coordinator -> generator -----------------------------------------------------------------

// How the next token is drawn. temperature 0 is greedy; then the filters have no effect.
struct SamplingParams {
  float temperature = 1.0f;      // >= 0
  int32_t top_k = 0;             // keep the k likeliest tokens; 0 keeps all
  float top_p = 1.0f;            // (0, 1]; keep the smallest set with at least this probability
  float min_p = 0.0f;            // [0, 1); drop tokens below min_p times the likeliest one
  int32_t max_new_tokens = 128;  // >= 1
  bool operator==(const SamplingParams&) const = default;
};

// A prompt group of the ledger and the attempt at it. A duplicate of an older attempt is refused.
struct GroupKey {
  uint64_t group = 0;    // counts up over a run, in dataset order
  uint32_t attempt = 0;  // 0 at first issue; +1 each time it is issued again
  auto operator<=>(const GroupKey&) const = default;
};

enum class Purpose : uint8_t {
  kTrain,  // goes to the learner and through the ledger
  kEval,   // measured, never trained on, not in the ledger
};

// Which actors handle a group attempt, by number. Chosen once, when the attempt is sent out: all
// its rollouts meet at one tracer and one builder, and whoever is lost is known to be in its way.
struct Route {
  uint32_t generator = 0;
  uint32_t tracer = 0;
  uint32_t builder = 0;  // not used for Purpose::kEval
  bool operator==(const Route&) const = default;
};

// Made by the coordinator. Used by one generator, which owes `samples` rollouts for it.
struct GroupTask {
  GroupKey key;
  Route route;
  Purpose purpose = Purpose::kTrain;
  uint64_t issue_version = 0;  // newest committed weights version when the group was issued
  uint32_t samples = 1;        // G >= 1
  SamplingParams sampling;
  Prompt prompt;
  bool operator==(const GroupTask&) const = default;
};

// --- generator -> tracer ----------------------------------------------------------------------

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kFailed };

// What became of a sample that could not be used. kNone means that it can be.
enum class FailureClass : uint8_t {
  kNone,
  kPromptTooLong,  // prompt + 1 does not fit the model's context
  kEngine,         // the engine could not finish it
  kVerifierError,  // the verifier failed: its reward is unknown, not 0
  kVerifierTimeout,
  kProbe,  // its values could not be probed
  kCancelled,
};

struct Failure {
  FailureClass failure_class = FailureClass::kNone;
  std::string message;
  bool failed() const { return failure_class != FailureClass::kNone; }
  bool operator==(const Failure&) const = default;
};

// Made by rollout/engine. Used by rollout/tracer, learner/preference, learner/batch.
// The per-token arrays cover the response alone and all have length T.
struct Rollout {
  GroupKey key;
  Route route;  // its generator holds the lease
  Purpose purpose = Purpose::kTrain;
  uint32_t sample = 0;                 // 0..G-1
  uint32_t group_samples = 1;          // G
  Prompt prompt;                       // [P] tokens
  std::vector<int32_t> tokens;         // [T] response with its stop token, if it ended with one
  std::vector<float> logprobs;         // [T] nats under the distribution that sampled the token
  std::vector<float> policy_logprobs;  // [T] nats at temperature 1 with no filter
  std::vector<uint64_t> versions;      // [T] weights version that sampled each token
  FinishReason finish = FinishReason::kStop;
  uint64_t lease = 0;           // KV lease on its generator; 0: none
  double generate_seconds = 0;  // its share of the engine's time
  Failure failure;
  bool operator==(const Rollout&) const = default;
};

// --- tracer <-> generator: value probing --------------------------------------------------------

enum class ProbeKind : uint8_t {
  kScore,     // teacher-forced log-probabilities of `target_tokens` after `probe_tokens`
  kGenerate,  // `continuations` answers sampled after `probe_tokens`
};

// Made by rollout/tracer: one request for all boundaries of a rollout.
struct ProbeRequest {
  GroupKey key;
  uint32_t tracer = 0;  // who is to get the answer
  uint32_t sample = 0;
  uint64_t lease = 0;
  ProbeKind kind = ProbeKind::kScore;
  std::vector<int32_t> prefix_ends;  // [K] ends in prompt + response, ascending; prefix_ends[0] = P
  std::vector<int32_t> probe_tokens;   // appended to every prefix; may be empty for kScore
  std::vector<int32_t> target_tokens;  // [n >= 1] for kScore
  uint32_t continuations = 1;          // N >= 1 for kGenerate
  SamplingParams sampling;             // for kGenerate
  bool operator==(const ProbeRequest&) const = default;
};

// Made by rollout/engine.
struct ProbeResult {
  GroupKey key;
  uint32_t tracer = 0;  // of the request
  uint32_t sample = 0;
  uint64_t lease = 0;
  std::vector<float> target_logprobs;               // [K * n] nats, boundary-major, for kScore
  std::vector<std::vector<int32_t>> continuations;  // [K * N] token lists, for kGenerate
  uint64_t version = 0;                             // weights version that answered
  uint64_t probe_tokens =
      0;  // tokens computed for it: tails, and the prefix where it was prefilled
  bool prefilled_again = false;  // the lease had expired
  double probe_seconds = 0;      // its share of the engine's time
  Failure failure;
  bool operator==(const ProbeResult&) const = default;
};

// --- tracer -> preference builder ---------------------------------------------------------------

// Made by rollout/tracer. Arrays have length K (steps).
struct TracedRollout {
  Rollout rollout;
  std::vector<int32_t> step_ends;  // [K] ends in the response, ascending; step_ends[K-1] = T
  std::vector<float> values;       // [K] V_0..V_{K-1} in [0,1], V_k after step k; empty: not probed
  float reward = 0;                // outcome in [0,1]; meaningless where rollout.failure is set
  uint64_t probe_tokens = 0;
  double probe_seconds = 0;
  bool probed_by_other_weights = false;  // probed by another version than the last token's
  float shaping = 0;  // added to the reward for the outcome's advantage; counts for nothing else
  bool operator==(const TracedRollout&) const = default;
};

// --- preference builder -> learner --------------------------------------------------------------

// Made by learner/sample_group. What the loss needs of one rollout; it is blind to the algorithm.
struct AdvantageRollout {
  uint32_t sample = 0;
  std::vector<int32_t> tokens;     // [P + T] prompt and response
  uint32_t prompt_tokens = 0;      // P
  std::vector<float> logprobs;     // [T] nats, behaviour policy (temperature 1 and no filter)
  std::vector<uint64_t> versions;  // [T]
  std::vector<float> advantages;   // [T]
  bool operator==(const AdvantageRollout&) const = default;
};

// A step preference: after `prefix`, `chosen` gained more value than `rejected`.
struct StepPair {
  std::vector<int32_t> prefix;    // prompt and the steps that both share
  std::vector<int32_t> chosen;    // tokens of the better step
  std::vector<int32_t> rejected;  // tokens of the worse step
  float margin = 0;               // difference of the value gains, > 0
  bool operator==(const StepPair&) const = default;
};

// Sums over a group's rollouts; metrics are ratios of them, so they add up over groups.
struct GroupStats {
  uint32_t rollouts = 0;  // good ones (no failure)
  uint32_t failures = 0;
  double reward_sum = 0;
  uint64_t response_tokens = 0;
  uint64_t steps = 0;
  uint64_t truncated = 0;  // rollouts that ended by length
  uint32_t probed_rollouts = 0;
  uint64_t solving_tokens = 0;   // of probed rollouts: up to the first step end with V_k > 0.9
  uint64_t checking_tokens = 0;  // the tokens after it
  uint64_t right_to_wrong = 0;   // steps with V_{k-1} > 0.5 and V_k < 0.5
  uint64_t value_steps = 0;      // number of (V_{k-1}, V_k) pairs behind right_to_wrong
  double brier_sum = 0;          // sum of (V_k - R)^2
  uint64_t values = 0;           // number of V_k behind brier_sum
  uint64_t probe_tokens = 0;
  double probe_seconds = 0;
  double generate_seconds = 0;
  uint32_t probed_by_other_weights = 0;  // of probed_rollouts: by another version than sampled
  double shaping_sum = 0;
  bool operator==(const GroupStats&) const = default;
};

// Made by learner/sample_group. Empty `rollouts`: the group carries no signal (all rewards equal,
// say), but it still counts towards its batch.
struct SampleGroup {
  GroupKey key;
  uint64_t issue_version = 0;  // oldest version among the tokens
  std::vector<AdvantageRollout> rollouts;
  std::vector<StepPair> pairs;
  GroupStats stats;
  bool operator==(const SampleGroup&) const = default;
};

// A group in which too few rollouts survived. Used by the coordinator, which issues it again.
struct GroupFailed {
  GroupKey key;
  Failure failure;  // of the first failed rollout
  bool operator==(const GroupFailed&) const = default;
};

// --- learner -> coordinator, learner -> generators
// ------------------------------------------------

struct Metric {
  std::string name;  // "train/accuracy"
  double value = 0;
  bool operator==(const Metric&) const = default;
};

// Made by the learner after an optimizer step is durable enough to be reported.
struct Commit {
  uint64_t step = 0;     // optimizer batches so far, this one included
  uint64_t version = 0;  // weights version that the step made
  std::vector<GroupKey> groups;
  std::vector<Metric> metrics;
  bool operator==(const Commit&) const = default;
};

// One tensor of a flat weights buffer.
struct TensorEntry {
  std::string name;  // Hugging Face name
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // bytes from the start of the buffer
  uint64_t bytes = 0;
  bool operator==(const TensorEntry&) const = default;
};

// Says what a weights version consists of. Equal layouts for all versions of a run.
struct WeightsManifest {
  uint64_t version = 0;
  uint64_t epoch = 0;     // of the membership that the exchange was started with
  std::string dtype;      // "F32" or "BF16", as in safetensors
  uint64_t bytes = 0;     // of the whole buffer
  uint64_t checksum = 0;  // xxh3-64 of the buffer
  // Of an adapter's version: the checksum of the weights that it is added to; 0: these are whole.
  uint64_t base_checksum = 0;
  std::vector<TensorEntry> tensors;
  bool operator==(const WeightsManifest&) const = default;
};

// Where a published version can be fetched from: in its own process always, over connections and
// from shared memory where the parts for it are set. Made by transport/, for its receivers.
struct WeightsPlace {
  std::string node;     // of a rank of the learner; empty: not served over connections
  std::string host;     // of its door, a name or a number
  uint32_t port = 0;    // of its door, <= 65535; 0: not served over connections
  std::string host_id;  // who can open its shared memory (transport/host_id.hpp)
  int32_t pid = 0;      // process with the shared segment; 0: none
  int32_t fd = -1;      // the segment's descriptor in that process; -1: none
  // Of the version, where other places may offer it too: what each chunk is, whoever gives it.
  // Chunk i begins at byte i * chunk_bytes, as in WeightsPull; 0: they are not stated.
  uint64_t chunk_bytes = 0;
  std::vector<uint64_t> chunk_checksums;  // xxh3-64
  bool operator==(const WeightsPlace&) const = default;
};

// Learner -> generators: version is there to be fetched from its place, and from others.
struct WeightsReady {
  WeightsManifest manifest;
  WeightsPlace place;                // rank 0's
  std::vector<WeightsPlace> others;  // of other ranks; only where `place` states the chunks
  bool operator==(const WeightsReady&) const = default;
};

// What a chunk may have at most: nobody waits long for another's.
inline constexpr uint64_t kMaxChunkBytes = uint64_t{64} << 20;

// Made by a receiver, for the learner's node, on a connection of Channel::kWeights: asks for one
// chunk of a version. Chunk i begins at byte i * chunk_bytes; the last one may be shorter.
struct WeightsPull {
  uint64_t version = 0;
  uint64_t epoch = 0;
  uint64_t bytes = 0;        // of the whole buffer, as in its manifest
  uint64_t checksum = 0;     // as in its manifest
  uint64_t transfer = 0;     // random; the same for all pulls of one fetch, on all its connections
  uint64_t chunk = 0;        // counts from 0
  uint64_t chunk_bytes = 0;  // 1..kMaxChunkBytes
  uint64_t deadline_ms = 0;  // time that the fetch has left
  bool operator==(const WeightsPull&) const = default;
};

// What of a version one node gave over connections.
struct WeightsShare {
  std::string node;
  uint64_t bytes = 0;
  bool operator==(const WeightsShare&) const = default;
};

// Generator -> learner: version was checked, and rollouts that start from now on are sampled with
// it or a newer one.
struct WeightsDelivered {
  uint64_t version = 0;
  uint64_t epoch = 0;
  uint32_t generator = 0;
  double seconds = 0;                // from WeightsReady to here
  std::string transport;             // what carried it: "local", "shm", "nccl", "tcp"
  std::vector<WeightsShare> shares;  // by "tcp": who gave it, at most once each
  bool operator==(const WeightsDelivered&) const = default;
};

}  // namespace tracewise
