// One head with 1,000 stub generators (docs/bench.md says what that shows). The head is a process
// with nothing but the product in it and a trainer that takes a batch at once: door with TLS,
// links, membership, supervisor, coordinator, ledger in a run folder, learner with its buffer. All
// that is done for a group there is in its processor time; tracers and preference builders are on
// the other nodes, as they are in a run of that size. Those are real nodes too, four processes with
// 250 generators, a tracer and a builder each, whose engines are stubs.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/bench.hpp"
#include "bench/scale_parts.hpp"
#include "launch/process_group.hpp"
#include "model/file_io.hpp"
#include "transport/identity.hpp"

namespace tracewise::bench {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

constexpr double kMeasuredSeconds = 20;
constexpr std::chrono::minutes kLimit{5};  // for a run with its start and its end
constexpr uint64_t kMaxLatencyBytes = uint64_t{1} << 30;

struct Measured {
  double groups_per_second = 0;
  double head_cores = 0;          // processor seconds a second
  double head_group_seconds = 0;  // processor seconds a group
  double p50_seconds = 0, p99_seconds = 0;
  double resident_begin = 0, resident_end = 0;  // MB of the head
};

// A run of the head and its nodes, in processes of its own.
class ScaleRun {
 public:
  ScaleRun(const ScaleLoad& load, std::filesystem::path dir) : load_(load), dir_(std::move(dir)) {}
  Result<Measured> run();

 private:
  Result<void> write_identities();
  Result<void> start(const std::string& name, const std::string& role,
                     const std::vector<std::string>& words);
  Result<void> start_nodes(const std::string& port);
  Result<void> handle(const ChildEvent& event);
  Result<std::vector<double>> latencies(int64_t from, int64_t to) const;
  std::string node(uint32_t i) const { return "node" + std::to_string(i); }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }

  const ScaleLoad load_;
  const std::filesystem::path dir_;
  std::unique_ptr<ProcessGroup> children_;
  std::string last_words_;
  std::optional<json> measured_;
};

Result<void> ScaleRun::write_identities() {
  TW_ASSIGN(const RunAuthority authority, RunAuthority::create(1));
  std::vector<std::string> names = {"head"};
  for (uint32_t i = 0; i < load_.nodes; ++i) names.push_back(node(i));
  for (const std::string& name : names) {
    TW_ASSIGN(const Identity identity, authority.issue(name, 1));
    TW_TRY(write_identity(file(name + ".pem"), identity));
  }
  return {};
}

Result<void> ScaleRun::start(const std::string& name, const std::string& role,
                             const std::vector<std::string>& words) {
  std::vector<std::string> argv = {TRACEWISE_SCALE_PROCESS,
                                   role,
                                   std::to_string(load_.nodes),
                                   std::to_string(load_.generators),
                                   std::to_string(load_.groups_per_second),
                                   file(name + ".pem")};
  argv.insert(argv.end(), words.begin(), words.end());
  return children_->start(name, argv);
}

Result<void> ScaleRun::start_nodes(const std::string& port) {
  for (uint32_t i = 0; i < load_.nodes; ++i) {
    TW_TRY(start(node(i), "node", {port, file(node(i) + ".latencies"), file(node(i) + ".log")}));
  }
  return {};
}

Result<void> ScaleRun::handle(const ChildEvent& event) {
  const auto said = [&](const std::string& word) {
    return event.kind == ChildEvent::Kind::kOut && event.line.rfind(word + " ", 0) == 0;
  };
  if (said("open")) return start_nodes(event.line.substr(5));
  if (said("measured")) measured_ = json::parse(event.line.substr(9));
  if (event.kind == ChildEvent::Kind::kErr) last_words_ = event.line;
  if (event.kind != ChildEvent::Kind::kExit || event.exit_code == 0) return {};
  return io_error("the scale benchmark's " + event.child + " ended with " +
                  std::to_string(event.exit_code) + ": " + last_words_);
}

