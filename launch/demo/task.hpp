// The demo's tasks: short chains of digit arithmetic, with reasoning traces that check themselves.
// They write the files a user would bring (JSON lines, a Hugging Face folder); nothing else in the
// program knows of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "messages/random.hpp"
#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/tokenizer.hpp"

namespace tracewise::demo {

// digits[0] op[0] digits[1] op[1] ..., evaluated left to right, every result modulo the task's
// base.
struct Chain {
  std::vector<int> digits;
  std::string operators;  // of "+-*", one fewer than digits
  bool operator==(const Chain&) const = default;
};

using Problem = std::vector<Chain>;

// a op b modulo `base`, in [0, base).
int apply(int a, char op, int b, int base);

// "3+8*2,4*7-1=\n"
std::string prompt_text(const Problem& problem);

class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;
  virtual int base() const = 0;
  virtual Problem draw_problem(SplitMix& random) const = 0;
  // A reasoning trace with its answer line, slips and repairs included: "3+8=1\n...ans 27".
  virtual std::string draw_trace(const Problem& problem, SplitMix& random) const = 0;

  // The right answer's digits, one a chain: "27".
  std::string gold(const Problem& problem) const;
};

// Several chains of 2 operators modulo 10, one operation a line (docs/results.md, "last digit").
std::unique_ptr<Task> make_last_digit();

// One or two chains modulo 5, a whole chain a line, checks that pay on hard chains alone ("jump").
std::unique_ptr<Task> make_jump_lines();

// The task of this name, or kBadInput with the names there are.
Result<std::unique_ptr<Task>> make_task(const std::string& name);

// Longest response of a trace, in tokens; longer ones are drawn again.
inline constexpr int64_t kMaxResponseTokens = 128;

// The 24 symbols of all tasks: <pad> <bos> <eos>, newline, digits, operators, words.
Result<std::unique_ptr<Tokenizer>> make_tokenizer();

// Width 96, 3 layers, 4 heads of 24, RoPE base 100: 281,760 weights.
ModelConfig model_config();

struct TaskFiles {
  std::filesystem::path corpus;   // {"prompt", "response"}: for the supervised warm start
  std::filesystem::path prompts;  // {"prompt", "answer"}: training prompts
  std::filesystem::path curve;    // 512 prompts for learning curves; in neither of the above
  std::filesystem::path final;    // 1024 fresh prompts
  std::filesystem::path model;    // Hugging Face folder with initial weights
};

// Where they lie in a folder.
TaskFiles task_files(const std::filesystem::path& dir);

struct TaskSizes {
  int64_t corpus = 40000;
  int64_t prompts = 20000;
  int64_t curve = 512;
  int64_t final = 1024;
};

// Writes all files into `dir`. Evaluation prompts are the same for all seeds.
Result<TaskFiles> write_task_files(const Task& task, const std::filesystem::path& dir,
                                   uint64_t seed, const TaskSizes& sizes);

}  // namespace tracewise::demo
