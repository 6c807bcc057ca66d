// A traced rollout as people and scripts read it: its steps, each with value, gain and advantage.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

class Tokenizer;

// Step k of K. What is not known (values not probed, no gold answer) is empty.
struct StepView {
  std::string text;
  int64_t tokens = 0;
  std::optional<double> value;      // V_k, the state's value after the step; V_K is the reward
  std::optional<double> gain;       // V_k - V_{k-1}
  std::optional<double> advantage;  // of each of its tokens
};

struct RolloutView {
  std::string set;  // evaluation set; empty: none
  std::string id;   // the prompt's in its set; without a set empty
  std::string prompt;
  std::string answer;  // gold; empty: none
  uint32_t sample = 0;
  uint32_t group_samples = 1;
  std::optional<double> reward;       // in [0, 1]
  std::optional<double> start_value;  // V_0, of the prompt alone
  FinishReason finish = FinishReason::kStop;
  int64_t tokens = 0;  // of the response
  uint64_t probe_tokens = 0;
  std::vector<StepView> steps;
  std::string failure;  // why something is missing; empty: nothing is
};

// `advantages` [K], or empty where there are none. `rewarded`: whether there is a gold answer.
RolloutView make_view(const TracedRollout& traced, std::span<const double> advantages,
                      bool rewarded, const Tokenizer& tokenizer);

// Several lines for a terminal, the last one with its line end. With `colour` each step has the
// colour of its V_k, from red (0) over yellow to green (1), in ANSI's 256 colours. Control
// characters of the text other than line ends and tabs are written as \xNN.
std::string view_text(const RolloutView& view, bool colour);

// One line of JSON without its line end; unknown numbers are null.
std::string view_json(const RolloutView& view);

// What view_json() wrote of a rollout of a set; other fields are passed over. kBadInput says what
// is missing or wrong.
Result<RolloutView> view_of_json(const std::string& line);

}  // namespace tracewise
