#include "rollout/swap_clock.hpp"

#include <catch2/catch.hpp>

using namespace tracewise;

namespace {

Clock::time_point at(int ms) { return Clock::time_point{} + std::chrono::milliseconds(ms); }

EngineStats read(const SwapClock& clock) {
  EngineStats stats;
  clock.fill(stats);
  return stats;
}

}  // namespace

TEST_CASE("a swap's pause is from the last step before it to the next that decodes") {
  SwapClock clock;
  clock.stepped(at(0), at(10), true, true);
  clock.stepped(at(12), at(37), true, true);  // the longest: 25 ms
  clock.stepped(at(40), at(50), true, true);
  clock.arrived(at(51));
  clock.swapped(at(53), true);
  CHECK(read(clock).swaps == 0);               // its pause has not ended
  clock.stepped(at(54), at(94), false, true);  // computes the cache again
  CHECK(read(clock).swaps == 0);
  clock.stepped(at(95), at(105), true, true);
  const EngineStats stats = read(clock);
  CHECK(stats.swaps == 1);
  CHECK(stats.swap_wait_seconds == Approx(0.002));
  CHECK(stats.swap_pause_seconds == Approx(0.045));
  CHECK(stats.longest_step_seconds == Approx(0.025));

  clock.arrived(at(106));
  clock.swapped(at(106), true);
  clock.stepped(at(107), at(110), true, true);
  CHECK(read(clock).swap_pause_seconds == Approx(0.002));
  CHECK(read(clock).longest_step_seconds == Approx(0.040));
}

TEST_CASE("a swap that interrupts nobody has no pause, however long the engine had rested") {
  SwapClock clock;
  SECTION("the last step left no work") { clock.stepped(at(0), at(10), true, false); }
  SECTION("the last of the work was cancelled") {
    clock.stepped(at(0), at(10), true, true);
    clock.rested();
  }
  SECTION("there was never a step") {}
  clock.arrived(at(5000));
  clock.swapped(at(5001), true);
  CHECK(read(clock).swaps == 1);
  CHECK(read(clock).swap_pause_seconds == 0);
}

TEST_CASE("weights that replace others before their swap have waited since those came") {
  SwapClock clock;
  clock.stepped(at(0), at(10), true, true);
  clock.arrived(at(20));
  clock.arrived(at(30));
  clock.swapped(at(60), true);
  clock.stepped(at(61), at(62), true, true);
  CHECK(read(clock).swap_wait_seconds == Approx(0.040));
  CHECK(read(clock).swap_pause_seconds == Approx(0.051));
}
