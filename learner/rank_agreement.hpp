// What the ranks check of each other before they rely on it. Collective: every rank calls at the
// same time, and all go on or none does.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "learner/rank_group.hpp"
#include "learner/trainer.hpp"

namespace tracewise {

// OK if `mine` is on every rank. A failed rank gets its own error, the others kCancelled, which
// names the first that failed. `at`: "the optimizer file".
Result<void> agree(RankGroup& ranks, const Result<void>& mine, const std::string& at);

// kBadInput, on all ranks, if a rank's `fingerprint` is not that of rank 0. `of`: "options".
Result<void> same_on_all(RankGroup& ranks, uint64_t fingerprint, const std::string& of);

// Which batch this is.
uint64_t fingerprint(std::span<const SampleGroup> groups);
uint64_t fingerprint(std::span<const SupervisedExample> examples);

// What the ranks' collectives need to fit together.
uint64_t fingerprint(const TrainerOptions& options, const WeightsManifest& layout);

}  // namespace tracewise
