// Runs of the real binary that train an adapter.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "model/adapter_folder.hpp"
#include "model/model_folder.hpp"
#include "model/weights.hpp"
#include "tests/integration/launched_run.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

Words lora(Words sets = {}) {
  sets.insert(sets.end(),
              {"optimizer.schedule=constant", "trainer.updates_per_batch=1", "lora.rank=2",
               "lora.alpha=8", "lora.targets=[\"v_proj\", \"q_proj\", \"down_proj\"]"});
  return sets;
}

std::string adapter(const Task& task, const std::string& run, int step) {
  return slurp(task / run / "checkpoints" / ("step-" + std::to_string(step)) / "adapter" /
               "adapter_model.safetensors");
}

std::vector<double> values(const Task& task, const std::string& run, const std::string& metric) {
  std::istringstream lines(slurp(task / run / "metrics.jsonl"));
  std::vector<double> all;
  for (std::string line; std::getline(lines, line);) {
    const auto step = nlohmann::json::parse(line);
    if (step.contains(metric)) all.push_back(step[metric].get<double>());
  }
  return all;
}

}  // namespace

TEST_CASE("a run of an adapter sends and keeps the adapter alone, and resumes to the same bits") {
  const Task task;
  REQUIRE(task.run("run", task.train("run", lora({"loss.kl_beta=0.01"}))) == 0);
  const fs::path step = task / "run/checkpoints/step-6";
  CHECK_FALSE(fs::exists(step / "model"));
  auto base = load_model_weights(task.files().model);
  REQUIRE(base.ok());
  const uint64_t whole = base->weights->manifest().bytes;
  const auto loaded = load_adapter(step / "adapter", base->weights, base->config);
  INFO((loaded.ok() ? "" : loaded.error().message));
  REQUIRE(loaded.ok());
  CHECK(base->config.adapter == AdapterConfig{2, 8, false, {"q_proj", "v_proj", "down_proj"}});
  const double bytes = static_cast<double>((*loaded)->manifest().bytes);
  CHECK(bytes * 5 < static_cast<double>(whole));
  CHECK(values(task, "run", "weights/bytes") == std::vector<double>(6, bytes));
  // Generator and learner compute with the same sums.
  for (const double gap : values(task, "run", "train/fresh_logprob_gap_max")) CHECK(gap < 1e-5);
  CHECK(values(task, "run", "train/kl").at(0) < 1e-9);
  CHECK(values(task, "run", "train/kl").at(5) > 1e-9);
  const auto config = nlohmann::json::parse(slurp(step / "adapter/adapter_config.json"));
  CHECK(config["base_model_name_or_path"] == task.files().model.string());

  fs::remove_all(task / "run/checkpoints/step-6");
  fs::remove_all(task / "run/checkpoints/step-5");
  const std::string expected = adapter(task, "run", 4);
  REQUIRE(task.run("resume", {TRACEWISE_BINARY, "train", "--resume", task / "run", "--set",
                              "run.steps=6"}) == 0);
  REQUIRE(task.run("straight", task.train("straight", lora({"loss.kl_beta=0.01"}))) == 0);
  CHECK(adapter(task, "straight", 4) == expected);
  CHECK(adapter(task, "run", 6) == adapter(task, "straight", 6));
  CHECK(adapter(task, "run", 6) != expected);
}

