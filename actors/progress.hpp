// Where a run stands, for whoever watches it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace tracewise {

struct Progress {
  uint64_t step = 0;
  uint64_t steps = 0;  // 0: no limit
  uint64_t version = 0;
  double accuracy = 0;           // of the last batch's rollouts
  double response_tokens = 0;    // mean of the last batch's rollouts
  double tokens_per_second = 0;  // sampled, over the last batch
  double train_seconds = 0;
  double seconds_left = -1;  // estimate; -1: no limit is set or nothing is known yet
  std::string activity;      // "training", "evaluating", "writing a checkpoint", ...
};

// "step 12/100  accuracy 0.812  tokens 43.1  5210 tok/s  time left 1:23"
std::string progress_line(const Progress& progress);

// Prints lines; on a terminal one line that is written over.
class ProgressPrinter {
 public:
  ProgressPrinter(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  ~ProgressPrinter() { finish(); }
  void print(const Progress& progress);
  void finish();  // ends the line that is being written over

 private:
  std::FILE* out_;
  bool terminal_;
  bool open_line_ = false;
};

}  // namespace tracewise
