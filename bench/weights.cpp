#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "bench/bench.hpp"
#include "bench/weights_exchange.hpp"
#include "messages/random.hpp"
#include "transport/checksum.hpp"
#include "transport/socket.hpp"

namespace tracewise::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr uint64_t kSizes[] = {270'000'000, 1'000'000'000};
constexpr int kConnections = 2;  // of a fetch, and of the pump it is compared with

double seconds_since(TimePoint start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

void fill(std::byte* to, uint64_t bytes) {
  SplitMix random(1);
  for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = random.next();
    std::memcpy(to + i, &word, 8);
  }
}

// A learner that publishes one version after the other, and a generator that takes each while it
// still samples with the one before it.
class Sync {
 public:
  explicit Sync(WeightsExchange exchange) : exchange_(std::move(exchange)) {}

  WeightsSender& sender() { return *exchange_.sender; }

  // Seconds from publishing to the version's being usable.
  Result<double> run(WeightsBuffer weights) {
    weights.manifest.version = ++version_;
    WeightsReady ready{weights.manifest, {}};
    const TimePoint start = SteadyClock::now();
    TW_ASSIGN(ready.place, exchange_.sender->publish(std::move(weights), bench_limit()));
    TW_ASSIGN(FetchedWeights got, exchange_.receiver->fetch(ready, bench_limit()));
    const double seconds = seconds_since(start);
    in_use_ = std::move(got.buffer);
    return seconds;
  }

 private:
  WeightsExchange exchange_;
  WeightsBuffer in_use_;
  uint64_t version_ = 0;
};

// Seconds of a copy into memory that was written before, and of adding the copy up.
struct CopySeconds {
  double copy = 0;
  double checksum = 0;
};
Result<CopySeconds> copy_seconds(std::byte* to, const WeightsBuffer& weights) {
  CopySeconds seconds;
  const TimePoint start = SteadyClock::now();
  std::memcpy(to, weights.bytes.get(), weights.manifest.bytes);
  seconds.copy = seconds_since(start);
  if (xxh3({to, weights.manifest.bytes}) != weights.manifest.checksum) {
    return corrupt("a copy differs from what it is a copy of");
  }
  seconds.checksum = seconds_since(start) - seconds.copy;
  return seconds;
}

struct Pair {
  std::unique_ptr<TlsStream> out;
  std::unique_ptr<TlsStream> in;
};

Result<Pair> connected_pair(const Nodes& nodes, const Listener& listener) {
  const auto address = numeric_address("127.0.0.1", listener.port);
  Fd out(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(out.get(), address->get(), address->length) != 0) {
    return io_error("loopback takes no connection");
  }
  TW_TRY(wait_readable(listener.fd.get(), bench_limit()));
  Fd in(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  Pair pair{nodes.learner.accepting(std::move(out)), nodes.generator.connecting(std::move(in))};
  Result<void> shaken;
  {
    const std::jthread other([&] { shaken = shake_hands(*pair.out, bench_limit()); });
    TW_TRY(shake_hands(*pair.in, bench_limit()));
  }
  TW_TRY(std::move(shaken));
  return pair;
}

// Seconds that TLS takes for as many bytes, over as many connections, with nothing else: no chunks,
// no requests, no checksums.
Result<double> pump_seconds(const Nodes& nodes, const WeightsBuffer& weights, std::byte* to) {
  TW_ASSIGN(const Listener listener, listen_on("127.0.0.1", 0, 0));
  std::vector<Pair> pairs;
  for (int i = 0; i < kConnections; ++i) {
    TW_ASSIGN(Pair pair, connected_pair(nodes, listener));
    pairs.push_back(std::move(pair));
  }
  const uint64_t share = weights.manifest.bytes / kConnections;
  std::vector<Result<void>> ends(2 * kConnections);
  const TimePoint start = SteadyClock::now();
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < kConnections; ++i) {
      threads.emplace_back([&, i] {
        const std::span from(weights.bytes.get() + i * share, share);
        ends[2 * i] = write_all(*pairs[i].out, from, bench_limit());
      });
      threads.emplace_back([&, i] {
        ends[2 * i + 1] =
            read_exactly(*pairs[i].in, std::span(to + i * share, share), bench_limit());
      });
    }
  }
  const double seconds = seconds_since(start);
  for (Result<void>& end : ends) TW_TRY(std::move(end));
  return seconds;
}

