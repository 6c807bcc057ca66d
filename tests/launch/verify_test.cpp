#include <catch2/catch.hpp>
#include <string>

#include "tests/process.hpp"

namespace tracewise {
namespace {

Finished verify(const std::vector<std::string>& words, const std::string& input) {
  std::vector<std::string> all{"verify"};
  all.insert(all.end(), words.begin(), words.end());
  return run_tracewise(all, input);
}

}  // namespace

TEST_CASE("verify answers each line with a reward, or with why it is unknown") {
  const Finished finished =
      verify({"--set", "verifier.kind=math"},
             "{\"response\": \"so \\\\boxed{\\\\frac12}\", \"answer\": \"0.5\"}\n\n"
             "{\"response\": \"\\\\boxed{2}\", \"answer\": \"0.5\"}\n"
             "{\"response\": \"\\\\boxed{2}\", \"answer\": \"2 +\"}\n");
  CHECK(finished.exit_code == 0);
  CHECK(finished.err.empty());
  CHECK(finished.out ==
        "{\"reward\":1.0}\n{\"reward\":0.0}\n"
        "{\"failure\":\"prompt \\\"4\\\" has the gold answer \\\"2 +\\\", which cannot be read: it "
        "ends too early\"}\n");
}

TEST_CASE("verify names the line that it cannot use") {
  const std::string good = "{\"response\": \"5\", \"answer\": \"5\"}\n";
  const Finished finished = verify({}, good + "{\"response\": 5, \"answer\": \"5\"}\n");
  CHECK(finished.exit_code == 2);
  CHECK(finished.out == "{\"reward\":1.0}\n");
  CHECK(finished.err == "tracewise: stdin:2: \"response\" is no text\n");
  CHECK(verify({}, "[]\n").err == "tracewise: stdin:1: no JSON object\n");
  CHECK(verify({}, "{\"response\": \"5\"}\n").err == "tracewise: stdin:1: \"answer\" is missing\n");
}

}  // namespace tracewise
