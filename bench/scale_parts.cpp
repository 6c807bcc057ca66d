#include "bench/scale_parts.hpp"

#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "messages/random.hpp"
#include "model/file_io.hpp"
#include "model/tokenizer.hpp"

namespace tracewise::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int32_t kBos = 1, kEos = 2, kNewline = 3, kFirstDigit = 4;
constexpr size_t kStepTokens = 10;  // a step of a response
constexpr int kPrompts = 1000;
// Tensors of a model of 24 layers: a version's announcement lists them to each generator. Their
// bytes go through shared memory and are few: bench/weights.cpp measures those.
constexpr int kTensors = 290;
constexpr uint64_t kTensorBytes = 64;

WeightsPtr weights_of(uint64_t version) {
  WeightsManifest manifest;
  manifest.version = version;
  manifest.dtype = "BF16";
  for (int i = 0; i < kTensors; ++i) {
    manifest.tensors.push_back({"model.layers." + std::to_string(i) + ".self_attn.q_proj.weight",
                                {1, kTensorBytes / 2},
                                manifest.bytes,
                                kTensorBytes});
    manifest.bytes += kTensorBytes;
  }
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), static_cast<int>(version % 256), manifest.bytes);
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<const Weights>(manifest, std::move(bytes));
}

const Tokenizer& tokenizer() {
  static const auto made = [] {
    std::vector<std::string> symbols = {"<pad>", "<bos>", "<eos>", "\n"};
    for (char digit = '0'; digit <= '9'; ++digit) symbols.emplace_back(1, digit);
    return make_symbol_tokenizer(symbols, {0, kBos, kEos}, kBos).value();
  }();
  return *made;
}

// One group at a time: it is finished a period after the one before it, or at once where that has
// passed, so a generator whose prompts come late loses only the time that it waited.
class StubEngine final : public Engine {
 public:
  StubEngine(const ScaleLoad& load, uint32_t generator, LatencyBook* latencies)
      : load_(load),
        latencies_(latencies),
        period_(std::chrono::duration_cast<SteadyClock::duration>(
            std::chrono::duration<double>(1 / load.groups_per_second))),
        first_period_(period_ / 1000 * SplitMix(generator).below(1000)) {}
  ~StubEngine() override { latencies_->add(std::move(seen_)); }

  void submit(GroupTask task) override {
    const auto now = SteadyClock::now();
    if (!due_) due_ = now + first_period_;
    if (finished_) {
      seen_.push_back({now, std::chrono::duration<double>(now - *finished_).count()});
      finished_.reset();
    }
    tasks_.push_back(std::move(task));
  }
  void probe(ProbeRequest) override {}
  uint64_t adopt(std::vector<int32_t>) override { return 0; }
  void release(uint64_t) override {}
  void cancel(GroupKey) override {}
  Result<void> prepare(const WeightsPtr&) override { return {}; }
  Result<void> set_weights(WeightsPtr weights) override {
    version_ = weights->version();
    ++swaps_;
    return {};
  }

  EngineOutput step(Clock::time_point) override {
    EngineOutput output;
    if (tasks_.empty()) {
      output.idle = true;
      return output;
    }
    std::this_thread::sleep_until(*due_);
    due_ = std::max(*due_ + period_, SteadyClock::now());
    const GroupTask task = std::move(tasks_.front());
    tasks_.pop_front();
    for (uint32_t s = 0; s < task.samples; ++s) output.rollouts.push_back(rollout(task, s));
    finished_ = SteadyClock::now();
    return output;
  }

  EngineStats stats() const override {
    EngineStats stats;
    stats.swaps = swaps_;
    return stats;
  }

 private:
  // Half of a group's responses end with the prompt's answer, which is 1.
  Rollout rollout(const GroupTask& task, uint32_t sample) const {
    Rollout r;
    r.key = task.key;
    r.route = task.route;
    r.purpose = task.purpose;
    r.sample = sample;
    r.group_samples = task.samples;
    r.prompt = task.prompt;
    SplitMix random(task.key.group * 64 + sample);
    const size_t length = load_.response_tokens;
    for (size_t t = 0; t + 3 < length; ++t) {
      const bool ends_step = t % kStepTokens + 1 == kStepTokens;
      r.tokens.push_back(ends_step ? kNewline
                                   : kFirstDigit + static_cast<int32_t>(random.below(10)));
    }
    r.tokens.push_back(kNewline);
    r.tokens.push_back(kFirstDigit + static_cast<int32_t>(sample % 2));
    r.tokens.push_back(kEos);
    for (size_t t = 0; t < r.tokens.size(); ++t) {
      r.logprobs.push_back(-static_cast<float>(random.below(1000)) / 1000.0f);
    }
    r.policy_logprobs = r.logprobs;
    r.versions.assign(r.tokens.size(), version_);
    return r;
  }