// Seconds of the prompts that arrived in [from, to), in ns of the monotonic clock; ascending.
Result<std::vector<double>> ScaleRun::latencies(int64_t from, int64_t to) const {
  std::vector<double> seconds;
  for (uint32_t i = 0; i < load_.nodes; ++i) {
    TW_ASSIGN(const std::string bytes, read_file(file(node(i) + ".latencies"), kMaxLatencyBytes));
    for (size_t at = 0; at + sizeof(IssueLatency) <= bytes.size(); at += sizeof(IssueLatency)) {
      IssueLatency one;
      std::memcpy(&one, bytes.data() + at, sizeof one);
      const int64_t arrived = one.arrived.time_since_epoch().count();
      if (arrived >= from && arrived < to) seconds.push_back(one.seconds);
    }
  }
  if (seconds.empty()) return io_error("no generator of the scale benchmark was given a prompt");
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

Result<Measured> ScaleRun::run() {
  std::error_code failure;
  std::filesystem::remove_all(dir_, failure);
  std::filesystem::create_directories(dir_, failure);
  if (failure) return io_error(dir_.string() + ": " + failure.message());
  TW_TRY(write_identities());
  TW_ASSIGN(children_, ProcessGroup::create());
  TW_TRY(start("head", "head", {file("run"), std::to_string(kMeasuredSeconds)}));
  const auto deadline = SteadyClock::now() + kLimit;
  while (!children_->empty()) {
    for (const ChildEvent& event : children_->wait(deadline)) TW_TRY(handle(event));
    if (SteadyClock::now() >= deadline)
      return Error{ErrorClass::kDeadline, "the scale benchmark did not end: " + last_words_};
  }
  if (!measured_) return io_error("the scale benchmark's head measured nothing: " + last_words_);

  const json &first = (*measured_)["first"], &last = (*measured_)["last"];
  const auto grown = [&](const char* key) {
    return last[key].get<double>() - first[key].get<double>();
  };
  TW_ASSIGN(const auto waits, latencies(first["nanoseconds"], last["nanoseconds"]));
  Measured measured;
  const double seconds = 1e-9 * grown("nanoseconds");
  measured.groups_per_second = grown("groups") / seconds;
  measured.head_cores = grown("cpu_seconds") / seconds;
  measured.head_group_seconds = grown("cpu_seconds") / grown("groups");
  measured.p50_seconds = waits[waits.size() / 2];
  measured.p99_seconds = waits[waits.size() * 99 / 100];
  measured.resident_begin = 1e-6 * first["resident_bytes"].get<double>();
  measured.resident_end = 1e-6 * last["resident_bytes"].get<double>();
  return measured;
}

}  // namespace

// At the full rate this machine may be too small for the stubs, and prompts wait for a processor;
// a fifth of it tells how long they take where nobody waits for one.
Result<std::vector<BenchResult>> bench_scale(const BenchOptions& options) {
  const ScaleLoad full;
  ScaleLoad light;
  light.groups_per_second = full.groups_per_second / 5;
  std::vector<double> computed, groups, cores, begin, end, full_p99, light_p50, light_p99;
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(const Measured m, ScaleRun(full, options.dir / "scale").run());
    computed.push_back(m.head_group_seconds * full.asked());
    groups.push_back(m.groups_per_second);
    cores.push_back(m.head_cores);
    full_p99.push_back(1000 * m.p99_seconds);
    begin.push_back(m.resident_begin);
    end.push_back(m.resident_end);
    TW_ASSIGN(const Measured l, ScaleRun(light, options.dir / "scale").run());
    light_p50.push_back(1000 * l.p50_seconds);
    light_p99.push_back(1000 * l.p99_seconds);
  }
  const auto all = [&](double value) { return std::vector<double>(computed.size(), value); };
  const auto period_ms = [&](const ScaleLoad& load) { return all(1000 / load.groups_per_second); };
  const char* const period = "a generator's time for a group";
  std::vector<BenchResult> results = {
      summarise("scale, cores (computed)", "cores",
                "one; ours: the head's processor time a group * 10,000 groups/s", computed, all(1)),
      summarise("scale, groups", "groups/s", "1,000 generators * 10 groups/s", groups,
                all(full.asked())),
      summarise("scale, cores in use", "cores", "one", cores, all(1)),
      summarise("scale, memory", "MB", "20 s before", end, begin),
      summarise("scale, issue p99", "ms", period, full_p99, period_ms(full)),
      summarise("scale, light, issue p50", "ms", period, light_p50, period_ms(light)),
      summarise("scale, light, issue p99", "ms", period, light_p99, period_ms(light)),
  };
  results[0].goal = 1;
  results[0].at_most = true;
  return results;
}

}  // namespace tracewise::bench
