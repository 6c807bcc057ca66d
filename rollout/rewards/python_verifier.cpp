#include "rollout/rewards/python_verifier.hpp"

#include <nlohmann/json.hpp>

#include "rollout/python/python_pool.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

class PythonVerifier final : public Verifier {
 public:
  PythonVerifier(const VerifierOptions& options, const PythonOptions& python)
      : options_(options), pool_(python, static_cast<uint32_t>(options.calls)) {}

  Result<void> start() { return pool_.start(); }

  Verdict verify(const Prompt& prompt, std::string_view response,
                 FinishReason finish) const override {
    if (options_.require_stop && finish != FinishReason::kStop) return {};
    const auto reply = pool_.call(response_json(prompt, response, finish),
                                  std::chrono::milliseconds(options_.timeout_ms));
    if (reply.ok()) return {json::parse(*reply).get<float>(), {}};
    const bool late = reply.error().error_class == ErrorClass::kDeadline;
    return {0,
            {late ? FailureClass::kVerifierTimeout : FailureClass::kVerifierError,
             options_.function + "(): " + reply.error().message}};
  }
  Result<void> check(const Prompt&) const override { return {}; }
  CallLimits limits() const override {
    // A wait for a free process, a start and the call itself.
    return {static_cast<uint32_t>(options_.calls),
            2 * std::chrono::milliseconds(options_.timeout_ms) + PythonOptions().start_limit};
  }
  void abort() override { pool_.abort(); }

 private:
  VerifierOptions options_;
  mutable PythonPool pool_;  // thread-safe
};

}  // namespace

Result<std::unique_ptr<Verifier>> make_python_verifier(const VerifierOptions& options) {
  PythonOptions python;
  python.service = PythonService::kReward;
  python.interpreter = options.interpreter;
  python.setup = json{{"file", options.file}, {"function", options.function}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
  python.memory_bytes = static_cast<uint64_t>(options.memory_mb) << 20;
  auto verifier = std::make_unique<PythonVerifier>(options, python);
  TW_TRY(verifier->start());
  return std::unique_ptr<Verifier>(std::move(verifier));
}

std::string response_json(const Prompt& prompt, std::string_view response, FinishReason finish) {
  json metadata = json::parse(prompt.metadata, nullptr, false);
  if (!metadata.is_object()) metadata = json::object();
  const json fields = {
      {"response", response},  {"answer", prompt.gold},
      {"prompt", prompt.text}, {"metadata", std::move(metadata)},
      {"id", prompt.id},       {"finish", finish == FinishReason::kStop ? "stop" : "length"}};
  return fields.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tracewise