  const ScaleLoad load_;
  LatencyBook* const latencies_;
  const SteadyClock::duration period_;
  // Generators get their first prompts together, but do not stay in step.
  const SteadyClock::duration first_period_;
  std::optional<SteadyClock::time_point> due_;  // when the next group is finished
  std::deque<GroupTask> tasks_;
  std::optional<SteadyClock::time_point> finished_;  // the last group, unless another is here
  std::vector<IssueLatency> seen_;
  uint64_t version_ = 0;
  uint64_t swaps_ = 0;
};

class StubTrainer final : public Trainer {
 public:
  explicit StubTrainer(std::function<void(uint64_t)> on_batch) : on_batch_(std::move(on_batch)) {}

  Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t, double,
                            const std::filesystem::path&) override {
    on_batch_(groups.size());
    return TrainReport{};
  }
  Result<TrainReport> train_supervised(std::span<const SupervisedExample>, double,
                                       const std::filesystem::path&) override {
    return unsupported("the stub trains on groups alone");
  }
  WeightsPtr weights(uint64_t version, const AllocateWeights&) const override {
    return weights_of(version);
  }
  Result<void> save_optimizer(const std::filesystem::path& file) const override {
    return write_file(file, "stub");
  }
  Result<void> restore(WeightsPtr, const std::filesystem::path&) override {
    return unsupported("the stub's run is not resumed");
  }

 private:
  const std::function<void(uint64_t)> on_batch_;
};

std::vector<Prompt> prompts(size_t tokens) {
  std::vector<Prompt> all;
  for (int i = 0; i < kPrompts; ++i) {
    Prompt prompt{"prompt-" + std::to_string(i), {kBos}, "1", {kFirstDigit + 1}};
    SplitMix random(static_cast<uint64_t>(i));
    while (prompt.tokens.size() < tokens) {
      prompt.tokens.push_back(kFirstDigit + static_cast<int32_t>(random.below(10)));
    }
    all.push_back(std::move(prompt));
  }
  return all;
}

}  // namespace

void LatencyBook::add(std::vector<IssueLatency> some) {
  const std::lock_guard lock(mutex_);
  all_.insert(all_.end(), some.begin(), some.end());
}

std::vector<IssueLatency> LatencyBook::all() const {
  const std::lock_guard lock(mutex_);
  return all_;
}

RunOptions scale_options(const ScaleLoad& load) {
  RunOptions options;
  options.groups_per_batch = load.groups_per_batch;
  options.group_size = load.group_size;
  options.max_staleness = 2;  // training never holds up the generators
  options.window_samples = load.group_size;
  options.eval.at_start = options.eval.at_end = false;
  options.progress_seconds = 0;
  options.sampling.max_new_tokens = static_cast<int32_t>(load.response_tokens);
  options.deadlines.stop_ms = 30'000;
  options.deadlines.exit_ms = 30'000;
  return options;
}

RunParts scale_parts(const ScaleLoad& load, LatencyBook* latencies,
                     std::function<void(uint64_t)> on_batch) {
  RunParts parts;
  parts.prompts = prompts(load.prompt_tokens);
  parts.make_engine = [load, latencies](uint32_t generator) -> Result<std::unique_ptr<Engine>> {
    return std::unique_ptr<Engine>(new StubEngine(load, generator, latencies));
  };
  parts.make_trainer = [on_batch = std::move(on_batch)]() -> Result<std::unique_ptr<Trainer>> {
    return std::unique_ptr<Trainer>(new StubTrainer(on_batch));
  };
  parts.make_tracer = [] {
    TracerOptions options;
    options.steps.delimiters = {"\n"};
    options.verifier.answer_prefix = "\n";
    return Tracer::make(options, tokenizer());
  };
  parts.group_options.advantage.kind = AdvantageKind::kOutcome;  // needs no probes
  parts.save_model = [](const std::filesystem::path& dir, const Weights& weights) -> Result<void> {
    std::error_code failure;
    std::filesystem::create_directories(dir, failure);
    return write_file(dir / "version", std::to_string(weights.version()));
  };
  parts.load_model = [](const std::filesystem::path&) -> Result<WeightsPtr> {
    return unsupported("the stub's run is not resumed");
  };
  return parts;
}

NodeSetup scale_node(Identity identity) {
  NodeSetup setup;
  setup.identity = std::move(identity);
  setup.hello.build = "scale";
  setup.hello.run = "scale";
  setup.door.address = "127.0.0.1";
  setup.host = "127.0.0.1";
  // The stubs starve each other on few cores while a thousand of them start; that is no death.
  setup.membership.suspect_ms = 20'000;
  setup.membership.lost_ms = 60'000;
  return setup;
}

}  // namespace tracewise::bench
