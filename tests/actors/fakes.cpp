#include "tests/actors/fakes.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "model/file_io.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u ^ (b + 0x632be59bd9b4e019u);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

namespace {

constexpr int32_t kNewline = 3, kFirstDigit = 4, kEos = 2;

WeightsPtr weights_of(uint64_t state, uint64_t version,
                      const AllocateWeights& allocate = allocate_weights) {
  auto bytes = allocate(sizeof state);
  std::memcpy(bytes.get(), &state, sizeof state);
  WeightsManifest manifest;
  manifest.version = version;
  manifest.dtype = "F32";
  manifest.bytes = sizeof state;
  manifest.checksum = weights_checksum({bytes.get(), sizeof state});
  return std::make_shared<const Weights>(manifest, std::move(bytes));
}

void delay(std::mt19937_64& random, int max_us) {
  if (max_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % max_us));
}

class FakeEngine final : public Engine {
 public:
  FakeEngine(FakeWorld* world, uint64_t seed, uint32_t generator)
      : world_(world), seed_(seed), generator_(generator), random_(std::random_device()()) {
    ++world_->engines_made;
    ++world_->engines_alive;
  }
  ~FakeEngine() override {
    --world_->engines_alive;
    world_->leases -= static_cast<int64_t>(leases_.size());
  }

  void submit(GroupTask task) override {
    ++world_->groups_submitted;
    for (uint32_t s = 0; s < task.samples; ++s) waiting_.push_back({task, s});
  }
  void probe(ProbeRequest request) override {
    if (world_->swallow_probes && world_->swallow_probes(request)) return;
    probes_.push_back(std::move(request));
  }
  uint64_t adopt(std::vector<int32_t>) override {
    leases_[++last_lease_] = true;
    ++world_->leases;
    return last_lease_;
  }
  void release(uint64_t lease) override {
    world_->leases -= static_cast<int64_t>(leases_.erase(lease));
  }
  void cancel(GroupKey) override {}
  Result<void> prepare(const WeightsPtr&) override { return {}; }
  Result<void> set_weights(WeightsPtr weights) override {
    weights_ = std::move(weights);
    return {};
  }

  // Finishes a random handful of what is waiting, in random order.
  EngineOutput step(Clock::time_point) override {
    if (world_->before_step) world_->before_step(generator_, steps_);
    ++steps_;
    delay(random_, world_->max_delay_us);
    EngineOutput output;
    for (size_t n = 1 + random_() % 4; n > 0 && !waiting_.empty(); --n) {
      std::swap(waiting_[random_() % waiting_.size()], waiting_.back());
      output.rollouts.push_back(generate(waiting_.back().first, waiting_.back().second));
      waiting_.pop_back();
    }
    for (size_t n = 1 + random_() % 4; n > 0 && !probes_.empty(); --n) {
      std::swap(probes_[random_() % probes_.size()], probes_.back());
      output.probes.push_back(score(probes_.back()));
      probes_.pop_back();
    }
    return output;
  }

  EngineStats stats() const override {
    EngineStats stats;
    stats.leased = leases_.size();
    return stats;
  }

 private:
  Rollout generate(const GroupTask& task, uint32_t sample) {
    Rollout r;
    r.key = task.key;
    r.purpose = task.purpose;
    r.sample = sample;
    r.group_samples = task.samples;
    r.prompt = task.prompt;
    r.route = task.route;
    // The attempt is no part of the stream.
    uint64_t stream = mix(mix(fake_state(*weights_), seed_), mix(task.key.group, sample));
    const size_t length = 3 + stream % 9;
    for (size_t t = 0; t + 2 < length; ++t) {
      stream = mix(stream, t);
      r.tokens.push_back(stream % 3 == 0 ? kNewline
                                         : kFirstDigit + static_cast<int32_t>(stream / 3 % 10));
    }
    r.tokens.push_back(kFirstDigit + static_cast<int32_t>(mix(stream, 77) % 2));
    r.tokens.push_back(kEos);
    for (size_t t = 0; t < r.tokens.size(); ++t) {
      r.logprobs.push_back(-static_cast<float>(mix(stream, t) % 1000) / 1000.0f);
    }
    r.policy_logprobs = r.logprobs;
    r.versions.assign(r.tokens.size(), weights_->version());
    r.lease = ++last_lease_;
    leases_[r.lease] = true;
    ++world_->leases;
    if (world_->fails && world_->fails(task)) r.failure = {FailureClass::kEngine, "made to fail"};
    return r;
  }

  ProbeResult score(const ProbeRequest& request) {
    ProbeResult result;
    result.key = request.key;
    result.tracer = request.tracer;
    result.sample = request.sample;
    result.lease = request.lease;
    result.version = weights_->version();
    result.probe_tokens = request.prefix_ends.size() * request.target_tokens.size();
    for (size_t i = 0; i < result.probe_tokens; ++i) {
      const uint64_t draw =
          mix(mix(fake_state(*weights_), seed_), mix(mix(request.key.group, request.sample), i));
      result.target_logprobs.push_back(-static_cast<float>(draw % 2000) / 1000.0f);
    }
    if (leases_.count(request.lease) == 0) result.failure = {FailureClass::kProbe, "unknown lease"};
    return result;
  }

  FakeWorld* world_;
  uint64_t seed_;
  uint32_t generator_;
  std::mt19937_64 random_;
  WeightsPtr weights_ = weights_of(1, 0);
  std::vector<std::pair<GroupTask, uint32_t>> waiting_;
  std::vector<ProbeRequest> probes_;
  std::map<uint64_t, bool> leases_;
  uint64_t last_lease_ = 0;
  uint64_t steps_ = 0;
};

