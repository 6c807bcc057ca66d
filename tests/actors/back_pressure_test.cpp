// A learner that stands still while everybody else goes on.
#include <regex>
#include <thread>

#include "actors/admission.hpp"
#include "tests/actors/fake_run.hpp"

namespace tracewise {
namespace {

using namespace std::chrono_literals;

bool wait_until(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) std::this_thread::sleep_for(5ms);
  return condition();
}

// What the learner says it refused: "learner: 2 groups refused at version 7: ...".
uint64_t refused_groups(const std::string& log) {
  const std::regex line("learner: ([0-9]+) groups refused");
  uint64_t groups = 0;
  for (std::sregex_iterator it(log.begin(), log.end(), line), end; it != end; ++it)
    groups += std::stoull((*it)[1]);
  return groups;
}

TEST_CASE("while the learner stands still no group is begun beyond the admission rule's limit") {
  RunOptions options = options_of(8);
  options.max_staleness = 3;
  options.generators = options.tracers = options.builders = 2;
  // Credit that runs out long before the limit, and credit that does not.
  options.window_samples = options.window_rollouts = GENERATE(3u, 1000u);
  constexpr uint64_t kTrained = 2;
  const uint64_t limit = issue_limit(kTrained, options.max_staleness, options.groups_per_batch);
  REQUIRE(limit == 24);
  Run run;
  Gate gate;
  run.world.before_update = [&](uint64_t updates) -> Result<void> {
    if (updates == kTrained) gate.wait();
    return {};
  };
  Result<RunSummary> summary = Error{};
  std::thread training([&] { summary = run.train(options); });
  gate.wait_reached();
  const auto begun = std::chrono::steady_clock::now();
  // Whoever could take more would: all that were begun are finished, probed and handed on.
  const bool full =
      wait_until([&] { return run.world.groups_submitted >= limit && run.world.leases == 0; });
  const auto filling = std::chrono::steady_clock::now() - begun;
  std::this_thread::sleep_for(std::max<std::chrono::nanoseconds>(10 * filling, 300ms));
  const uint64_t submitted = run.world.groups_submitted;
  const int64_t leases = run.world.leases;
  gate.open();
  training.join();
  CHECK(full);
  CHECK(submitted == limit);
  CHECK(leases == 0);
  REQUIRE(summary.ok());
  std::vector<uint64_t> trained = run.world.trained;
  std::sort(trained.begin(), trained.end());
  CHECK(trained == first_groups(32));
  // A group that came too late for its tokens was begun once more.
  const std::string log = read_file(run.dir.path() / "logs" / "node.log", 1 << 20).value();
  INFO(log);
  CHECK(run.world.groups_submitted == 32 + refused_groups(log));
  CHECK(run.world.greatest_staleness <= options.max_staleness);
}

}  // namespace
}  // namespace tracewise
