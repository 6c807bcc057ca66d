#include "actors/progress.hpp"

namespace tracewise {
namespace {

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[96];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

std::string clock_time(double seconds) {
  const auto s = static_cast<unsigned long long>(seconds + 0.5);
  if (s < 3600) return format("%llu:%02llu", s / 60, s % 60);
  return format("%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace

std::string progress_line(const Progress& p) {
  std::string line = "step " + std::to_string(p.step);
  if (p.steps > 0) line += "/" + std::to_string(p.steps);
  if (p.step > 0) {
    line += format("  accuracy %.3f  tokens %.1f  %.0f tok/s", p.accuracy, p.response_tokens,
                   p.tokens_per_second);
  }
  if (p.seconds_left >= 0) line += "  time left " + clock_time(p.seconds_left);
  if (p.activity != "training") line += "  " + p.activity;
  return line;
}

void ProgressPrinter::print(const Progress& progress) {
  // Erases to the end of the line, because the line before may have been longer.
  std::fprintf(out_, terminal_ ? "\r%s\x1b[K" : "%s\n", progress_line(progress).c_str());
  std::fflush(out_);
  open_line_ = terminal_;
}

void ProgressPrinter::finish() {
  if (open_line_) std::fputc('\n', out_);
  open_line_ = false;
}

}  // namespace tracewise
