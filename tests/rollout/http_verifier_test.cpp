#include "rollout/rewards/http_verifier.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "rollout/http/http_post.hpp"
#include "tests/rollout/http_server.hpp"

namespace tracewise {
namespace {

Verdict ask(const std::string& url, VerifierOptions options = {}) {
  options.kind = VerifierKind::kHttp;
  options.url = url;
  const Prompt prompt{"row-3", {}, "4", {}, "2 + 2 = ?", "", R"({"level": 3})"};
  return (*make_verifier(options))->verify(prompt, "it is 4", FinishReason::kStop);
}

std::string failure(const Verdict& verdict) {
  CHECK(verdict.failure.failure_class == FailureClass::kVerifierError);
  return verdict.failure.message;
}

}  // namespace

TEST_CASE("an endpoint is told of a response and says its reward") {
  std::string head, body;
  const HttpServer server([&](const std::string& h, const std::string& b) {
    head = h;
    body = b;
    return HttpServer::reply("200 OK", R"({"reward": 0.5})");
  });
  CHECK(ask(server.url()).reward == 0.5f);
  CHECK(head.substr(0, head.find('\r')) == "POST /verify?v=1 HTTP/1.1");
  CHECK(nlohmann::json::parse(body) == nlohmann::json({{"response", "it is 4"},
                                                       {"answer", "4"},
                                                       {"prompt", "2 + 2 = ?"},
                                                       {"metadata", {{"level", 3}}},
                                                       {"id", "row-3"},
                                                       {"finish", "stop"}}));
}

TEST_CASE("an overloaded endpoint is asked again, a wrong request is not") {
  int calls = 0;
  const HttpServer busy([&](const std::string&, const std::string&) {
    return ++calls < 3 ? HttpServer::reply("503 Busy", "")
                       : HttpServer::reply("200 OK", R"({"reward": 1})");
  });
  CHECK(ask(busy.url(), {.attempts = 3}).reward == 1.0f);
  calls = -100;
  CHECK(failure(ask(busy.url(), {.attempts = 2})) == busy.url() + " answered with status 503");
  CHECK(busy.requests() == 5);
  const HttpServer wrong([](const std::string&, const std::string&) {
    return HttpServer::reply("404 Not Found", "");
  });
  CHECK(failure(ask(wrong.url())) == wrong.url() + " answered with status 404");
  CHECK(wrong.requests() == 1);
}

TEST_CASE("an endpoint that says no reward fails the sample") {
  std::string body;
  const HttpServer server(
      [&](const std::string&, const std::string&) { return HttpServer::reply("200 OK", body); });
  for (const char* wrong : {R"({"reward": 1.5})", R"({"reward": "1"})", "[1]", "right"}) {
    body = wrong;
    CHECK(failure(ask(server.url())) ==
          server.url() + " answered with no {\"reward\": number from 0 to 1}: " + wrong);
  }
  body = R"({"failure": "no compiler"})";
  CHECK(failure(ask(server.url())) == server.url() + ": no compiler");
  const HttpServer babbles([](const std::string&, const std::string&) { return "220 smtp\r\n"; });
  CHECK(failure(ask(babbles.url())).find("sent no HTTP reply") != std::string::npos);
}

TEST_CASE("an endpoint that nobody serves or that hangs fails the sample in time") {
  std::string gone;
  {
    const HttpServer server([](const std::string&, const std::string&) { return ""; });
    gone = server.url();
    const Verdict late = ask(server.url(), {.timeout_ms = 50});
    CHECK(late.failure.failure_class == FailureClass::kVerifierTimeout);
    CHECK(late.failure.message == server.url() + " did not answer within 50 ms");
    CHECK(server.requests() == 1);
  }
  CHECK(failure(ask(gone, {.attempts = 2})) == gone + ": Connection refused");
}

TEST_CASE("an abort ends a call of an endpoint at once") {
  const HttpServer server([](const std::string&, const std::string&) { return ""; });
  VerifierOptions options{.kind = VerifierKind::kHttp, .url = server.url(), .timeout_ms = 600'000};
  const auto verifier = *make_verifier(options);
  Verdict verdict;
  std::thread caller([&] { verdict = verifier->verify({}, "", FinishReason::kStop); });
  while (server.requests() == 0) std::this_thread::yield();
  verifier->abort();
  caller.join();
  CHECK(verdict.failure.message == "the call of " + server.url() + " was given up");
}

TEST_CASE("a URL is read, and what is none is refused") {
  const HttpUrl url = *parse_http_url("http://[::1]:8080?a=b");
  CHECK(url.host == "::1");
  CHECK(url.port == "8080");
  CHECK(url.target == "/?a=b");
  CHECK(parse_http_url("http://judge")->port == "80");
  CHECK(parse_http_url("judge:80").error().message ==
        "\"judge:80\" is no URL of the form http://host:port/path");
  CHECK(parse_http_url("http://judge:99999").error().message ==
        "\"http://judge:99999\" has a port that is not from 1 to 65535");
  CHECK(parse_http_url("https://judge/").error().message ==
        "\"https://judge/\" is a URL of https, but only http is spoken; put a proxy before it");
}

}  // namespace tracewise
