#include "transport/refusals.hpp"

namespace tracewise {
namespace {

constexpr uint64_t kReportsPerSecond = 5;

}  // namespace

const char* to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::kTls:
      return "tls";
    case Refusal::kHello:
      return "hello";
    case Refusal::kChannel:
      return "channel";
    case Refusal::kLeft:
      return "left";
    case Refusal::kTimedOut:
      return "timed_out";
    case Refusal::kEvicted:
      return "evicted";
    case Refusal::kNoResource:
      return "no_resource";
  }
  TW_CHECK(false, "a refusal is one of its enumerators");
}

void RefusalBook::add(Refusal why, const std::string& from, const std::string& sentence,
                      TimePoint now) {
  if (report_) tell(why, from, sentence, now);
  ++refused_[static_cast<size_t>(why)];
}

void RefusalBook::tell(Refusal why, const std::string& from, const std::string& sentence,
                       TimePoint now) {
  if (now - second_began_ >= std::chrono::seconds(1)) {
    second_began_ = now;
    told_ = 0;
  }
  if (told_ == kReportsPerSecond) {
    ++untold_;
    return;
  }
  ++told_;
  report_({why, from, sentence, std::exchange(untold_, 0)});
}

DoorCounters RefusalBook::counters() const {
  DoorCounters out;
  out.accepted = accepted_;
  for (size_t i = 0; i < kRefusals; ++i) out.refused[i] = refused_[i];
  return out;
}

}  // namespace tracewise
