// tracewise bench: our speed against references measured in the same run.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "bench/bench.hpp"
#include "bench/message_node.hpp"
#include "launch/commands/cli.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace {

void print_header() {
  std::printf("%-28s %12s %12s %-10s %7s %8s %7s  %s\n", "benchmark", "ours", "reference", "unit",
              "ratio", "spread", "goal", "reference is");
}

void print_result(const bench::BenchResult& r) {
  char goal[16] = "-";
  if (r.goal != 0) std::snprintf(goal, sizeof goal, "%s%6.2f", r.at_most ? "<" : ">", r.goal);
  std::printf("%-28s %12.4g %12.4g %-10s %7.2f %7.0f%% %7s  %s%s\n", r.name.c_str(), r.value,
              r.reference_value, r.unit.c_str(), r.ratio, 100 * r.spread, goal, r.reference.c_str(),
              r.met() ? "" : "  (NOT MET)");
  std::fflush(stdout);
}

// "decode, train, probe"
std::string known_names() {
  std::string list;
  for (const bench::NamedBenchmark& b : bench::benchmarks())
    list += (list.empty() ? "" : ", ") + std::string(b.name);
  return list;
}

// The footer of --help.
std::string described() {
  std::string lines = "Benchmarks:\n";
  for (const bench::NamedBenchmark& b : bench::benchmarks())
    lines +=
        "  " + std::string(b.name) + std::string(10 - std::strlen(b.name), ' ') + b.what + "\n";
  return lines;
}

Result<void> check_names(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    bool known = false;
    for (const bench::NamedBenchmark& b : bench::benchmarks()) known = known || name == b.name;
    if (!known) return bad_input("there is no benchmark " + name + "; there are " + known_names());
  }
  return {};
}

}  // namespace

int cmd_bench(const Args& args) {
  CLI::App app("Measures our speed against references in the same run; a ratio for each.",
               "tracewise bench");
  bench::BenchOptions options;
  options.dir = std::filesystem::path(TRACEWISE_BENCH_DIR);
  options.source = std::filesystem::path(TRACEWISE_SOURCE_DIR);
  options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::string> names;
  std::filesystem::path json;
  bool check = false;
  bool echo_node = false;
  app.add_option("names", names, known_names() + "; none: all");
  app.footer(described());
  app.add_option("--json", json, "also write the results here")->type_name("FILE");
  app.add_option("--threads", options.threads, "compute threads of both sides")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("--repetitions", options.repetitions, "of each benchmark")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--python", options.python,
                 "interpreter for the references; left out: a venv in build/, made on first use");
  app.add_flag("--check", check, "exit code 3 if a goal is not met");
  app.add_flag("--echo-node", echo_node, "for `messages` alone, which starts it")->group("");
  if (const auto exit = parse_args(app, args)) return *exit;
  if (echo_node) {
    const auto end = bench::serve_echo();
    return end.ok() ? kExitDone : fail(end.error());
  }

  if (const auto known = check_names(names); !known.ok()) return fail(known.error());
  if (!json.empty()) {
    if (const auto possible = check_writable(json); !possible.ok()) return fail(possible.error());
  }
  print_header();
  std::vector<bench::BenchResult> results;
  for (const bench::NamedBenchmark& b : bench::benchmarks()) {
    if (!names.empty() && std::find(names.begin(), names.end(), b.name) == names.end()) continue;
    const auto measured = b.run(options);
    if (!measured.ok()) return fail(measured.error());
    for (const bench::BenchResult& result : *measured) {
      print_result(result);
      results.push_back(result);
    }
    if (json.empty()) continue;  // written after each, so that a later one's failure loses nothing
    if (auto written = write_file(json, bench::results_json(results)); !written.ok())
      return fail(written.error());
  }
  const bool met =
      std::all_of(results.begin(), results.end(), [](const auto& r) { return r.met(); });
  return met || !check ? kExitDone : kExitGoalNotReached;
}

}  // namespace tracewise
