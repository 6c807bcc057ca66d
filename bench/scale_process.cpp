// A process of the scale benchmark (bench/scale.cpp starts it):
//
//   bench_scale_process head NODES GENERATORS RATE IDENTITY RUN_DIR SECONDS
//   bench_scale_process node NODES GENERATORS RATE IDENTITY PORT LATENCIES LOG
//
// The first three are those of the whole run and the groups/s of each generator. The head writes
// "open PORT" once nodes can come, and at its end the line "measured JSON" (see Mark). A node
// writes the file LATENCIES at its end. Ends with 0, else with 3 and the error on stderr.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "actors/node.hpp"
#include "actors/run_folder.hpp"
#include "bench/scale_parts.hpp"
#include "model/file_io.hpp"

namespace tracewise::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Before the measurement: every generator has had its turn many times.
constexpr std::chrono::seconds kWarmUp{5};

// The whole process, all of its threads, as it stood when the learner was given a batch.
struct Mark {
  SteadyClock::time_point time;
  uint64_t groups = 0;     // trained so far, this batch not included
  double cpu_seconds = 0;  // user and system
  uint64_t resident_bytes = 0;
};

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

Mark mark(uint64_t groups) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return {SteadyClock::now(), groups, seconds(usage.ru_utime) + seconds(usage.ru_stime),
          resident_bytes()};
}

nlohmann::json to_json(const Mark& mark) {
  return {{"nanoseconds", mark.time.time_since_epoch().count()},
          {"groups", mark.groups},
          {"cpu_seconds", mark.cpu_seconds},
          {"resident_bytes", mark.resident_bytes}};
}

// Measures from one batch to another, so that whole steps with all that belongs to them count. Used
// by the learner's thread, and read when the run has ended.
class Meter {
 public:
  Meter(std::chrono::duration<double> length, std::stop_source stop)
      : length_(length), stop_(std::move(stop)) {}

  void on_batch(uint64_t groups) {
    const Mark now = mark(groups_);
    groups_ += groups;
    if (!begun_) begun_ = now.time;
    if (!first_) {
      if (now.time - *begun_ >= kWarmUp) first_ = now;
    } else if (!last_ && now.time - first_->time >= length_) {
      last_ = now;
      stop_.request_stop();
    }
  }

  void print() const {
    if (!last_) return;
    const nlohmann::json line = {{"first", to_json(*first_)}, {"last", to_json(*last_)}};
    std::printf("measured %s\n", line.dump().c_str());
  }

 private:
  const std::chrono::duration<double> length_;
  std::stop_source stop_;
  uint64_t groups_ = 0;
  std::optional<SteadyClock::time_point> begun_;
  std::optional<Mark> first_, last_;
};

ScaleLoad load_of(char** args) {
  ScaleLoad load;
  load.nodes = static_cast<uint32_t>(std::stoul(args[0]));
  load.generators = static_cast<uint32_t>(std::stoul(args[1]));
  load.groups_per_second = std::stod(args[2]);
  return load;
}

Result<void> run_head(const ScaleLoad& load, char** args) {
  HeadSetup head;
  TW_ASSIGN(Identity identity, read_identity(args[0]));
  head.node = scale_node(std::move(identity));
  head.config = "scale";
  head.seats = {0, 0, 0, 0};
  for (uint32_t i = 0; i < load.nodes; ++i) head.expected.push_back("node" + std::to_string(i));
  head.on_open = [](const NodeAddress& address) {
    std::printf("open %u\n", unsigned{address.port});
    std::fflush(stdout);
  };
  head.on_event = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  TW_ASSIGN(auto folder, RunFolder::create(args[1], ""));
  std::stop_source stop;
  Meter meter(std::chrono::duration<double>(std::stod(args[2])), stop);
  LatencyBook none;
  RunParts parts = scale_parts(load, &none, [&](uint64_t groups) { meter.on_batch(groups); });
  TW_ASSIGN(const RunSummary summary,
            run_training(scale_options(load), std::move(parts), std::move(folder), false,
                         stop.get_token(), &head));
  if (summary.stale_groups > 0 || summary.failed_groups > 0) {
    return Error{ErrorClass::kInternal, std::to_string(summary.stale_groups) +
                                            " groups were too old and " +
                                            std::to_string(summary.failed_groups) + " failed"};
  }
  meter.print();
  return {};
}

Result<void> run_node(const ScaleLoad& load, char** args) {
  LatencyBook latencies;
  WorkerSetup setup;
  TW_ASSIGN(Identity identity, read_identity(args[0]));
  setup.node = scale_node(std::move(identity));
  setup.head = {"head", "127.0.0.1", static_cast<uint16_t>(std::stoul(args[1]))};
  setup.seats = {load.generators / load.nodes, 1, 1, 0};
  setup.log_file = args[3];
  setup.make_parts = [&](const std::string&) -> Result<WorkerParts> {
    return WorkerParts{scale_options(load), scale_parts(load, &latencies, {})};
  };
  TW_TRY(run_worker(setup, {}));
  const std::vector<IssueLatency> all = latencies.all();
  std::string bytes(all.size() * sizeof(IssueLatency), '\0');
  if (!all.empty()) std::memcpy(bytes.data(), all.data(), bytes.size());
  return write_file(args[2], bytes);
}

}  // namespace
}  // namespace tracewise::bench

int main(int argc, char** argv) {
  using namespace tracewise;
  const std::string role = argc > 1 ? argv[1] : "";
  Result<void> end = bad_input("bench_scale_process head|node ...: only for the benchmark");
  if (role == "head" && argc == 8) end = bench::run_head(bench::load_of(argv + 2), argv + 5);
  if (role == "node" && argc == 9) end = bench::run_node(bench::load_of(argv + 2), argv + 5);
  if (end.ok()) return 0;
  std::fprintf(stderr, "%s\n", end.error().message.c_str());
  return 3;
}
