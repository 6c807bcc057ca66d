// RunControl's side of an operator's orders.
#include <string>
#include <utility>

#include "actors/run_control.hpp"

namespace tracewise {

const char* to_string(RunOrder::Kind kind) {
  switch (kind) {
    case RunOrder::Kind::kPause:
      return "pause";
    case RunOrder::Kind::kResume:
      return "resume";
    case RunOrder::Kind::kCheckpoint:
      return "checkpoint";
    case RunOrder::Kind::kEvaluate:
      return "eval";
    case RunOrder::Kind::kStopAfter:
      return "stop_after";
  }
  return "";
}

std::string to_string(const RunOrder& order) {
  if (order.kind != RunOrder::Kind::kStopAfter) return to_string(order.kind);
  return "stop after step " + std::to_string(order.step);
}

Result<void> RunControl::check(const RunOrder& order) const {
  if (ended_ || stop_until_) return bad_input("the run is ending");
  const std::string step = std::to_string(step_);
  switch (order.kind) {
    case RunOrder::Kind::kPause:
      if (paused_) return bad_input("the run is paused already");
      return {};
    case RunOrder::Kind::kResume:
      if (!paused_) return bad_input("the run is not paused");
      return {};
    case RunOrder::Kind::kCheckpoint:
      if (saving_) return bad_input("a checkpoint is being written");
      if (eval_) return bad_input("the run is evaluating; a checkpoint of its weights may follow");
      if (step_ == 0) return bad_input("nothing has been trained yet");
      if (saved_step_ == step_) return bad_input("step " + step + " is in a checkpoint already");
      return {};
    case RunOrder::Kind::kEvaluate:
      if (eval_sets_->empty()) return bad_input("the run has no evaluation sets (eval.sets)");
      if (eval_ || eval_asked_) return bad_input("the run is evaluating, or about to");
      if (paused_) return bad_input("the run is paused: nothing is sent out, prompts neither");
      if (last_eval_step_ == step_)
        return bad_input("the weights after step " + step + " have been evaluated");
      return {};
    case RunOrder::Kind::kStopAfter:
      if (order.step <= step_)
        return bad_input("step " + step + " is done; stop ends the run at once");
      if (options_.steps > 0 && order.step >= options_.steps)
        return bad_input("the run ends after step " + std::to_string(options_.steps) + " anyway");
      return {};
  }
  return {};
}

Result<RunControl::Todo> RunControl::on_order(const RunOrder& order, TimePoint now) {
  TW_TRY(check(order));
  switch (order.kind) {
    case RunOrder::Kind::kPause:
      paused_ = true;
      break;
    case RunOrder::Kind::kResume:
      paused_ = false;
      if (std::exchange(clock_stopped_, false)) run_clock(true, now);
      break;
    case RunOrder::Kind::kCheckpoint:
      TW_TRY(request_save(now));
      return finish_event(now);
    case RunOrder::Kind::kEvaluate:
      eval_asked_ = true;
      break;
    case RunOrder::Kind::kStopAfter:
      stop_after_ = order.step;
      break;
  }
  TW_TRY(decide(now));
  return finish_event(now);
}

// Training time does not pass while a pause keeps everybody from working.
void RunControl::rest(TimePoint now) {
  if (!dispatcher_.in_flight().empty() || has_batch() || !clock_.running()) return;
  clock_stopped_ = true;
  run_clock(false, now);
}

}  // namespace tracewise