// Its weights are a hash of everything that it was fed.
class FakeTrainer final : public Trainer {
 public:
  explicit FakeTrainer(FakeWorld* world) : world_(world), random_(std::random_device()()) {}

  Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t version, double progress,
                            const std::filesystem::path&) override {
    if (world_->before_update) TW_TRY(world_->before_update(updates_));
    delay(random_, world_->max_delay_us);
    fold(progress);
    TrainReport report;
    for (const SampleGroup& group : groups) {
      fold(group.key.group);
      for (const AdvantageRollout& rollout : group.rollouts) {
        fold(rollout.sample);
        for (const int32_t token : rollout.tokens) fold(token);
        for (const float logprob : rollout.logprobs) fold(logprob);
        for (const float advantage : rollout.advantages) fold(advantage);
        for (const uint64_t sampled_by : rollout.versions) note_staleness(version, sampled_by);
        report.trained_tokens += rollout.advantages.size();
      }
    }
    ++updates_;
    const std::lock_guard lock(world_->mutex);
    for (const SampleGroup& group : groups) world_->trained.push_back(group.key.group);
    report.metrics = {{"train/loss", 1.0 / static_cast<double>(updates_)}};
    return report;
  }

  Result<TrainReport> train_supervised(std::span<const SupervisedExample>, double,
                                       const std::filesystem::path&) override {
    return unsupported("no supervised examples in these tests");
  }

  WeightsPtr weights(uint64_t version, const AllocateWeights& allocate) const override {
    return weights_of(state_, version, allocate);
  }

  Result<void> save_optimizer(const std::filesystem::path& file) const override {
    return write_file(file, std::to_string(moment_) + " " + std::to_string(updates_));
  }

  Result<void> restore(WeightsPtr weights, const std::filesystem::path& file) override {
    TW_ASSIGN(const std::string text, read_file(file, 1000));
    state_ = fake_state(*weights);
    size_t end = 0;
    moment_ = std::stoull(text, &end);
    updates_ = std::stoull(text.substr(end));
    return {};
  }

 private:
  template <class T>
  void fold(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    moment_ = mix(moment_, bits);
    state_ = mix(state_, moment_);
  }
  void note_staleness(uint64_t version, uint64_t sampled_by) {
    const std::lock_guard lock(world_->mutex);
    world_->greatest_staleness = std::max(world_->greatest_staleness, version - sampled_by);
  }

  FakeWorld* world_;
  std::mt19937_64 random_;
  uint64_t state_ = 1;
  uint64_t moment_ = 7;  // stands for the optimizer: state that the weights do not show
  uint64_t updates_ = 0;
};

}  // namespace

uint64_t fake_state(const Weights& weights) {
  uint64_t state = 0;
  std::memcpy(&state, weights.bytes().data(), sizeof state);
  return state;
}

const Tokenizer* fake_tokenizer() {
  static const std::shared_ptr<const Tokenizer> tokenizer = [] {
    std::vector<std::string> symbols = {"<pad>", "<bos>", "<eos>", "\n"};
    for (char digit = '0'; digit <= '9'; ++digit) symbols.emplace_back(1, digit);
    return std::shared_ptr<const Tokenizer>(make_symbol_tokenizer(symbols, {0, 1, 2}, 1).value());
  }();
  return tokenizer.get();
}

RunParts fake_parts(FakeWorld* world, uint64_t seed) {
  RunParts parts;
  parts.eval_sets = {{"main", {}, 2}, {"other", {}, 3}};
  for (int i = 0; i < 7; ++i) {
    const std::string gold = std::to_string(i % 2);
    const Prompt prompt{"p" + std::to_string(i), {1, kFirstDigit + i}, gold, {kFirstDigit + i % 2}};
    parts.prompts.push_back(prompt);
    if (i < 3) parts.eval_sets[0].prompts.push_back(prompt);
    if (i == 5) parts.eval_sets[1].prompts.push_back(prompt);
  }
  parts.save_outputs = [](const std::filesystem::path& file, const EvalResult&,
                          std::span<const TracedRollout> rollouts) {
    return write_file(file, std::to_string(rollouts.size()));
  };
  parts.make_engine = [=](uint32_t generator) -> Result<std::unique_ptr<Engine>> {
    return std::unique_ptr<Engine>(new FakeEngine(world, seed, generator));
  };
  parts.make_trainer = [=]() -> Result<std::unique_ptr<Trainer>> {
    return std::unique_ptr<Trainer>(new FakeTrainer(world));
  };
  parts.make_tracer = [] {
    TracerOptions options;
    options.steps.delimiters = {"\n"};
    options.verifier.answer_prefix = "\n";
    options.probe.mode = ProbeMode::kLikelihood;
    options.probe.probe_text = "";
    return Tracer::make(options, *fake_tokenizer());
  };
  parts.group_options.uniform_groups = UniformGroups::kKeep;
  parts.save_model = [](const std::filesystem::path& dir, const Weights& weights) -> Result<void> {
    std::error_code failure;
    std::filesystem::create_directories(dir, failure);
    return write_file(dir / "state", std::to_string(fake_state(weights)));
  };
  parts.load_model = [](const std::filesystem::path& dir) -> Result<WeightsPtr> {
    TW_ASSIGN(const std::string text, read_file(dir / "state", 100));
    return weights_of(std::stoull(text), 0);
  };
  return parts;
}

}  // namespace tracewise
