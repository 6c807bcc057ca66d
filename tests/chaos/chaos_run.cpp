#include "tests/chaos/chaos_run.hpp"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "launch/demo/task.hpp"
#include "tests/chaos/arena.hpp"
#include "tests/run_rules.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Words = std::vector<std::string>;

constexpr uint64_t kGroupsPerBatch = 8, kMaxStaleness = 1;
// A run in which nothing moves for so long is stuck: longer than any wait of a node's for another.
constexpr seconds kProgressLimit{60};
constexpr long kCheckpointSteps = 10;
// Steps after the last fault. A run that went back to its checkpoint has issued groups of the steps
// that it had been through before, and of the next two: all of them are to be trained.
constexpr long kStepsInPeace = kCheckpointSteps + 4;

class ChaosRun {
 public:
  explicit ChaosRun(const Chaos& chaos)
      : chaos_(chaos), random_(chaos.seed), arena_(chaos.over_hosts), root_(dir_ / "run") {}

  bool run() {
    make_start();
    launch();
    for (uint64_t i = 1; i <= chaos_.faults && broken_.empty(); ++i) disturb(i);
    arena_.heal();
    if (broken_.empty()) await_steps(1, "after the last fault");
    stop();
    if (broken_.empty()) finish();
    if (broken_.empty()) check();
    if (!broken_.empty()) tell();
    return broken_.empty();
  }

 private:
  void expect(bool kept, const std::string& sentence) {
    if (!kept) broken_ += sentence + "\n";
  }

  Words sets(const Words& more) const {
    Words words;
    Words all = {"model.dir=" + (dir_ / "start").string(),
                 "data.prompts=" + files_.prompts.string(),
                 "run.dir=" + root_.string(),
                 "run.steps=1000000",
                 "run.groups_per_batch=" + std::to_string(kGroupsPerBatch),
                 "run.max_staleness=" + std::to_string(kMaxStaleness),
                 "run.log_rollouts=" + std::to_string(kGroupsPerBatch),
                 "run.progress_seconds=0",
                 "optimizer.schedule=constant",
                 "trainer.threads=1",
                 "sampling.max_new_tokens=16",
                 "checkpoint.every_steps=" + std::to_string(kCheckpointSteps)};
    all.insert(all.end(), more.begin(), more.end());
    for (const std::string& set : all) words.insert(words.end(), {"--set", set});
    return words;
  }

  // A task that can be learnt in seconds, "ans 7" whatever is asked, and a model that answers with
  // any digit.
  void make_start() {
    const auto task = demo::make_task("last-digit");
    const auto made = demo::write_task_files(**task, dir_ / "data", 7, {1, 1, 1, 1});
    if (!made.ok()) throw std::runtime_error(made.error().message);
    files_ = *made;
    std::ofstream corpus(files_.corpus), prompts(files_.prompts);
    for (int i = 0; i < 1000; ++i) {
      const std::string prompt =
          std::to_string(i / 100) + "+" + std::to_string(i / 10 % 10) + "=\n";
      const std::string answer = "ans " + std::to_string(i % 10);
      corpus << nlohmann::json{{"prompt", prompt}, {"response", answer}} << "\n";
      if (i % 10 == 0) prompts << nlohmann::json{{"prompt", prompt}, {"answer", "7"}} << "\n";
    }
    corpus.close();
    prompts.close();
    Process sft(
        {TRACEWISE_BINARY, "sft", "--set", "model.dir=" + files_.model.string(), "--set",
         "sft.data=" + files_.corpus.string(), "--set", "sft.out=" + (dir_ / "start").string(),
         "--set", "sft.steps=100", "--set", "sft.batch_size=32", "--set", "optimizer.lr=1e-3"},
        dir_ / "sft");
    if (sft.wait(seconds(120)) != 0) throw std::runtime_error("no start was made: " + sft.err());
  }

  void launch() {
    Words words = {TRACEWISE_BINARY, "launch", fs::path(TRACEWISE_CONFIGS) / "cluster_local.toml"};
    const Words placed = sets(arena_.placement(chaos_.ranks == 2));
    words.insert(words.end(), placed.begin(), placed.end());
    process_ = std::make_unique<Process>(arena_.at_head(words), dir_ / "launch");
    begun_ = Clock::now();
    await_steps(3, "before the first fault");
  }

  long steps() const {
    const std::string metrics = slurp(root_ / "metrics.jsonl");
    return std::count(metrics.begin(), metrics.end(), '\n');
  }