std::string size_name(uint64_t bytes) { return bytes < 1'000'000'000 ? "0.27 GB" : "1 GB"; }

// Exchanges in a repetition: a gigabyte at least, because short times are noisy.
int rounds_of(uint64_t bytes) { return static_cast<int>((1'000'000'000 + bytes - 1) / bytes); }

// Both figures of each repetition, as rates.
struct Rates {
  std::vector<double> ours, theirs;
  double our_seconds = 0, their_seconds = 0;  // of the repetition under way

  void add(double our, double their) {
    our_seconds += our;
    their_seconds += their;
  }
  // Ends a repetition in which `bytes` were moved, which counts or not.
  void finish(uint64_t bytes, bool counts) {
    const double gigabytes = static_cast<double>(bytes) / 1e9;
    if (counts) ours.push_back(gigabytes / our_seconds);
    if (counts) theirs.push_back(gigabytes / their_seconds);
    our_seconds = their_seconds = 0;
  }
  BenchResult result(const std::string& name, const std::string& reference, double goal) const {
    BenchResult out = summarise(name, "GB/s", reference, ours, theirs);
    out.goal = goal;
    return out;
  }
};

// A version in fresh storage of `sender`, as a learner writes it.
WeightsBuffer written_in_place(WeightsSender& sender, const WeightsBuffer& weights) {
  const auto storage = sender.allocate(weights.manifest.bytes);
  std::memcpy(storage.get(), weights.bytes.get(), weights.manifest.bytes);
  return {weights.manifest, storage};
}

Result<void> measure_shm(const Nodes& nodes, const WeightsBuffer& weights, std::byte* to,
                         int repetitions, std::vector<BenchResult>& results) {
  Rates copied, in_place;
  const uint64_t bytes = weights.manifest.bytes;
  TW_ASSIGN(WeightsExchange exchange, make_weights_exchange(nodes, true, kConnections));
  Sync sync(std::move(exchange));
  const int rounds = rounds_of(bytes);
  for (int r = -2; r < repetitions; ++r) {  // the first two make the segments
    for (int i = 0; i < rounds; ++i) {
      TW_ASSIGN(const CopySeconds copy, copy_seconds(to, weights));
      TW_ASSIGN(const double seconds, sync.run(weights));
      TW_ASSIGN(const double direct, sync.run(written_in_place(sync.sender(), weights)));
      in_place.add(direct, copy.copy);
      copied.add(seconds, copy.copy + copy.checksum);
    }
    in_place.finish(bytes * static_cast<uint64_t>(rounds), r >= 0);
    copied.finish(bytes * static_cast<uint64_t>(rounds), r >= 0);
  }
  results.push_back(in_place.result("shm, " + size_name(bytes), "memcpy", 0.9));
  results.push_back(
      copied.result("shm with a copy, " + size_name(bytes), "memcpy, then xxh3", 0.9));
  return {};
}

Result<void> measure_tcp(const Nodes& nodes, const WeightsBuffer& weights, std::byte* to,
                         int repetitions, std::vector<BenchResult>& results) {
  Rates rates;
  TW_ASSIGN(WeightsExchange exchange, make_weights_exchange(nodes, false, kConnections));
  Sync sync(std::move(exchange));
  const int rounds = rounds_of(weights.manifest.bytes);
  for (int r = -2; r < repetitions; ++r) {  // the first two make the buffers
    for (int i = 0; i < rounds; ++i) {
      TW_ASSIGN(const double pump, pump_seconds(nodes, weights, to));
      TW_ASSIGN(const double seconds, sync.run(weights));
      rates.add(seconds, pump);
    }
    rates.finish(weights.manifest.bytes * static_cast<uint64_t>(rounds), r >= 0);
  }
  results.push_back(rates.result("tcp, " + size_name(weights.manifest.bytes),
                                 "plain TLS sockets, 2 connections", 0.8));
  return {};
}

}  // namespace

Result<std::vector<BenchResult>> bench_weights(const BenchOptions& options) {
  TW_ASSIGN(const Nodes nodes, make_nodes());
  std::vector<BenchResult> results;
  for (const uint64_t bytes : kSizes) {
    const auto storage = allocate_on_heap(bytes);
    fill(storage.get(), bytes);
    const auto to = allocate_on_heap(bytes);
    fill(to.get(), bytes);
    WeightsBuffer weights;
    weights.manifest.bytes = bytes;
    weights.manifest.checksum = xxh3({storage.get(), bytes});
    weights.bytes = storage;
    TW_TRY(measure_shm(nodes, weights, to.get(), options.repetitions, results));
    TW_TRY(measure_tcp(nodes, weights, to.get(), options.repetitions, results));
  }
  return results;
}

}  // namespace tracewise::bench
