#include "launch/commands/summary.hpp"

#include <cstdio>

namespace tracewise {

void print_summary(const RunSummary& summary) {
  std::printf("%s at step %lu after %.1f s of training\n",
              summary.interrupted ? "stopped" : "finished",
              static_cast<unsigned long>(summary.step), summary.train_seconds);
  if (!summary.evals.empty()) {
    const EvalResult& last = summary.evals.back();
    std::printf("last evaluation: accuracy %.3f (%.3f-%.3f), %.1f tokens a response\n",
                last.accuracy, last.accuracy_low, last.accuracy_high, last.tokens_mean);
  }
  if (!summary.checkpoint.empty()) std::printf("checkpoint: %s\n", summary.checkpoint.c_str());
}

}  // namespace tracewise
