// A user's path with a real model: a Hugging Face folder, a file of prompts, a reward function.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/process.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

const char* const kPrompts =
    R"({"prompt": "What is 2 + 3?", "answer": "5", "metadata": {"kind": "sum"}})"
    "\n"
    R"({"messages": [{"role": "user", "content": "What is 4 + 5?"}], "answer": "9"})"
    "\n";

// Rewards that differ within a group, so that there is something to learn.
const char* const kReward =
    "def reward(response, answer, prompt, metadata):\n"
    "  assert '<|im_start|>assistant' in prompt, prompt\n"
    "  return 1.0 if answer in response else len(response) % 7 / 7\n";

const char* const kConfig = R"(
[data]
as_chat = true
[verifier]
kind = "python"
require_stop = false
[sampling]
max_new_tokens = 32
[run]
groups_per_batch = 2
group_size = 6
steps = 1
[eval]
at_start = false
at_end = false
[engine]
threads = 1
[trainer]
threads = 1
micro_batch_tokens = 512
)";

struct Bench {
  Bench() {
    dir.put("prompts.jsonl", kPrompts);
    dir.put("own_reward.py", kReward);
    dir.put("own.toml", kConfig);
  }
  // The exit code; the output is in dir / (name + ".out") and ".err".
  int train(const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> words = {TRACEWISE_BINARY, "train",
                                      "--config",       TRACEWISE_CONFIGS "/grpo.toml",
                                      "--config",       dir / "own.toml"};
    for (const std::string& set :
         {std::string("model.dir=") + TRACEWISE_SMOLLM2,
          "data.prompts=" + (dir / "prompts.jsonl").string(),
          "verifier.file=" + (dir / "own_reward.py").string(), "run.dir=" + (dir / "run").string()})
      words.insert(words.end(), {"--set", set});
    words.insert(words.end(), more.begin(), more.end());
    return Process(words, dir / name).wait();
  }

  TempDir dir;
};

// The most memory that a child of this process has had, bytes.
double peak_of_children() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

}  // namespace

TEST_CASE("a real model learns from a file of prompts and a Python function within its memory") {
  Bench bench;
  REQUIRE(bench.train("dry", {"--dry-run", "--json"}) == 0);
  CHECK_FALSE(fs::exists(bench.dir / "run"));
  const auto plan = nlohmann::json::parse(slurp(bench.dir / "dry.out"));
  CHECK(plan["prompts"] == 2);

  const int code = bench.train("train", {});
  INFO(slurp(bench.dir / "train.err"));
  REQUIRE(code == 0);
  const double estimate = plan["memory"]["total"].get<double>(), peak = peak_of_children();
  INFO("estimated " << estimate / 1e9 << " GB, measured " << peak / 1e9 << " GB");
  CHECK(estimate > 0.8 * peak);
  CHECK(estimate < 1.2 * peak);

  const fs::path model = bench.dir / "run/checkpoints/step-1/model";
  CHECK(slurp(model / "chat_template.jinja") ==
        slurp(fs::path(TRACEWISE_SMOLLM2) / "chat_template.jinja"));
  CHECK(slurp(model / "model.safetensors") !=
        slurp(fs::path(TRACEWISE_SMOLLM2) / "model.safetensors"));
  CHECK(slurp(bench.dir / "run/prompts.jsonl").find("<|im_start|>assistant") != std::string::npos);
}

TEST_CASE("a reward file with a syntax error ends the program before there is a run") {
  Bench bench;
  bench.dir.put("own_reward.py", "def reward(response):\n  return (1\n");
  CHECK(bench.train("train", {}) == 2);
  CHECK(slurp(bench.dir / "train.err") == "tracewise: " + (bench.dir / "own_reward.py").string() +
                                              ":2: '(' was never closed: return (1\n");
  CHECK_FALSE(fs::exists(bench.dir / "run"));
}
