#include "rollout/rewards/python_verifier.hpp"

#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using Clock = std::chrono::steady_clock;

// A reward file of a test's own and the verifier of it.
class Function {
 public:
  explicit Function(const std::string& source, VerifierOptions options = {}) {
    options.kind = VerifierKind::kPython;
    options.file = dir_.put("own_reward.py", source).string();
    made_ = make_verifier(options);
  }
  std::string file() const { return dir_ / "own_reward.py"; }
  std::string refusal() const { return made_.error().message; }
  Verifier& verifier() { return **made_; }
  Verdict operator()(const std::string& response, Prompt prompt = {}) {
    return verifier().verify(prompt, response, FinishReason::kStop);
  }
  std::string failure(const std::string& response) {
    const Verdict verdict = (*this)(response);
    CHECK(verdict.failure.failure_class == FailureClass::kVerifierError);
    return verdict.failure.message;
  }

 private:
  TempDir dir_;
  Result<std::unique_ptr<Verifier>> made_ = Error{};
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a Python function is given what it asks for by name") {
  Prompt prompt{"row-3", {}, "4", {}, "2 + 2 = ?", "", R"({"level": 3})"};
  Function two("def reward(answer, response):\n  return response.endswith(answer)\n");
  CHECK(two("it is 4", prompt).reward == 1.0f);
  CHECK(two("it is 5", prompt).reward == 0.0f);
  Function all(
      "async def reward(**row):\n"
      "  assert row == {'response': 'hé', 'answer': '4', 'prompt': '2 + 2 = ?',\n"
      "    'metadata': {'level': 3}, 'id': 'row-3', 'finish': 'stop'}, row\n"
      "  return 0.25\n");
  const Verdict verdict = all("hé", prompt);
  CHECK(verdict.failure.message == "");
  CHECK(verdict.reward == 0.25f);
}

TEST_CASE("a file beside the Python file can be imported") {
  TempDir dir;
  dir.put("helper_of_reward.py", "VALUE = 0.5\n");
  VerifierOptions options{.kind = VerifierKind::kPython, .function = "half"};
  options.file = dir.put("r.py",
                         "import helper_of_reward\n"
                         "def half(): return helper_of_reward.VALUE\n")
                     .string();
  const auto verifier = *make_verifier(options);
  CHECK(verifier->verify({}, "", FinishReason::kStop).reward == 0.5f);
}

TEST_CASE("a response that was cut off gets 0 without a call, unless that is not required") {
  const std::string source = "def reward(finish):\n  return 0.75 if finish == 'length' else 1\n";
  Function strict(source), lenient(source, {.require_stop = false});
  CHECK(strict.verifier().verify({}, "", FinishReason::kLength).reward == 0.0f);
  CHECK(lenient.verifier().verify({}, "", FinishReason::kLength).reward == 0.75f);
}

TEST_CASE("a Python file that cannot be used is refused with its line") {
  const Function syntax("def reward(response):\n  return (1\n");
  CHECK(syntax.refusal() == syntax.file() + ":2: '(' was never closed: return (1");
  const Function raises("import os\n\nLEVEL = int('x')\n");
  CHECK(raises.refusal() ==
        raises.file() + ":3: ValueError: invalid literal for int() with base 10: 'x'");
  const Function near("def rewards(response):\n  return 1\n");
  CHECK(near.refusal() == near.file() + " has no function 'reward'; did you mean 'rewards'?");
  const Function asks("def reward(response, question):\n  return 1\n");
  CHECK(asks.refusal() == asks.file() +
                              ": reward() asks for 'question', but is given response, answer, "
                              "prompt, metadata, id, finish by name");
  CHECK(contains(Function("import os\nos._exit(3)\n").refusal(), "ended with exit code 3"));
  CHECK(check_verifier_options({.kind = VerifierKind::kPython, .file = "/no/such.py"})
            .error()
            .message == "kind python: there is no file /no/such.py");
  const Function nobody("", {.interpreter = "/no/such/python"});
  CHECK(nobody.refusal() ==
        "the Python interpreter /no/such/python cannot be started: No such file or directory");
}

TEST_CASE("a Python function that raises or returns no reward fails its sample alone") {
  Function function(
      "def reward(response):\n"
      "  print('called')\n"
      "  return eval(response)\n");
  CHECK(function.failure("1/0") ==
        "reward(): " + function.file() + ":3: ZeroDivisionError: division by zero");
  const std::string must = ", but must return a number from 0 to 1";
  CHECK(function.failure("None") == "reward(): the function returned None" + must);
  CHECK(function.failure("'1'") == "reward(): the function returned '1'" + must);
  CHECK(function.failure("1.5") == "reward(): the function returned 1.5" + must);
  CHECK(function.failure("float('nan')") == "reward(): the function returned nan" + must);
  CHECK(contains(function.failure("__import__('sys').exit(2)"), "SystemExit: 2"));
  CHECK(function("True").reward == 1.0f);
}

