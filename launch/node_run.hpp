// What a node's process does once its launcher has told it who it is.
#pragma once

#include <functional>
#include <stop_token>

#include "actors/run_control.hpp"
#include "launch/envelope.hpp"
#include "launch/launcher_link.hpp"

namespace tracewise {

using ReportSink = std::function<void(const NodeReport&)>;  // any thread may call

// Serves as the head or as another node until the run is over, `link` or `stop` (signals) asks for
// a stop, or it fails. Blocks. Lines of the node's log go to standard error. The summary is the
// head's; another node's says only whether it was interrupted.
//
// kUnsupported: the launcher's binary is of another build than this one.
[[nodiscard]] Result<RunSummary> run_node(const NodeEnvelope& envelope, LauncherLink& link,
                                          std::stop_token stop, const ReportSink& report);

// Serves as a node that no launcher started, for the head at `head`, until the run is over, the
// node is drained or `stop` is requested. Otherwise as run_node().
[[nodiscard]] Result<RunSummary> join_run(const NodeEnvelope& envelope, const HeadAddress& head,
                                          std::stop_token stop, const ReportSink& report);

}  // namespace tracewise
