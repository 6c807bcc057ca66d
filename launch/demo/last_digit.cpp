// "Last-digit arithmetic": two or three chains of two operators, every result modulo 10. A finished
// chain fixes one digit of the answer, so a forced answer gets likelier chain by chain.
#include <algorithm>

#include "launch/demo/task.hpp"

namespace tracewise::demo {
namespace {

constexpr int kBase = 10;
constexpr double kSlip = 0.08;             // a wrong result of an operation
constexpr double kCheck[] = {0.60, 0.35};  // of a first check line, and of a second after it
constexpr double kCatch = 0.70;            // a check repairs a wrong result
constexpr double kFalseAlarm = 0.01;       // a check spoils a right one
constexpr double kRestartMiddle = 0.04;
constexpr double kRestartEnd = 0.45;
constexpr double kEarly[] = {0.35, 0.10, 0.03,
                             0.01, 0.01, 0.01};  // answer with 1..6 operations left

// A trace as it is written, and where it stands.
class Writer {
 public:
  Writer(const Problem& problem, SplitMix& random) : problem_(problem), random_(random) {
    for (const Chain& chain : problem) total_ += static_cast<int>(chain.operators.size());
    start_over();
  }

  std::string write() {
    for (;;) {
      if (left_ == 0) {
        if (restarted_ || random_.uniform() >= kRestartEnd) return text_ + answer();
        restart();
        continue;
      }
      if (random_.uniform() < kEarly[std::min<size_t>(left_, std::size(kEarly)) - 1])
        return text_ + answer();
      if (left_ < total_ && !restarted_ && random_.uniform() < kRestartMiddle) restart();
      operation();
    }
  }

  int64_t tokens() const { return tokens_; }

 private:
  void start_over() {
    chain_ = operation_ = 0;
    value_ = problem_[0].digits[0];
    done_.clear();
    left_ = total_;
  }

  void restart() {
    restarted_ = true;
    text_ += "wait\n";
    tokens_ += 2;
    start_over();
  }

  int wrong_digit(int right) {
    const int digit = static_cast<int>(random_.below(kBase - 1));
    return digit < right ? digit : digit + 1;
  }

  // One line, then at most two checks of it.
  void operation() {
    const Chain& chain = problem_[chain_];
    const char op = chain.operators[operation_];
    const int operand = chain.digits[operation_ + 1];
    const std::string head = std::to_string(value_) + op + std::to_string(operand) + "=";
    const int right = apply(value_, op, operand, kBase);
    int result = random_.uniform() < kSlip ? wrong_digit(right) : right;
    text_ += head + std::to_string(result) + "\n";
    tokens_ += 6;
    for (const double probability : kCheck) {
      if (random_.uniform() >= probability) break;
      const int checked = check(result, right);
      text_ += "check " + head + std::to_string(checked) + (checked == result ? " ok\n" : " no\n");
      tokens_ += 8;
      result = checked;
    }
    value_ = result;
    --left_;
    if (++operation_ < chain.operators.size()) return;
    done_.push_back(value_);
    operation_ = 0;
    if (++chain_ < problem_.size()) value_ = problem_[chain_].digits[0];
  }

  int check(int result, int right) {
    if (result == right) return random_.uniform() < kFalseAlarm ? wrong_digit(right) : result;
    return random_.uniform() < kCatch ? right : result;
  }

  // Digits as they stand; what is not worked out yet, rightly from where the trace stands.
  std::string answer() {
    std::string digits;
    for (int d : done_) digits += std::to_string(d);
    for (size_t c = chain_; c < problem_.size(); ++c) {
      int v = c == chain_ ? value_ : problem_[c].digits[0];
      for (size_t i = c == chain_ ? operation_ : 0; i < problem_[c].operators.size(); ++i)
        v = apply(v, problem_[c].operators[i], problem_[c].digits[i + 1], kBase);
      digits += std::to_string(v);
    }
    tokens_ += static_cast<int64_t>(digits.size()) + 2;  // "ans ", the digits, the end token
    return "ans " + digits;
  }

  const Problem& problem_;
  SplitMix& random_;
  std::string text_;
  int64_t tokens_ = 0;
  bool restarted_ = false;
  size_t chain_ = 0, operation_ = 0;
  int value_ = 0, left_ = 0, total_ = 0;
  std::vector<int> done_;
};

class LastDigit final : public Task {
 public:
  std::string name() const override { return "last-digit"; }
  int base() const override { return kBase; }

  Problem draw_problem(SplitMix& random) const override {
    Problem problem(2 + random.below(2));
    for (Chain& chain : problem) {
      for (int i = 0; i < 3; ++i) chain.digits.push_back(static_cast<int>(random.below(kBase)));
      for (int i = 0; i < 2; ++i) chain.operators += "+-*"[random.below(3)];
    }
    return problem;
  }

  std::string draw_trace(const Problem& problem, SplitMix& random) const override {
    for (;;) {
      Writer writer(problem, random);
      std::string text = writer.write();
      if (writer.tokens() <= kMaxResponseTokens) return text;
    }
  }
};

}  // namespace

std::unique_ptr<Task> make_last_digit() { return std::make_unique<LastDigit>(); }

}  // namespace tracewise::demo