TEST_CASE("a Python process that crashes, babbles or wants too much is replaced") {
  Function function(
      "import os\n"
      "def reward(response):\n"
      "  if response == 'crash':\n"
      "    print('the last words')\n"
      "    os.abort()\n"
      "  if response == 'exit': os._exit(7)\n"
      "  if response == 'babble': os.write(3, b'x' * 100)\n"
      "  if response == 'big': bytearray(100 << 30)\n"
      "  return 1\n",
      {.memory_mb = 512, .calls = 1});
  CHECK(contains(function.failure("crash"), "was ended by signal 6 (Aborted)"));
  CHECK(contains(function.failure("crash"), "it printed: the last words"));
  CHECK(function("fine").reward == 1.0f);
  CHECK(contains(function.failure("exit"), "ended with exit code 7"));
  CHECK(contains(function.failure("babble"), "sent what is no reply"));
  CHECK(function("fine").reward == 1.0f);
  CHECK(contains(function.failure("big"), "MemoryError"));
  CHECK(function("fine").reward == 1.0f);
}

TEST_CASE("a Python function that hangs is killed with what it started") {
  TempDir dir;
  const std::string pid_file = dir / "pid";
  Function function(
      "import signal, subprocess, time\n"
      "def reward(response, answer):\n"
      "  if response != 'hang': return 1\n"
      "  signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
      "  child = subprocess.Popen(['sleep', '1000'])\n"
      "  open(answer, 'w').write(str(child.pid))\n"
      "  while True: time.sleep(1000)\n",
      {.timeout_ms = 1000, .calls = 1});
  const Verdict verdict = function("hang", {"", {}, pid_file, {}});
  CHECK(verdict.failure.failure_class == FailureClass::kVerifierTimeout);
  CHECK(verdict.failure.message == "reward(): no reply from Python in time");
  pid_t child = 0;
  REQUIRE(std::ifstream(pid_file) >> child);
  // Killed is at once, reaped by whoever adopted it is soon.
  const auto deadline = Clock::now() + std::chrono::seconds(10);
  const auto is_running = [&] {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string pid, name, state;
    return stat >> pid >> name >> state && state != "Z";
  };
  while (is_running() && Clock::now() < deadline) std::this_thread::yield();
  CHECK_FALSE(is_running());
  CHECK(function("fine").reward == 1.0f);
}

TEST_CASE("a Python function that prints for ever is killed in time") {
  Function function(
      "def reward(response):\n"
      "  while response == 'talk': print('x' * 1000, flush=True)\n"
      "  return 1\n",
      {.timeout_ms = 300, .calls = 1});
  const Verdict verdict = function("talk");
  CHECK(verdict.failure.failure_class == FailureClass::kVerifierTimeout);
  CHECK(verdict.failure.message.size() < 2200);
  CHECK(function("fine").reward == 1.0f);
}

TEST_CASE("so many Python calls run side by side as were asked for") {
  TempDir dir;
  // Each waits for the other's file.
  Function function(
      "import os, time\n"
      "def reward(response, answer):\n"
      "  mine, other = response.split()\n"
      "  open(os.path.join(answer, mine), 'w').close()\n"
      "  while not os.path.exists(os.path.join(answer, other)): time.sleep(0.001)\n"
      "  return 1\n",
      {.calls = 2});
  CHECK(function.verifier().limits().calls == 2);
  Verdict first, second;
  std::thread other([&] { first = function("a b", {"", {}, dir.path().string(), {}}); });
  second = function("b a", {"", {}, dir.path().string(), {}});
  other.join();
  CHECK(first.reward == 1.0f);
  CHECK(second.reward == 1.0f);
}

TEST_CASE("an abort ends the calls of Python functions at once") {
  TempDir dir;
  Function function(
      "import time\n"
      "def reward(answer):\n"
      "  open(answer, 'w').close()\n"
      "  time.sleep(1000)\n",
      {.timeout_ms = 600'000});
  Verdict verdict;
  std::thread caller([&] { verdict = function("", {"", {}, dir / "called", {}}); });
  while (!std::filesystem::exists(dir / "called")) std::this_thread::yield();
  const auto start = Clock::now();
  function.verifier().abort();
  caller.join();
  CHECK(Clock::now() - start < std::chrono::seconds(5));
  CHECK(verdict.failure.message == "reward(): the call to Python was given up");
  CHECK(contains(function.failure(""), "given up"));
}

TEST_CASE("a row may name its own verifier, if the run has what that needs") {
  const auto verifier = *make_verifier({.kind = VerifierKind::kExact});
  Prompt prompt{"row-1", {}, "1/2", {}, "", "math"};
  CHECK(verifier->check(prompt).ok());
  CHECK(verifier->verify(prompt, "0.5", FinishReason::kStop).reward == 1.0f);
  prompt.verifier = "";
  CHECK(verifier->verify(prompt, "0.5", FinishReason::kStop).reward == 0.0f);
  prompt.verifier = "python";
  CHECK(verifier->check(prompt).error().message ==
        "prompt \"row-1\" wants the verifier \"python\"; this run has choice, exact, gsm8k, math, "
        "numeric");
}

}  // namespace tracewise
