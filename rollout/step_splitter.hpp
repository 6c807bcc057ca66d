// Cuts a response into reasoning steps, on its token ids.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tracewise {

class Tokenizer;

struct StepOptions {
  // A step ends with one of these texts; the longest that matches counts. A delimiter may span
  // tokens or end inside one: the token that holds its last byte ends the step.
  std::vector<std::string> delimiters = {"\n\n"};
  // A step that starts with one of these words opens a new episode (blanks before it aside).
  std::vector<std::string> restart_words = {};
  // The last occurrence of one of these opens the final answer: nothing is cut from there on.
  std::vector<std::string> final_markers = {"</think>", "**Final Answer**"};
  int32_t min_step_tokens = 1;  // >= 1; a shorter step joins the next one, at the end of an episode
                                // the one before
  int32_t max_steps = 0;        // while there are more, the two neighbours with the fewest tokens
                                // together (the first such pair) become one; 0: no limit
};

struct Steps {
  std::vector<int32_t> ends;      // [K] exclusive, ascending; the last is T. Empty for T = 0.
  std::vector<int32_t> episodes;  // steps that open an episode, ascending; the first is 0
};

// Nothing is cut inside \boxed{..}, $..$, $$..$$ and code fences. A box or formula that is never
// closed protects nothing; a fence that is never closed runs to the end, as in Markdown. A rest of
// blanks and special tokens after the last delimiter belongs to the step before.
Steps split_steps(std::span<const int32_t> tokens, const Tokenizer& tokenizer,
                  const StepOptions& options);

}  // namespace tracewise
