// The demo's model with random weights, as a folder, and configs that go with it.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "launch/config.hpp"
#include "launch/demo/task.hpp"
#include "launch/parts.hpp"
#include "model/init.hpp"
#include "model/model_folder.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise::testing {

// A value, or the error as the test's failure.
template <class T>
T must(Result<T> result) {
  INFO((result.ok() ? std::string() : result.error().message));
  REQUIRE(result.ok());
  return std::move(result).value();
}

class TinyDemo {
 public:
  TinyDemo() {
    const auto tokenizer = must(demo::make_tokenizer());
    const ModelConfig config = demo::model_config();
    REQUIRE(save_model_folder(model_dir(), config, *tokenizer, *initial_weights(config, 7)).ok());
    model = must(load_model_folder(model_dir()));
  }

  std::filesystem::path model_dir() const { return dir / "model"; }

  // The words that name the model and how the demo's responses are read, for --set.
  std::vector<std::string> sets(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"model.dir=" + model_dir().string(),
                                    "steps.delimiters=[\"\\n\"]",
                                    "steps.final_markers=[]",
                                    "verifier.answer_prefix=ans ",
                                    "probe.text=ans ",
                                    "run.seed=5"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  Config config(const std::vector<std::string>& more = {}) const {
    return must(load_config({{}, sets(more)}));
  }

  // The command line of `command` with the same sets.
  std::vector<std::string> words(const std::string& command, const std::vector<std::string>& more,
                                 const std::vector<std::string>& more_sets = {}) const {
    std::vector<std::string> words = {command};
    for (const std::string& set : sets(more_sets)) {
      words.push_back("--set");
      words.push_back(set);
    }
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TempDir dir;
  ModelFolder model;
};

// A prompt of the demo's vocabulary with its gold answer.
inline Prompt prompt_of(const ModelFolder& model, const std::string& text,
                        const std::string& gold) {
  Prompt prompt;
  prompt.id = text;
  prompt.tokens = must(model.tokenizer->encode(text, true));
  prompt.gold = gold;
  prompt.gold_tokens = must(model.tokenizer->encode(gold, false));
  return prompt;
}

}  // namespace tracewise::testing
