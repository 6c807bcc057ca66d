// The collectives of ranks in threads: what they compute, and how they fail.
#include <ATen/ATen.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <mutex>

#include "learner/gloo_address.hpp"
#include "learner/rank_agreement.hpp"
#include "learner/rank_group.hpp"
#include "tests/learner/rank_stores.hpp"
#include "tests/learner/relay.hpp"

using namespace tracewise;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<float> values(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat).contiguous();
  return {wide.data_ptr<float>(), wide.data_ptr<float>() + wide.numel()};
}

// What went wrong on each rank; empty where nothing did.
using Messages = std::vector<std::string>;

Error error_of(const Result<void>& result) { return result.ok() ? Error{} : result.error(); }

// A sum over all ranks and a value from the last one, as every rank sees them.
void check_collectives(int size, const std::function<void(RankGroupOptions&)>& change = {}) {
  std::vector<std::vector<float>> sums(size), parts(size), cast(size);
  std::vector<std::vector<double>> numbers(size);
  Messages errors(size);
  run_ranks(
      size,
      [&](int rank, RankGroupResult ranks) {
        const auto run = [&]() -> Result<void> {
          TW_TRY(ranks);
          RankGroup& group = **ranks;
          // Rank r has r + 1 everywhere: the sum is 1 + 2 + ... + size.
          const at::Tensor a = at::full({5}, rank + 1.0f), b = at::full({70'000}, rank + 1.0f);
          Collective first = group.all_reduce_sum(a, "a");
          Collective second = group.all_reduce_sum(b, "b");
          TW_TRY(first.wait());
          TW_TRY(second.wait());
          sums[rank] = {values(a)[4], values(b)[69'999]};
          const at::Tensor all = at::full({2 * size}, -1.0f);
          all.narrow(0, 2 * rank, 2).fill_(10.0f * rank);
          TW_TRY(group.all_gather(all, "parts"));
          parts[rank] = values(all);
          const at::Tensor one = at::full({1}, static_cast<float>(rank), at::kBFloat16);
          TW_TRY(group.broadcast(one, size - 1, "the last rank"));
          Collective half = group.all_reduce_sum(one, "bf16");
          TW_TRY(half.wait());
          cast[rank] = values(one);
          TW_ASSIGN(numbers[rank], group.all_gather_numbers(std::array{0.1, rank * 1e300}, "it"));
          // Passed on from rank 0 to the last and back.
          if (rank == 0 && size > 1) {
            TW_TRY(group.send(a, size - 1, "a"));
            TW_TRY(group.receive(b, size - 1, "b"));
          } else if (rank == size - 1 && size > 1) {
            TW_TRY(group.receive(b.narrow(0, 0, 5), 0, "a"));
            TW_TRY(group.send(b, 0, "b"));
          }
          return {};
        };
        errors[rank] = error_of(run()).message;
      },
      {}, change);
  const float sum = static_cast<float>(size * (size + 1)) / 2;
  for (int rank = 0; rank < size; ++rank) {
    INFO("rank " << rank << " of " << size);
    REQUIRE(errors[rank].empty());
    CHECK(sums[rank] == std::vector{sum, sum});
    CHECK(cast[rank] == std::vector{static_cast<float>(size * (size - 1))});
    for (int r = 0; r < size; ++r) {
      CHECK(parts[rank][2 * r] == 10.0f * r);
      CHECK(parts[rank][2 * r + 1] == 10.0f * r);
      CHECK(numbers[rank][2 * r] == 0.1);
      CHECK(numbers[rank][2 * r + 1] == r * 1e300);
    }
  }
}

}  // namespace

TEST_CASE("ranks sum, share, gather and pass on tensors, in order") {
  for (const int size : {1, 2, 3, 4}) check_collectives(size);
}

TEST_CASE("ranks whose connections are carried compute the same, through the relays alone") {
  std::mutex mutex;
  std::map<std::pair<int, int>, std::unique_ptr<Relay>> relays;  // by who calls whom
  check_collectives(3, [&](RankGroupOptions& mine) {
    mine.forward = [&, rank = mine.rank](int peer, uint16_t port) -> Result<uint16_t> {
      const std::lock_guard lock(mutex);
      auto& relay = relays[{rank, peer}];
      relay = std::make_unique<Relay>(port);
      return relay->port();
    };
  });
  REQUIRE(relays.size() == 3);
  for (const auto& pair : {std::pair(1, 0), std::pair(2, 0), std::pair(2, 1)})
    CHECK(relays.at(pair)->bytes() > 70'000);  // a third of the large tensor's 280,000, at least
}

TEST_CASE("a rank that cannot be forwarded to is an error, not a plain connection") {
  std::vector<Error> errors(2);
  RankGroupOptions options;
  options.connect_ms = 300;
  options.forward = [](int, uint16_t) -> Result<uint16_t> {
    return io_error("no way to that host");
  };
  run_ranks(
      2,
      [&](int rank, RankGroupResult ranks) {
        if (!ranks.ok()) errors[rank] = ranks.error();
      },
      options);
  CHECK(errors[1].message == "no way to that host");
  CHECK(errors[0].error_class == ErrorClass::kDeadline);  // nobody called it
  const auto entry = with_gloo_address(std::string(20, '\0'), "127.0.0.1", 1);
  REQUIRE_FALSE(entry.ok());
  CHECK(entry.error().error_class == ErrorClass::kUnsupported);
  CHECK(rank_of("0/12") == 12);
  CHECK_FALSE(rank_of("0/x").has_value());
}

TEST_CASE("options that cannot be are refused") {
  const auto refused = [](auto change) {
    RankGroupOptions options;
    options.size = 2;
    change(options);
    const auto group = RankGroup::connect(options, std::make_shared<MemoryRankStore>());
    return group.ok() ? std::string() : group.error().message;
  };
  using O = RankGroupOptions;
  CHECK(refused([](O& o) { o.rank = 2; }) == "there is no rank 2 of 2");
  CHECK(refused([](O& o) { o.collective_ms = 0; }).find("above 0") != std::string::npos);
  CHECK(refused([](O& o) { o.device = "gpu"; }).find("neither cpu") != std::string::npos);
  CHECK(refused([](O& o) { o.address = "no.such.host.invalid"; }).find("no.such.host.invalid") !=
        std::string::npos);
}

TEST_CASE("a rank that never comes is named when the deadline is over") {
  RankGroupOptions options;
  options.size = 3;
  options.connect_ms = 200;
  const auto store = std::make_shared<MemoryRankStore>();
  const auto begin = Clock::now();
  auto other = std::async([&] {
    RankGroupOptions mine = options;
    mine.rank = 1;
    return RankGroup::connect(mine, store);
  });
  const auto group = RankGroup::connect(options, store);
  REQUIRE_FALSE(group.ok());
  CHECK(group.error().error_class == ErrorClass::kDeadline);
  CHECK(group.error().message == "rank 0 of 3 waited 200 ms for rank 2 to arrive");
  CHECK_FALSE(other.get().ok());
  CHECK(seconds_since(begin) < 3);
}

TEST_CASE("a rank that waits for the others can be called off through its store") {
  RankGroupOptions options;
  options.size = 2;
  const auto store = std::make_shared<MemoryRankStore>();
  auto group = std::async([&] { return RankGroup::connect(options, store); });
  REQUIRE(store->get("0/0", Clock::now() + std::chrono::seconds(10)).ok());  // it has arrived
  store->close();
  const auto result = group.get();
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("a rank that does not join a collective is waited for until the deadline") {
  RankGroupOptions options;
  options.collective_ms = 300;
  std::promise<void> over;
  auto until_over = over.get_future().share();
  Error error, next;
  double seconds = 0;
  run_ranks(
      2,
      [&](int rank, RankGroupResult ranks) {
        REQUIRE(ranks.ok());
        if (rank == 1) return until_over.wait();
        const auto begin = Clock::now();
        Collective sum = (*ranks)->all_reduce_sum(at::ones({8}), "update 17");
        error = error_of(sum.wait());
        seconds = seconds_since(begin);
        next = error_of((*ranks)->broadcast(at::ones({8}), 0, "the weights"));
        over.set_value();
      },
      options);
  CHECK(error.error_class == ErrorClass::kDeadline);
  CHECK(error.message == "rank 0 of 2 waited 300 ms in the all-reduce of update 17");
  CHECK(seconds >= 0.3);
  CHECK(seconds < 2);
  CHECK(next.message.find("its group has ended: rank 0 of 2 waited 300 ms") != std::string::npos);
}

TEST_CASE("a rank that leaves ends the others' waits long before their deadline") {
  RankGroupOptions options;
  options.collective_ms = 20'000;
  Error error;
  const auto begin = Clock::now();
  run_ranks(
      2,
      [&](int rank, RankGroupResult ranks) {
        if (rank == 1 || !ranks.ok()) return;  // rank 1's group ends here
        Collective sum = (*ranks)->all_reduce_sum(at::ones({8}), "update 17");
        error = error_of(sum.wait());
      },
      options);
  CHECK(error.error_class == ErrorClass::kIo);
  CHECK(error.message.find("rank 0 of 2 lost a peer in the all-reduce of update 17") == 0);
  CHECK(seconds_since(begin) < 5);
}

TEST_CASE("abort ends a wait at once, on this rank and at its peers") {
  RankGroupOptions options;
  options.collective_ms = 20'000;
  std::promise<RankGroup*> waiting;
  std::vector<Error> errors(3);
  const auto begin = Clock::now();
  run_ranks(
      3,
      [&](int rank, RankGroupResult ranks) {
        REQUIRE(ranks.ok());
        if (rank == 2) {  // never joins; from here rank 0's wait is ended
          waiting.get_future().get()->abort();
          // Its own group stays until the peers are through.
          const auto next = (*ranks)->broadcast(at::ones({1}), 0, "the weights");
          errors[2] = error_of(next);
          return;
        }
        Collective sum = (*ranks)->all_reduce_sum(at::ones({8}), "update 17");
        if (rank == 0) waiting.set_value(ranks->get());
        errors[rank] = error_of(sum.wait());
      },
      options);
  CHECK(seconds_since(begin) < 5);
  CHECK(errors[0].error_class == ErrorClass::kCancelled);
  CHECK(errors[0].message == "rank 0 of 3 was aborted in the all-reduce of update 17");
  CHECK(errors[1].error_class == ErrorClass::kIo);
  CHECK(errors[2].error_class == ErrorClass::kIo);
}

namespace {

// Rank 0's and rank 1's parts of something large, held up half way and aborted there. Every group
// of the two is at its end when this returns.
void check_abort_half_way(const std::function<Result<void>(RankGroup&, at::Tensor)>& part) {
  constexpr uint64_t kHalfWay = 8 << 20;
  std::unique_ptr<Relay> relay;
  std::promise<RankGroup*> one, other;
  std::vector<Error> errors(2);
  RankGroupOptions options;
  options.collective_ms = 20'000;
  const auto aborts = [&](std::promise<RankGroup*>& of) {
    return std::async(std::launch::async, [&] {
      RankGroup* group = of.get_future().get();
      while (relay->bytes() < kHalfWay) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      group->abort();
    });
  };
  const auto first = aborts(one), second = aborts(other);
  const auto begin = Clock::now();
  run_ranks(
      2,
      [&](int rank, RankGroupResult ranks) {
        REQUIRE(ranks.ok());
        const at::Tensor large = at::full({8 << 20}, rank + 1.0f);
        (rank == 0 ? one : other).set_value(ranks->get());
        errors[rank] = error_of(part(**ranks, large));
      },
      options,
      [&](RankGroupOptions& mine) {
        mine.forward = [&](int, uint16_t port) -> Result<uint16_t> {
          relay = std::make_unique<Relay>(port, kHalfWay);
          return relay->port();
        };
      });
  CHECK(seconds_since(begin) < 5);
  for (const Error& error : errors) CHECK(error.error_class == ErrorClass::kCancelled);
}

}  // namespace

// Gloo tells those that wait for a transfer's begin of a connection's end, not those in the middle.
TEST_CASE("abort ends a wait at once though a transfer hangs half way") {
  check_abort_half_way([](RankGroup& group, at::Tensor large) {
    Collective sum = group.all_reduce_sum(large, "update 17");
    return sum.wait();
  });
  check_abort_half_way(
      [](RankGroup& group, at::Tensor large) { return group.broadcast(large, 0, "the weights"); });
  check_abort_half_way([](RankGroup& group, at::Tensor large) {
    return group.rank() == 0 ? group.send(large, 1, "a part") : group.receive(large, 0, "a part");
  });
}

TEST_CASE("what fails on one rank stops all, and what differs is told on all") {
  Messages failed(3), differs(3);
  run_ranks(3, [&](int rank, RankGroupResult ranks) {
    REQUIRE(ranks.ok());
    const Result<void> mine = rank == 1 ? bad_input("no such file") : Result<void>();
    failed[rank] = error_of(agree(**ranks, mine, "the file")).message;
    const uint64_t mark = 0xfedcba9876543210u + (rank == 2 ? 1 : 0);
    differs[rank] = error_of(same_on_all(**ranks, mark, "options")).message;
  });
  CHECK(failed[1] == "no such file");
  CHECK(failed[0] == "rank 1 failed at the file, so no rank goes on; its own error says why");
  CHECK(failed[2] == failed[0]);
  for (const std::string& message : differs)
    CHECK(message == "rank 2 has other options than rank 0");
}
