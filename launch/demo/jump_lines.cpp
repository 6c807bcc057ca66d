// "Jump lines": one or two chains modulo 5. A line gives a chain's result at one go; on hard chains
// (two operators) that often slips, and a spelled-out check repairs it; on easy ones a check is
// waste.
#include <algorithm>

#include "launch/demo/task.hpp"

namespace tracewise::demo {
namespace {

constexpr int kBase = 5;
constexpr double kHard = 0.5;
constexpr double kSlipHard = 0.35, kSlipEasy = 0.05;
constexpr double kCheck[] = {0.60, 0.35};
constexpr double kCatch = 0.95;
constexpr double kFalseAlarm = 0.005;
constexpr double kEarly[] = {0.30, 0.10};  // answer with one or two chains left

int wrong_digit(int right, SplitMix& random) {
  const int digit = static_cast<int>(random.below(kBase - 1));
  return digit < right ? digit : digit + 1;
}

int chain_value(const Chain& chain) {
  int value = chain.digits[0];
  for (size_t i = 0; i < chain.operators.size(); ++i)
    value = apply(value, chain.operators[i], chain.digits[i + 1], kBase);
  return value;
}

std::string chain_text(const Chain& chain) {
  const std::string prompt = prompt_text({chain});
  return prompt.substr(0, prompt.size() - 1);  // with "=", without the newline
}

// "check 3+2=0*4=0 ok\n": every partial result right, the last one as found.
std::string check_line(const Chain& chain, int before, int found) {
  std::string line = "check " + std::to_string(chain.digits[0]);
  int value = chain.digits[0];
  for (size_t i = 0; i < chain.operators.size(); ++i) {
    value = apply(value, chain.operators[i], chain.digits[i + 1], kBase);
    const bool last = i + 1 == chain.operators.size();
    line += chain.operators[i] + std::to_string(chain.digits[i + 1]) + "=" +
            std::to_string(last ? found : value);
  }
  return line + (found == before ? " ok\n" : " no\n");
}

class JumpLines final : public Task {
 public:
  std::string name() const override { return "jump"; }
  int base() const override { return kBase; }

  Problem draw_problem(SplitMix& random) const override {
    Problem problem(1 + random.below(2));
    for (Chain& chain : problem) {
      const int operators = random.uniform() < kHard ? 2 : 1;
      for (int i = 0; i <= operators; ++i)
        chain.digits.push_back(static_cast<int>(random.below(kBase)));
      for (int i = 0; i < operators; ++i) chain.operators += "+-*"[random.below(3)];
    }
    return problem;
  }

  // At most two chains of at most 3 lines: always far below kMaxResponseTokens.
  std::string draw_trace(const Problem& problem, SplitMix& random) const override {
    std::string text, digits;
    for (size_t q = 0; q < problem.size(); ++q) {
      const size_t left = problem.size() - q;
      if (random.uniform() < kEarly[std::min(left, std::size(kEarly)) - 1]) {
        for (; q < problem.size(); ++q) digits += std::to_string(chain_value(problem[q]));
        break;
      }
      digits += std::to_string(write_chain(problem[q], random, text));
    }
    return text + "ans " + digits;
  }

 private:
  static int write_chain(const Chain& chain, SplitMix& random, std::string& text) {
    const int right = chain_value(chain);
    const bool hard = chain.operators.size() > 1;
    int found =
        random.uniform() < (hard ? kSlipHard : kSlipEasy) ? wrong_digit(right, random) : right;
    text += chain_text(chain) + std::to_string(found) + "\n";
    for (const double probability : kCheck) {
      if (random.uniform() >= probability) break;
      int checked = right;
      if (found != right && random.uniform() >= kCatch) {
        checked = found;
      } else if (found == right && random.uniform() < kFalseAlarm) {
        checked = wrong_digit(right, random);
      }
      text += check_line(chain, found, checked);
      found = checked;
    }
    return found;
  }
};

}  // namespace

std::unique_ptr<Task> make_jump_lines() { return std::make_unique<JumpLines>(); }

}  // namespace tracewise::demo
