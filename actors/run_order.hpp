// What an operator may order of the run as a whole; the coordinator carries it out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tracewise {

struct RunOrder {
  enum class Kind : uint8_t {
    kPause,       // nothing new is sent out; what is under way comes to its end
    kResume,      // after kPause
    kCheckpoint,  // now, beside the training
    kEvaluate,    // once what is under way has come to its end
    kStopAfter,   // end with a checkpoint once `step` is done
  };
  Kind kind = Kind::kPause;
  uint64_t step = 0;  // of kStopAfter
  bool operator==(const RunOrder&) const = default;
};

const char* to_string(
    RunOrder::Kind kind);  // "pause", "resume", "checkpoint", "eval", "stop_after"
// For people: likewise, and "stop after step 12".
std::string to_string(const RunOrder& order);

}  // namespace tracewise
