#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/process.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

std::string folder(const std::string& name) {
  return std::string(TRACEWISE_TEST_DATA) + "/models/" + name;
}

json golden(const std::string& name) {
  return json::parse(std::ifstream(folder(name) + "/golden.json"));
}

// log softmax(logits)[token]
double logprob(const json& logits, int64_t token) {
  double sum = 0;
  for (const json& x : logits) sum += std::exp(x.get<double>());
  return logits[token].get<double>() - std::log(sum);
}

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

// What score says to a good line and then this one.
std::string refusal(const std::string& line) {
  const Finished finished = run_tracewise({"score", "--model", folder("llama")},
                                          "{\"tokens\":[1,2,3]}\n\n" + line + "\n");
  CHECK(finished.exit_code == 2);
  CHECK(finished.out.empty());
  const std::string start = "tracewise: stdin:3: ";
  CHECK(finished.err.starts_with(start));
  return finished.err.size() > start.size() ? finished.err.substr(start.size()) : "";
}

}  // namespace

TEST_CASE("score gives transformers' log-probabilities for folders without a tokenizer") {
  for (const char* name : {"llama", "llama_tied", "qwen2", "qwen3"}) {
    INFO(name);
    const json want = golden(name);
    std::string input;
    for (const json& tokens : want["tokens"]) input += json{{"tokens", tokens}}.dump() + "\n";
    const Finished finished =
        run_tracewise({"score", "--model", folder(name), "--dtype", "float32"}, input);
    CHECK(finished.err.empty());
    REQUIRE(finished.exit_code == 0);
    const auto lines = lines_of(finished.out);
    REQUIRE(lines.size() == want["tokens"].size());
    for (size_t s = 0; s < lines.size(); ++s) {
      const json& tokens = want["tokens"][s];
      const json& logprobs = lines[s]["logprobs"];
      REQUIRE(logprobs.size() == tokens.size() - 1);
      for (size_t t = 1; t < tokens.size(); ++t) {
        CHECK(logprobs[t - 1].get<double>() ==
              Approx(logprob(want["logits"][s][t - 1], tokens[t])).margin(1e-4));
      }
    }
  }
}

TEST_CASE("score reads a file, keeps its order, and a line does not depend on the others") {
  TempDir dir;
  const std::string first = "{\"tokens\":[1,5,9,23,2]}\n", second = "{\"tokens\":[4]}\n",
                    third = "{\"tokens\":[7,7,12,19]}\n";
  const auto file = dir.put("in.jsonl", first + second + "\n" + third);
  const std::vector<std::string> words{"score", "--model", folder("qwen3"), "--threads", "1"};
  const auto alone = [&](const std::string& line) { return run_tracewise(words, line).out; };
  auto with_file = words;
  with_file.insert(with_file.end(), {"--in", file.string()});
  const Finished all = run_tracewise(with_file);
  CHECK(all.exit_code == 0);
  CHECK(all.out == alone(first) + alone(second) + alone(third));
  CHECK(alone(second) == "{\"logprobs\":[]}\n");
  // Values are written so that they read back to the same float.
  const json answer = lines_of(all.out)[0];
  for (const json& value : answer["logprobs"]) {
    const auto x = value.get<float>();
    CHECK(all.out.find(json(value).dump()) != std::string::npos);
    CHECK(std::isfinite(x));
    CHECK(x < 0);
  }
}

TEST_CASE("score writes nothing and names the line that is wrong") {
  CHECK(refusal("{\"tokens\":[1") == "no JSON object\n");
  CHECK(refusal("[1,2]") == "no JSON object\n");
  CHECK(refusal("{\"token\":[1]}") == "\"tokens\" is missing\n");
  CHECK(refusal("{\"tokens\":7}") == "\"tokens\" is no array\n");
  CHECK(refusal("{\"tokens\":[]}") == "\"tokens\" is empty; at least 1 token is needed\n");
  CHECK(refusal("{\"tokens\":[0,24]}") ==
        "\"tokens\"[1] is 24, but ids are whole numbers from 0 to 23\n");
  CHECK(refusal("{\"tokens\":[-1]}") ==
        "\"tokens\"[0] is -1, but ids are whole numbers from 0 to 23\n");
  CHECK(refusal("{\"tokens\":[1.5]}") ==
        "\"tokens\"[0] is 1.5, but ids are whole numbers from 0 to 23\n");
  CHECK(refusal("{\"tokens\":[\"a\"]}") ==
        "\"tokens\"[0] is \"a\", but ids are whole numbers from 0 to 23\n");
  CHECK(refusal(json{{"tokens", std::vector<int>(97, 3)}}.dump()) ==
        "\"tokens\" has 97 tokens, but the model's context is 96\n");
}

TEST_CASE("score takes a sequence that fills the context") {
  const Finished finished = run_tracewise({"score", "--model", folder("llama")},
                                          json{{"tokens", std::vector<int>(96, 3)}}.dump());
  CHECK(finished.exit_code == 0);
  CHECK(lines_of(finished.out).at(0)["logprobs"].size() == 95);
}

TEST_CASE("score refuses a missing model, input or option value with exit code 2") {
  const std::string line = "{\"tokens\":[1,2]}\n";
  const Finished model = run_tracewise({"score", "--model", "/nowhere"}, line);
  CHECK(model.exit_code == 2);
  CHECK(model.err == "tracewise: /nowhere is not a folder\n");
  const Finished file = run_tracewise({"score", "--model", folder("llama"), "--in", "/nowhere"});
  CHECK(file.exit_code == 2);
  CHECK(file.err == "tracewise: score: cannot read /nowhere\n");
  const Finished empty = run_tracewise({"score", "--model", folder("llama")}, "\n");
  CHECK(empty.exit_code == 2);
  CHECK(empty.err == "tracewise: stdin has no lines\n");
  CHECK(run_tracewise({"score"}, line).exit_code == 2);
  CHECK(run_tracewise({"score", "--model", folder("llama"), "--dtype", "f8"}, line).exit_code == 2);
  CHECK(run_tracewise({"score", "--model", folder("llama"), "--threads", "0"}, line).exit_code ==
        2);
  CHECK(run_tracewise({"score", "--help"}).exit_code == 0);
}

TEST_CASE("score says so when its output gets lost") {
  TempDir dir;
  const auto in = dir.put("in.jsonl", "{\"tokens\":[1,2]}\n");
  const std::string command = std::string(TRACEWISE_BINARY) + " score --model " + folder("llama") +
                              " --in " + in.string() + " >/dev/full 2>" + (dir / "err").string();
  const int status = std::system(command.c_str());
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 2);
  CHECK(slurp(dir / "err") == "tracewise: cannot write to standard output: the disk may be full\n");
}

}  // namespace tracewise
