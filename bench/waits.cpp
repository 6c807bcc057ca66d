#include <chrono>
#include <mutex>

#include "bench/bench.hpp"
#include "messages/waits.hpp"

namespace tracewise::bench {
namespace {

constexpr int kWaits = 1'000'000;

template <class Body>
double nanoseconds_each(Body body) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kWaits; ++i) body();
  const auto end = std::chrono::steady_clock::now();
  return std::chrono::duration<double, std::nano>(end - begin).count() / kWaits;
}

}  // namespace

Result<std::vector<BenchResult>> bench_waits(const BenchOptions& options) {
  const NamedThread named("bench");
  std::vector<double> waits, locks;
  for (int r = 0; r < options.repetitions; ++r) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::hours(1);
    // Names longer than a string keeps in itself, as actors' are.
    waits.push_back(nanoseconds_each([&] {
      const Wait wait("weights version 12345", "weights fetcher of generator 0", until);
    }));
    std::mutex mutex;
    locks.push_back(nanoseconds_each([&] { const std::lock_guard lock(mutex); }));
  }
  BenchResult ratio = summarise("a wait", "ns", "a mutex, locked and unlocked", waits, locks);
  BenchResult limit = ratio;
  limit.name = "a wait, of 200 ns";
  limit.reference = "200 ns";
  limit.reference_value = 200;
  limit.ratio = limit.value / limit.reference_value;
  limit.goal = 1;
  limit.at_most = true;
  return std::vector{std::move(ratio), std::move(limit)};
}

}  // namespace tracewise::bench