  // Of a head that was started again the steps may be fewer than before.
  void await_steps(long more, const std::string& when) {
    const auto until = Clock::now() + kProgressLimit;
    long least = steps();
    for (;;) {
      const long now = steps();
      if (now >= least + more) return;
      least = std::min(least, now);
      if (process_->wait(milliseconds(0)) != -1) return expect(false, "the launch ended " + when);
      if (Clock::now() > until)
        return expect(false, "nothing was trained for " + std::to_string(kProgressLimit.count()) +
                                 " s " + when);
      std::this_thread::sleep_for(milliseconds(20));
    }
  }

  void disturb(uint64_t number) {
    const Fault fault = arena_.draw(random_, process_->pid());
    const auto ms = std::chrono::duration_cast<milliseconds>(Clock::now() - begun_).count();
    std::printf("%6.1f s, step %ld, fault %lu: %s\n", static_cast<double>(ms) / 1000, steps(),
                number, fault.name.c_str());
    fault.begin();
    std::this_thread::sleep_for(fault.lasts);
    fault.end();
    // Some faults meet a run that has not got over the one before.
    if (random_() % 4 == 0) return;
    await_steps(1, "after fault " + std::to_string(number));
  }

  void tell_restarts() const {
    std::istringstream said(process_->out());
    for (std::string line; std::getline(said, line);) {
      if (line.find("is started again") != std::string::npos) std::printf("%s\n", line.c_str());
    }
  }

  void stop() {
    const std::vector<ProcessMark> before = descendants(process_->pid());
    process_->signal(SIGINT);
    const int code = process_->wait(seconds(40));
    tell_restarts();
    expect(code == 130, "the launch ended with exit code " + std::to_string(code));
    expect(count_alive(before) == 0, "the launcher left processes of its own host");
    await_end("the launch was stopped");
  }

  // In peace, to a last step that uses up every group that was issued.
  void finish() {
    last_step_ = static_cast<uint64_t>(steps() + kStepsInPeace);
    const Words words = {TRACEWISE_BINARY, "launch", "--resume",
                         root_.string(),   "--set",  "run.steps=" + std::to_string(last_step_)};
    process_ = std::make_unique<Process>(arena_.at_head(words), dir_ / "resumed");
    const int code = process_->wait(seconds(120));
    expect(code == 0, "the resumed run ended with exit code " + std::to_string(code));
    await_end("the run was over");
  }

  void await_end(const std::string& when) {
    for (int i = 0; i < 2000 && !arena_.empty(); ++i) std::this_thread::sleep_for(milliseconds(10));
    expect(arena_.empty(), "processes were left after " + when);
  }

  void check() {
    broken_ += broken_rules(root_, {last_step_, kGroupsPerBatch, kMaxStaleness});
    std::vector<double> accuracy;
    std::ifstream lines(root_ / "metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const auto metrics = nlohmann::json::parse(line, nullptr, false);
      if (metrics.contains("train/accuracy")) accuracy.push_back(metrics["train/accuracy"]);
    }
    // The first steps are not in anybody's way yet.
    constexpr size_t kFew = 3;
    if (accuracy.size() < 2 * kFew) return expect(false, "too few steps have an accuracy");
    const auto mean = [](auto from) { return std::accumulate(from, from + kFew, 0.0) / kFew; };
    const double before = mean(accuracy.begin()), after = mean(accuracy.end() - kFew);
    std::printf("%lu steps, accuracy %.3f at first, %.3f at last\n", last_step_, before, after);
    expect(after > before + 0.3, "nothing was learnt");
  }

  void tell() {
    const fs::path kept = fs::temp_directory_path() / ("chaos-" + std::to_string(::getpid()));
    std::error_code failure;
    fs::copy(dir_.path(), kept, fs::copy_options::recursive | fs::copy_options::copy_symlinks,
             failure);
    std::printf("BROKEN:\n%s%s\n%s\nkept in %s\n", broken_.c_str(),
                slurp(dir_ / "launch.err").c_str(), slurp(dir_ / "resumed.err").c_str(),
                kept.c_str());
  }

  const Chaos chaos_;
  Arena::Random random_;
  TempDir dir_;
  demo::TaskFiles files_;
  Arena arena_;
  const fs::path root_;
  std::unique_ptr<Process> process_;
  Clock::time_point begun_;
  uint64_t last_step_ = 0;
  std::string broken_;
};

}  // namespace

bool chaos_run(const Chaos& chaos) { return ChaosRun(chaos).run(); }

}  // namespace tracewise
