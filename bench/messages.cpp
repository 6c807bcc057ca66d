#include "bench/messages.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "bench/bench.hpp"
#include "bench/message_node.hpp"
#include "launch/build_id.hpp"
#include "launch/envelope.hpp"
#include "launch/preflight.hpp"
#include "launch/process_group.hpp"
#include "messages/codec.hpp"
#include "messages/random.hpp"
#include "transport/identity.hpp"

namespace tracewise::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Case {
  size_t bytes;
  const char* size_name;
  int outstanding;
  double goal;
};

constexpr Case kCases[] = {{1'000, "1 kB", 1, 2},    {1'000, "1 kB", 16, 4},
                           {1'000, "1 kB", 256, 8},  {64'000, "64 kB", 1, 2},
                           {64'000, "64 kB", 16, 4}, {64'000, "64 kB", 256, 8}};

constexpr double kSeconds = 2;        // of a measurement
constexpr double kWarmUpSeconds = 1;  // of our side; Ray has its own

// The processes beside this one, which say a line when they are ready and one for each that they
// are told. They end with the object.
class Helpers {
 public:
  static Result<std::unique_ptr<Helpers>> create() {
    TW_ASSIGN(auto group, ProcessGroup::create());
    return std::unique_ptr<Helpers>(new Helpers(std::move(group)));
  }

  // Starts one, tells it `line`, which may be empty, and gives what it says.
  Result<std::string> start(const std::string& name, const std::vector<std::string>& argv,
                            const std::string& line) {
    TW_TRY(group_->start(name, argv));
    return ask(name, line);
  }

  Result<std::string> ask(const std::string& name, const std::string& line) {
    group_->write(name, line);
    const TimePoint deadline = bench_limit();
    while (SteadyClock::now() < deadline) {
      std::string answer;
      for (const ChildEvent& event : group_->wait(deadline)) {
        if (event.kind == ChildEvent::Kind::kExit)
          return io_error("the process '" + event.child + "' ended: " + complaint_[event.child]);
        if (event.kind == ChildEvent::Kind::kErr) complaint_[event.child] = event.line;
        if (event.kind == ChildEvent::Kind::kOut && event.child == name) answer = event.line;
      }
      if (!answer.empty()) return answer;
    }
    return Error{ErrorClass::kDeadline,
                 "the process '" + name + "' says nothing: " + complaint_[name]};
  }

 private:
  explicit Helpers(std::unique_ptr<ProcessGroup> group) : group_(std::move(group)) {}

  std::unique_ptr<ProcessGroup> group_;
  std::map<std::string, std::string> complaint_;  // the last line on standard error, by process
};

Result<void> start_ray(Helpers& helpers, const BenchOptions& options) {
  TW_ASSIGN(const std::filesystem::path python, reference_python(options, "ray"));
  const std::string script = (options.source / "bench/ray_messages.py").string();
  TW_TRY(helpers.start("Ray", {python.string(), script}, ""));
  return {};
}

// This node, linked with one of another process of this binary.
Result<std::unique_ptr<MessageNode>> linked_node(Helpers& helpers, const BenchOptions& options) {
  TW_ASSIGN(const RunAuthority authority, RunAuthority::create(1));
  NodeEnvelope other;
  TW_ASSIGN(other.identity, authority.issue("echo", 1));
  other.run = "bench";
  other.build = build_id();
  other.door.address = other.host = "127.0.0.1";
  NodeSetup own;
  TW_ASSIGN(own.identity, authority.issue("head", 1));
  own.hello.run = other.run;
  own.hello.build = other.build;
  own.door = other.door;
  own.host = other.host;
  TW_ASSIGN(const std::string said,
            helpers.start("echo", {launch_host().binary, "bench", "--echo-node"}, to_line(other)));
  const auto report = report_from_line(said);
  const auto* const address = report ? std::get_if<HeadAddress>(&*report) : nullptr;
  if (address == nullptr) return corrupt("the node that echoes does not say where it is: " + said);
  std::error_code failure;
  std::filesystem::create_directories(options.dir, failure);
  TW_ASSIGN(auto node, MessageNode::open(own, options.dir / "messages.log"));
  TW_TRY(node->reach({"echo", address->host, address->port}, bench_limit()));
  return node;
}

