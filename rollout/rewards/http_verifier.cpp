#include "rollout/rewards/http_verifier.hpp"

#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <stop_token>

#include "messages/waits.hpp"
#include "rollout/http/http_post.hpp"
#include "rollout/rewards/python_verifier.hpp"

namespace tracewise {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kLongestFirstPause{150};

bool may_pass(const Result<HttpReply>& reply) {
  if (!reply.ok()) return reply.error().error_class == ErrorClass::kIo;
  const int status = reply->status;
  return status == 429 || status == 502 || status == 503 || status == 504;
}

milliseconds longest_pause(int64_t failures) {
  return kLongestFirstPause * (1 << std::min<int64_t>(failures, 6));
}

// Random, so that callers that were refused together don't come back together.
milliseconds pause_after(int64_t failures) {
  thread_local std::minstd_rand random(std::random_device{}());
  const auto longest = longest_pause(failures).count();
  return milliseconds(std::uniform_int_distribution<int64_t>(longest / 3, longest)(random));
}

Verdict failed(FailureClass failure_class, std::string what) {
  return {0, {failure_class, std::move(what)}};
}

class HttpVerifier final : public Verifier {
 public:
  HttpVerifier(const VerifierOptions& options, HttpUrl url)
      : options_(options), url_(std::move(url)) {}

  Verdict verify(const Prompt& prompt, std::string_view response,
                 FinishReason finish) const override {
    if (options_.require_stop && finish != FinishReason::kStop) return {};
    const std::string body = response_json(prompt, response, finish);
    const std::stop_token stop = stop_.get_token();
    auto reply = http_post(url_, body, milliseconds(options_.timeout_ms), stop);
    for (int64_t attempt = 1; attempt < options_.attempts && may_pass(reply); ++attempt) {
      if (!pause(pause_after(attempt - 1), stop)) break;
      reply = http_post(url_, body, milliseconds(options_.timeout_ms), stop);
    }
    return verdict(reply);
  }
  Result<void> check(const Prompt&) const override { return {}; }
  CallLimits limits() const override {
    milliseconds longest = options_.attempts * milliseconds(options_.timeout_ms);
    for (int64_t i = 0; i + 1 < options_.attempts; ++i) longest += longest_pause(i);
    return {static_cast<uint32_t>(options_.calls), longest};
  }
  void abort() override { stop_.request_stop(); }

 private:
  // False: it was ended early.
  static bool pause(milliseconds time, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    Condition stopped;
    Wait("its next attempt", "itself", std::chrono::steady_clock::now() + time)
        .on(stopped, lock, stop, [] { return false; });
    return !stop.stop_requested();
  }

  Verdict verdict(const Result<HttpReply>& reply) const {
    if (!reply.ok()) {
      const bool late = reply.error().error_class == ErrorClass::kDeadline;
      return failed(late ? FailureClass::kVerifierTimeout : FailureClass::kVerifierError,
                    reply.error().message);
    }
    if (reply->status != 200)
      return failed(FailureClass::kVerifierError,
                    options_.url + " answered with status " + std::to_string(reply->status));
    const json answer = json::parse(reply->body, nullptr, false);
    if (answer.is_object() && answer.contains("failure") && answer["failure"].is_string())
      return failed(FailureClass::kVerifierError,
                    options_.url + ": " + answer["failure"].get<std::string>());
    if (answer.is_object() && answer.contains("reward") && answer["reward"].is_number()) {
      const auto reward = answer["reward"].get<double>();
      if (reward >= 0 && reward <= 1) return {static_cast<float>(reward), {}};
    }
    return failed(FailureClass::kVerifierError,
                  options_.url + " answered with no {\"reward\": number from 0 to 1}: " +
                      reply->body.substr(0, 80));
  }

  VerifierOptions options_;
  HttpUrl url_;
  std::stop_source stop_;
};

}  // namespace

Result<std::unique_ptr<Verifier>> make_http_verifier(const VerifierOptions& options) {
  TW_ASSIGN(HttpUrl url, parse_http_url(options.url));
  return std::unique_ptr<Verifier>(new HttpVerifier(options, std::move(url)));
}

}  // namespace tracewise
