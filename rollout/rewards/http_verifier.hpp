// An endpoint that says what a response is worth.
//
//   POST url  {"response", "answer", "prompt", "metadata", "id", "finish"}
//   200       {"reward": number in [0, 1]}, or {"failure": sentence} where it cannot tell
#pragma once

#include <memory>

#include "rollout/verifier.hpp"

namespace tracewise {

// Asks nobody yet. The options have passed check_verifier_options().
//
// A call that fails costs its sample a failure and nothing else: kVerifierTimeout for an attempt
// that takes longer than options.timeout_ms, kVerifierError for anything else that is no reward.
// Refused and broken connections and the statuses 429, 502, 503 and 504 are tried again, up to
// options.attempts in all, after random pauses: 50 to 150 ms, 100 to 300 ms and so on.
Result<std::unique_ptr<Verifier>> make_http_verifier(const VerifierOptions& options);

}  // namespace tracewise