// Both sides' figures of a case, a repetition each.
struct Figures {
  std::vector<double> rates, p50s, p99s;

  void add(const Exchange& exchange) {
    rates.push_back(exchange.per_second);
    p50s.push_back(exchange.p50_us);
    p99s.push_back(exchange.p99_us);
  }
};

Result<void> measure(const Case& c, MessageNode& node, Helpers& helpers, int repetitions,
                     std::vector<BenchResult>& results) {
  const Rollout rollout = rollout_of(c.bytes);
  TW_ASSIGN(const std::string message, encode(rollout));
  const std::string question = std::to_string(message.size()) + " " +
                               std::to_string(c.outstanding) + " " + std::to_string(kSeconds) +
                               "\n";
  Figures ours, theirs;
  std::string way;
  TW_TRY(node.exchange(rollout, c.outstanding, kWarmUpSeconds, bench_limit()));
  for (int r = 0; r < repetitions; ++r) {
    TW_ASSIGN(const Exchange our, node.exchange(rollout, c.outstanding, kSeconds, bench_limit()));
    TW_ASSIGN(const std::string answer, helpers.ask("Ray", question));
    TW_ASSIGN(const Exchange their, exchange_from_line(answer));
    ours.add(our);
    theirs.add(their);
    way = their.way;
  }
  const std::string name =
      std::string("messages, ") + c.size_name + " x " + std::to_string(c.outstanding);
  const std::string reference = "Ray actor calls (" + way + ")";
  results.push_back(summarise(name, "trips/s", reference, ours.rates, theirs.rates));
  results.back().goal = c.goal;
  results.push_back(summarise(name + ", p50", "us", reference, ours.p50s, theirs.p50s, true));
  results.push_back(summarise(name + ", p99", "us", reference, ours.p99s, theirs.p99s, true));
  return {};
}

Rollout rollout_with(size_t tokens) {
  SplitMix random(1);
  const auto draw = [&](uint64_t end) { return static_cast<int32_t>(random.next() % end); };
  Rollout rollout;
  rollout.key = {123, 0};
  rollout.sample = 3;
  rollout.group_samples = 8;
  rollout.prompt.id = "row 123";
  rollout.prompt.gold = "42";
  for (int i = 0; i < 64; ++i) rollout.prompt.tokens.push_back(draw(32'000));
  for (size_t i = 0; i < tokens; ++i) {
    rollout.tokens.push_back(draw(32'000));
    rollout.logprobs.push_back(-0.001f * static_cast<float>(draw(3000)));
    rollout.policy_logprobs.push_back(rollout.logprobs.back());
    rollout.versions.push_back(100);
  }
  rollout.lease = 1;
  rollout.generate_seconds = 0.5;
  return rollout;
}

size_t size_with(size_t tokens) {
  const auto message = encode(rollout_with(tokens));
  TW_CHECK(message.ok(), "a small rollout can be written");
  return message->size();
}

}  // namespace

Result<Exchange> exchange_from_line(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  const auto positive = [&json](const char* key) {
    return json.contains(key) && json[key].is_number() && json[key].get<double>() > 0;
  };
  if (!json.is_object() || !positive("per_second") || !positive("p50_us") || !positive("p99_us") ||
      !json.contains("way") || !json["way"].is_string()) {
    return corrupt("Ray's side says no figures: " + std::string(line));
  }
  return Exchange{json["per_second"], json["p50_us"], json["p99_us"], json["way"]};
}

Rollout rollout_of(size_t bytes) {
  TW_CHECK(size_with(0) <= bytes, "an empty response fits");
  size_t fits = 0, too_many = bytes;  // tokens; each takes more than a byte
  while (too_many - fits > 1) {
    const size_t middle = (fits + too_many) / 2;
    (size_with(middle) <= bytes ? fits : too_many) = middle;
  }
  return rollout_with(fits);
}

Result<std::vector<BenchResult>> bench_messages(const BenchOptions& options) {
  TW_ASSIGN(const auto helpers, Helpers::create());
  TW_TRY(start_ray(*helpers, options));
  TW_ASSIGN(const auto node, linked_node(*helpers, options));
  std::vector<BenchResult> results;
  for (const Case& c : kCases) TW_TRY(measure(c, *node, *helpers, options.repetitions, results));
  return results;
}

}  // namespace tracewise::bench
