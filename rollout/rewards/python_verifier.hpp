// A reward function of the user's, in Python processes of its own.
//
//   def reward(response, answer, prompt, metadata, id, finish): return 1.0
//
// It is called with those of these that it asks for by name (all of them with **kwargs): the
// response's text, the gold answer, the prompt's text, the row's metadata (a dict), the row's id,
// and "stop" or "length". It returns a number in [0, 1], or it is an async function that does.
#pragma once

#include <memory>
#include <string_view>

#include "rollout/verifier.hpp"

namespace tracewise {

// Loads options.file in one process; the others start when they are needed. The options have passed
// check_verifier_options(). kBadInput: there is no such function, it asks for something else, or
// the file's own error with its line.
//
// A call that fails costs its sample a failure and nothing else: kVerifierTimeout beyond
// options.timeout_ms, kVerifierError where the function raises, returns no such number, ends its
// process, or wants more than options.memory_mb. All but the first two restart the process.
Result<std::unique_ptr<Verifier>> make_python_verifier(const VerifierOptions& options);

// What is told of a response, as JSON: the parameters of the function, the fields of the endpoint.
std::string response_json(const Prompt& prompt, std::string_view response, FinishReason finish);

}  // namespace tracewise
