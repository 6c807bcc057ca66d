// The demo's run in one process and over each topology, from one warm start:
//
//   topologies --demo DIR [--steps N]
//
// DIR is what `tracewise demo --out DIR` has written. Hosts are network namespaces with a real
// sshd, Slurm is a real one of the program's own; what this machine does not permit is left out
// with a word. Synchronous runs must give the weights of one process bit for bit, and learner
// ranks, whose sums are rounded otherwise, an accuracy whose 95 % interval meets that of one
// process. Exit code 0: they do.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/net/host_lab.hpp"
#include "tests/net/slurm_lab.hpp"
#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const fs::path kConfigs = TRACEWISE_CONFIGS;
constexpr auto kRunLimit = std::chrono::hours(1);

struct Outcome {
  double seconds = 0;
  double accuracy = 0, low = 0, high = 0;  // on the demo's final prompts, with Wilson's interval
  double tokens = 0;                       // mean of a response
  std::string weights;
};

class Comparison {
 public:
  Comparison(fs::path demo, std::string steps) : demo_(std::move(demo)), steps_(std::move(steps)) {}

  bool run() {
    std::printf("%-28s %8s %9s %15s %7s  %s\n", "", "seconds", "accuracy", "95 % interval",
                "tokens", "weights");
    one_ = train("one-process",
                 {"train", "--config", kConfigs / "demo.toml", "--config", kConfigs / "sspo.toml"});
    tell("one process", one_, "");
    const Words local = {"launch", kConfigs / "cluster_local.toml"};
    compare("local, 4 processes", train("local", local), true);
    compare("local, 5, 2 learner ranks",
            train("ranks", local,
                  {"cluster.nodes=[{name=\"gen0\",generators=1},{name=\"gen1\",generators=1},"
                   "{name=\"trace0\",tracers=1},{name=\"rank1\",ranks=1}]"}),
            false);
    over_ssh();
    in_slurm();
    return agreed_;
  }

 private:
  void over_ssh() {
    if (const std::string why = HostLab::missing(); !why.empty())
      return void(std::printf("ssh is left out: %s\n", why.c_str()));
    const HostLab lab(3);
    const auto node = [&](const char* name, size_t host, const char* seat) {
      return std::string("{name=\"") + name + "\",host=\"" + lab.address(host) + "\"," + seat +
             "=1}";
    };
    std::string options;
    for (const std::string& word : lab.ssh_options())
      options += (options.empty() ? "\"" : ",\"") + word + "\"";
    compare("ssh, 3 hosts",
            train("ssh", {"launch", kConfigs / "cluster_local.toml", kConfigs / "cluster_ssh.toml"},
                  {"cluster.head.host=" + lab.address(0), "cluster.ssh.user=root",
                   "cluster.ssh.port=" + std::to_string(lab.ssh_port()),
                   "cluster.ssh.options=[" + options + "]",
                   "cluster.nodes=[" + node("gen0", 1, "generators") + "," +
                       node("gen1", 2, "generators") + "," + node("trace0", 2, "tracers") + "]"},
                  [&](const Words& words) { return lab.on(0, words); }),
            true);
  }

  void in_slurm() {
    if (const std::string why = SlurmLab::missing(); !why.empty())
      return void(std::printf("Slurm is left out: %s\n", why.c_str()));
    const SlurmLab slurm;
    compare("Slurm, a job it submits",
            train("slurm",
                  {"launch", "--wait", kConfigs / "cluster_local.toml",
                   kConfigs / "cluster_slurm.toml"},
                  {"cluster.slurm.job_options=[\"--nodes=1\",\"--ntasks=4\"]"}),
            true);
  }

  template <typename Place = Words (*)(const Words&)>
  Outcome train(
      const std::string& name, const Words& command, const Words& more = {},
      Place place = [](const Words& words) { return words; }) {
    Words words = {TRACEWISE_BINARY};
    words.insert(words.end(), command.begin(), command.end());
    const fs::path root = dir_ / name;
    Words sets = {"model.dir=" + (demo_ / "start").string(),
                  "data.prompts=" + (demo_ / "data/prompts.jsonl").string(),
                  "run.dir=" + root.string(), "run.steps=" + steps_};
    sets.insert(sets.end(), more.begin(), more.end());
    for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
    const auto begun = std::chrono::steady_clock::now();
    Process process(place(words), dir_ / (name + "-output"));
    if (process.wait(kRunLimit) != 0)
      throw std::runtime_error("the run " + name + " failed: " + process.err());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    const fs::path model = root / "checkpoints" / ("step-" + steps_) / "model";
    Outcome outcome = measure(model);
    outcome.seconds = took.count();
    outcome.weights = slurp(model / "model.safetensors");
    return outcome;
  }

  Outcome measure(const fs::path& model) const {
    Process eval({TRACEWISE_BINARY, "eval", "--config", kConfigs / "demo.toml", "--model", model,
                  "--data", demo_ / "data/final.jsonl", "--json"},
                 dir_ / "eval");
    if (eval.wait() != 0) throw std::runtime_error("eval failed: " + eval.err());
    const auto said = nlohmann::json::parse(eval.out());
    Outcome outcome;
    outcome.accuracy = said.at("accuracy");
    outcome.low = said.at("accuracy_ci").at(0);
    outcome.high = said.at("accuracy_ci").at(1);
    outcome.tokens = said.at("tokens_mean");
    return outcome;
  }

  void compare(const char* name, const Outcome& outcome, bool bit_for_bit) {
    const bool same = outcome.weights == one_.weights;
    const bool meets = outcome.low <= one_.high && one_.low <= outcome.high;
    agreed_ = agreed_ && (same || (!bit_for_bit && meets));
    tell(name, outcome, same ? "those of one process" : "others");
  }

  static void tell(const char* name, const Outcome& o, const char* weights) {
    std::printf("%-28s %8.0f %9.3f   %.3f to %.3f %7.1f  %s\n", name, o.seconds, o.accuracy, o.low,
                o.high, o.tokens, weights);
  }

  TempDir dir_;
  fs::path demo_;
  std::string steps_;
  Outcome one_;
  bool agreed_ = true;
};

}  // namespace
}  // namespace tracewise

int main(int argc, char** argv) {
  std::string demo, steps = "100";
  for (int i = 1; i < argc; i += 2) {
    const bool is_demo = std::strcmp(argv[i], "--demo") == 0;
    if (i + 1 == argc || (!is_demo && std::strcmp(argv[i], "--steps") != 0)) {
      demo.clear();
      break;
    }
    (is_demo ? demo : steps) = argv[i + 1];
  }
  if (demo.empty() || std::atoi(steps.c_str()) < 1) {
    std::fprintf(stderr, "usage: topologies --demo DIR [--steps N]\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    return tracewise::Comparison(std::filesystem::absolute(demo), steps).run() ? 0 : 1;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}
