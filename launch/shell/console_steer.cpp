// The commands that change what a run does.
#include <charconv>

#include "launch/shell/console.hpp"

namespace tracewise {
namespace {

// "--after 12"
Result<uint64_t> step_of(const std::string& words) {
  constexpr std::string_view kAfter = "--after ";
  uint64_t step = 0;
  if (words.starts_with(kAfter)) {
    const char* const end = words.data() + words.size();
    const auto [rest, failure] = std::from_chars(words.data() + kAfter.size(), end, step);
    if (failure == std::errc() && rest == end) return step;
  }
  return bad_input("stop takes --after STEP, but there is '" + words + "'");
}

}  // namespace

Result<std::string> Console::drain(const Words& words) const {
  if (words.empty()) return bad_input("drain needs the name of a node");
  TW_ASSIGN(const auto nodes, ask_({ControlRequest::Kind::kDrain, words[0], {}}));
  if (format_ == Format::kJson) return nodes_json(nodes);
  return words[0] + " gets no new work; nodes shows when it has left\n";
}

Result<std::string> Console::order(const RunOrder& order, const char* done) const {
  TW_ASSIGN(const auto nodes, ask_({ControlRequest::Kind::kOrder, "", order}));
  if (format_ == Format::kJson) return nodes_json(nodes);
  return std::string(done) + "\n";
}

Result<std::string> Console::pause(const Words&) const {
  return order({RunOrder::Kind::kPause, 0}, "nothing new is sent out until resume");
}

Result<std::string> Console::resume(const Words&) const {
  return order({RunOrder::Kind::kResume, 0}, "the run goes on");
}

Result<std::string> Console::checkpoint(const Words&) const {
  return order({RunOrder::Kind::kCheckpoint, 0}, "the learner writes a checkpoint");
}

Result<std::string> Console::evaluate(const Words&) const {
  return order({RunOrder::Kind::kEvaluate, 0},
               "the run evaluates once what is under way has come to its end");
}

Result<std::string> Console::stop(const Words& words) const {
  if (!words.empty()) {
    TW_ASSIGN(const uint64_t step, step_of(words[0]));
    return order({RunOrder::Kind::kStopAfter, step},
                 "the run writes a checkpoint and ends once that step is done");
  }
  TW_ASSIGN(const auto nodes, ask_({ControlRequest::Kind::kStop, "", {}}));
  if (format_ == Format::kJson) return nodes_json(nodes);
  return std::string("the run writes a checkpoint and ends\n");
}

}  // namespace tracewise
