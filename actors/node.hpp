// A run of the actors: in one process without sockets, or as the head of a run over several nodes.
#pragma once

#include <memory>
#include <stop_token>

#include "actors/cluster.hpp"
#include "actors/run_control.hpp"
#include "actors/run_folder.hpp"
#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Trains until the steps or seconds of `options` are used up, or until `stop` is requested; then a
// checkpoint is written and the summary says `interrupted`. A stop while the actors start waits for
// those that are building their models and writes nothing. Blocks; the calling thread computes
// nothing itself.
//
// `folder` was made by RunFolder::create for a new run, or opened for one that is resumed from its
// newest whole checkpoint (`resume`), or from its beginning if it has none. In synchronous mode
// (max_staleness = 0, budget_seconds = 0) equal options, parts and seed give bit-equal weights,
// whatever the number of generators, tracers and builders, and whether or not the run was killed
// and resumed on the way.
//
// With `head` the seats of this process are those that it names, and other nodes bring theirs
// (run_worker); the run begins once all that are expected are ready. A node that is lost on the way
// costs its groups' attempts and nothing else.
//
// The first thing that goes wrong ends the run and is returned, with the actor that met it named.
// kDeadline: an actor may still be stuck in a computation; its thread and what it owns, the lock on
// the run folder perhaps included, live on until the process ends.
Result<RunSummary> run_training(const RunOptions& options, RunParts parts,
                                std::shared_ptr<RunFolder> folder, bool resume,
                                std::stop_token stop, const HeadSetup* head = nullptr);

}  // namespace tracewise