TEST_CASE("an adapter over several processes and ranks is the one of one process") {
  const Task task;
  REQUIRE(task.run("one", task.train("one", lora())) == 0);
  const Words nodes = {
      "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"gen1\",generators=1},"
      "{name=\"trace0\",tracers=1}]"};
  LaunchedRun several(task, "several", launch_words(task, "several", lora(nodes)));
  CHECK(several.process().wait() == 0);
  INFO(several.all_logs());
  CHECK(adapter(task, "several", 6) == adapter(task, "one", 6));
  // Ranks add their gradients in another order.
  const Words ranks = {
      "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"rank1\",ranks=1},"
      "{name=\"trace0\",tracers=1}]"};
  LaunchedRun shared(task, "ranks", launch_words(task, "ranks", lora(ranks)));
  CHECK(shared.process().wait() == 0);
  INFO(shared.all_logs());
  std::vector<std::vector<float>> elements;
  for (const char* run : {"one", "ranks"}) {
    auto base = load_model_weights(task.files().model);
    REQUIRE(base.ok());
    const auto loaded =
        load_adapter(task / run / "checkpoints/step-6/adapter", base->weights, base->config);
    REQUIRE(loaded.ok());
    const auto* x = reinterpret_cast<const float*>((*loaded)->bytes().data());
    elements.emplace_back(x, x + (*loaded)->bytes().size() / sizeof(float));
  }
  double largest = 0;
  for (size_t i = 0; i < elements[0].size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(elements[0][i]) - elements[1][i]));
  CHECK(largest < 1e-4);
}

TEST_CASE("an adapter can be gone on from, merged, and compared with its base") {
  const Task task;
  REQUIRE(task.run("first", task.train("first", lora({"run.steps=2"}))) == 0);
  const std::string folder = (task / "first/checkpoints/step-2/adapter").string();
  const std::string base = task.files().model.string();
  REQUIRE(task.run("on", task.train("on", {"run.steps=1", "lora.adapter=" + folder})) == 0);
  CHECK(adapter(task, "on", 1) != adapter(task, "first", 2));

  const std::string merged = (task / "merged").string();
  REQUIRE(task.run("merge", {TRACEWISE_BINARY, "merge", "--model", base, "--adapter", folder,
                             "--out", merged}) == 0);
  CHECK(load_model_folder(merged).ok());
  const std::string input = (task / "in.jsonl").string();
  REQUIRE(write_file(input, "{\"tokens\": [1, 4, 5, 9, 14]}\n").ok());
  const auto score = [&](const std::string& name, Words more) {
    Words words = {TRACEWISE_BINARY, "score", "--in", input};
    words.insert(words.end(), more.begin(), more.end());
    Process process(words, task / name);
    CHECK(process.wait() == 0);
    return process.out();
  };
  const std::string adapted = score("adapted", {"--model", base, "--adapter", folder});
  CHECK(score("merged-score", {"--model", merged}) == adapted);
  CHECK(score("base", {"--model", base}) != adapted);

  const auto generate = [&](const std::string& name, Words more) {
    Words words = {TRACEWISE_BINARY,   "generate", "--json", "--temperature", "0",
                   "--max-new-tokens", "20",       "3+8*2="};
    words.insert(words.end(), more.begin(), more.end());
    Process process(words, task / name);
    CHECK(process.wait() == 0);
    return process.out();
  };
  const std::string text = generate("text", {"--model", base, "--adapter", folder});
  CHECK(text.find("logprobs") != std::string::npos);
  CHECK(generate("merged-text", {"--model", merged}) == text);
}

TEST_CASE("what cannot be trained as an adapter is one sentence before any step") {
  const Task task;
  const auto refused = [&](const Words& sets) {
    CHECK(task.run("refused", task.train("never", sets)) == 2);
    CHECK_FALSE(fs::exists(task / "never"));
    return task.err();
  };
  CHECK_THAT(refused({"lora.rank=2", "lora.dropout=0.1"}),
             Catch::Contains("lora.dropout = 0.1") && Catch::Contains("without dropout"));
  CHECK_THAT(refused({"lora.rank=2", "lora.targets=[\"q_prj\"]"}),
             Catch::Contains("there is no module 'q_prj'; did you mean q_proj?"));
  CHECK_THAT(refused({"lora.alpha=16"}), Catch::Contains("means nothing without lora.rank"));
  CHECK_THAT(refused({"lora.adapter=" + (task / "nowhere").string()}),
             Catch::Contains("adapter_config.json"));
}
