// What weights by NCCL keep under faults, over a live door on loopback and on a fake of NCCL.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "tests/transport/exchange.hpp"
#include "transport/frame_link.hpp"
#include "transport/nccl_wire.hpp"

namespace tracewise {
namespace {

using Kind = NcclFault::Kind;

NcclSenderOptions limits(int form_ms, int cast_ms) {
  NcclSenderOptions options;
  options.form_ms = form_ms;
  options.cast_ms = cast_ms;
  return options;
}

constexpr int kLong = 60000;

struct Casting : Exchange {
  explicit Casting(size_t receivers, NcclSenderOptions options = limits(kLong, kLong))
      : Exchange("nccl", receivers, {}, std::move(options)) {}

  NcclSenderStatus now() const { return nccl_sender->status(); }

  // Without a wait for the broadcast.
  WeightsReady announce(const WeightsBuffer& version) {
    return {version.manifest, good(sender->publish(version, soon())), {}};
  }

  // All receivers at a time.
  std::vector<Result<FetchedWeights>> fetch(const WeightsReady& ready, TimePoint limit = soon()) {
    std::vector<Result<FetchedWeights>> got(receivers.size(), Error{});
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < receivers.size(); ++i) {
      threads.emplace_back([&, i] { got[i] = receivers[i]->fetch(ready, limit); });
    }
    threads.clear();
    return got;
  }

  // What carries `version`, published now, to each receiver.
  std::vector<std::string> ways(const WeightsBuffer& version) {
    std::vector<std::string> ways;
    for (auto& one : fetch(announce(version))) {
      const FetchedWeights got = good(std::move(one));
      CHECK(same(got.buffer, version));
      ways.push_back(got.transport);
    }
    return ways;
  }

  // Until those that were told to leave a group have.
  void wait_until_left() {
    REQUIRE(eventually([&] { return !now().busy && now().leaving == 0; }));
  }
};

using Ways = std::vector<std::string>;

size_t thread_count() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

// A member by hand, which does nothing by itself.
struct HandMember {
  HandMember(const Exchange& exchange, const std::string& node, const std::string& gpu)
      : link(good(dial("127.0.0.1", exchange.door->port(), exchange.run.context(node),
                       RunOfNodes::hello(node, Channel::kNccl), "head", soon())),
             kGroupOrderBytes) {
    good(link.write(to_bytes(GroupReport{GroupReport::Kind::kJoin, 0, gpu})));
  }
  GroupOrder next() {
    for (;;) {
      const auto frame = good(link.read());
      if (!frame.empty()) return good(group_order(frame));
      good(wait_readable(link.fd(), soon()));
    }
  }
  FrameLink link;
};

}  // namespace

TEST_CASE("whatever fails in a group, all have the version another way, and the next by NCCL") {
  const auto [gpu, call, at, kind, result] =
      GENERATE(table<std::string, std::string, int, Kind, int>({
          {"head", "unique_id", 1, Kind::kFail, 3}, {"head", "begin", 1, Kind::kFail, 1},
          {"g1", "begin", 1, Kind::kFail, 2},       {"g1", "begin", 1, Kind::kHang, 0},
          {"head", "begin", 1, Kind::kHang, 0},     {"g0", "settled", 1, Kind::kFail, 6},
          {"head", "settled", 1, Kind::kFail, 2},   {"g1", "settled", 6, Kind::kFail, 6},
          {"head", "settled", 6, Kind::kFail, 2},   {"head", "upload", 3, Kind::kFail, 1},
          {"head", "mark", 2, Kind::kFail, 1},      {"g0", "download", 2, Kind::kFail, 1},
          {"g1", "passed", 1, Kind::kFail, 1},      {"g1", "broadcast", 2, Kind::kFail, 6},
          {"g0", "broadcast", 1, Kind::kHang, 0},   {"g0", "broadcast", 2, Kind::kHang, 0},
          {"g0", "broadcast", 3, Kind::kHang, 0},   {"g0", "broadcast", 4, Kind::kHang, 0},
          {"g0", "broadcast", 5, Kind::kHang, 0},   {"g0", "broadcast", 6, Kind::kHang, 0},
          {"g0", "broadcast", 7, Kind::kHang, 0},
      }));
  Casting exchange(2, limits(250, 250));
  exchange.fabric->inject({gpu, call, at, kind, result});
  const TimePoint start = std::chrono::steady_clock::now();
  const Ways ways = exchange.ways(version_of(1));
  CHECK(ms_since(start) < 4000);  // a fetch would wait half of its 10 s for a broadcast
  CHECK(std::ranges::count(ways, "tcp") > 0);
  CHECK_FALSE(exchange.fabric->injected());
  exchange.wait_until_left();
  CHECK(exchange.now().failed_groups == 1);
  CHECK(exchange.ways(version_of(2)) == Ways{"nccl", "nccl"});
  CHECK(exchange.now().failed_groups == 1);
}

TEST_CASE("one group carries version after version") {
  Casting exchange(3);
  for (uint64_t v = 1; v <= 5; ++v) {
    CHECK(exchange.ways(version_of(v)) == Ways{"nccl", "nccl", "nccl"});
    exchange.wait_until_left();
  }
  CHECK(exchange.now().group == 1);
  CHECK(exchange.fabric->comms_begun() == 4);
}

TEST_CASE("a receiver that comes later is in the next version's group") {
  Casting exchange(1);
  const WeightsReady first = exchange.publish(version_of(1));
  exchange.add_receiver();
  CHECK(good(exchange.receivers[1]->fetch(first, soon())).transport == "tcp");
  REQUIRE(eventually([&] { return exchange.now().members == 2; }));
  CHECK(exchange.ways(version_of(2)) == Ways{"nccl", "nccl"});
  CHECK(exchange.now().group == 2);
  CHECK(exchange.now().failed_groups == 0);
}

TEST_CASE(
    "a receiver that dies in mid-broadcast costs the others that broadcast by NCCL, no more") {
  Casting exchange(2);
  exchange.fabric->inject({"g1", "broadcast", GENERATE(1, 4, 7), Kind::kHang});
  const WeightsBuffer version = version_of(1);
  const WeightsReady ready = exchange.announce(version);
  Result<FetchedWeights> got = Error{};
  std::jthread fetching([&] { got = exchange.receivers[0]->fetch(ready, in_ms(kLong)); });
  REQUIRE(eventually([&] { return !exchange.fabric->injected(); }));
  exchange.receivers.pop_back();
  exchange.members.pop_back();
  const TimePoint start = std::chrono::steady_clock::now();
  fetching.join();
  CHECK(ms_since(start) < 5000);
  CHECK(same(good(got).buffer, version));
  CHECK(got->transport == "tcp");
  exchange.wait_until_left();
  CHECK(exchange.ways(version_of(2)) == Ways{"nccl"});
}

TEST_CASE("a receiver that dies between two broadcasts is not in the next one") {
  Casting exchange(2);
  CHECK(exchange.ways(version_of(1)) == Ways{"nccl", "nccl"});
  exchange.receivers.pop_back();
  exchange.members.pop_back();
  REQUIRE(eventually([&] { return exchange.now().members == 1; }));
  exchange.wait_until_left();
  CHECK(exchange.ways(version_of(2)) == Ways{"nccl"});
}

TEST_CASE("a node that says nothing more is waited for once, and not while it is silent") {
  Casting exchange(1, limits(250, kLong));
  HandMember silent(exchange, "silent", "silent");
  REQUIRE(eventually([&] { return exchange.now().members == 2; }));
  CHECK(exchange.ways(version_of(1)) == Ways{"tcp"});
  // Of the two, the silent one has not left that group.
  REQUIRE(eventually([&] { return exchange.now().leaving == 1; }));
  CHECK(exchange.ways(version_of(2)) == Ways{"nccl"});
  CHECK(exchange.now().failed_groups == 1);
  CHECK(silent.next().kind == GroupOrder::Kind::kElsewhere);  // of version 0
  CHECK(silent.next().kind == GroupOrder::Kind::kForm);
  CHECK(silent.next().kind == GroupOrder::Kind::kLeave);
  const GroupOrder passed_over = silent.next();
  CHECK(passed_over.kind == GroupOrder::Kind::kElsewhere);
  CHECK(passed_over.version == 2);
}

TEST_CASE("a member that speaks garbage is cut, and the others go on") {
  Casting exchange(1);
  HandMember garbled(exchange, "garbled", "garbled");
  REQUIRE(eventually([&] { return exchange.now().members == 2; }));
  good(garbled.link.write(std::vector<std::byte>(kGroupReportBytes, std::byte{7})));
  REQUIRE(eventually([&] { return exchange.now().members == 1; }));
  CHECK(exchange.ways(version_of(1)) == Ways{"nccl"});
}

TEST_CASE("publishing waits for no broadcast, and a newer version comes when it is over") {
  Casting exchange(1);
  exchange.fabric->slow_down("g0", 30);
  const WeightsReady first = exchange.announce(version_of(1));
  const WeightsReady second = exchange.announce(version_of(2));
  const WeightsReady third = exchange.announce(version_of(3));
  CHECK(exchange.now().busy);
  const FetchedWeights got = good(exchange.receivers[0]->fetch(third, soon()));
  CHECK(same(got.buffer, version_of(3)));
  CHECK(got.transport == "nccl");
  for (const WeightsReady& replaced : {first, second}) {
    const auto refused = exchange.receivers[0]->fetch(replaced, soon());
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().error_class == ErrorClass::kCancelled);
  }
  CHECK(exchange.now().group == 1);
}

TEST_CASE("an epoch that is aborted in mid-broadcast ends it, and the next epoch is broadcast") {
  Casting exchange(2);
  exchange.fabric->inject({"g0", "broadcast", 3, Kind::kHang});
  const WeightsReady ready = exchange.announce(version_of(1));
  std::vector<Result<FetchedWeights>> got;
  std::jthread fetching([&] { got = exchange.fetch(ready); });
  REQUIRE(eventually([&] { return !exchange.fabric->injected(); }));
  exchange.sender->abort(0);
  fetching.join();
  for (const auto& one : got) {
    REQUIRE_FALSE(one.ok());
    CHECK(one.error().error_class == ErrorClass::kCancelled);
  }
  exchange.wait_until_left();
  CHECK(exchange.ways(version_of(1, 1)) == Ways{"nccl", "nccl"});
}

TEST_CASE("a receiver's own abort ends its fetch and nobody else's") {
  Casting exchange(2);
  exchange.fabric->slow_down("g0", 30);
  const WeightsReady ready = exchange.announce(version_of(1));
  std::jthread aborting([&] { exchange.receivers[1]->abort(0); });
  const auto got = exchange.fetch(ready);
  CHECK(good(got[0]).transport == "nccl");
  REQUIRE_FALSE(got[1].ok());
  CHECK(got[1].error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("a learner that goes away in mid-broadcast ends the fetches, with all ranks aborted") {
  Casting exchange(2);
  exchange.fabric->inject({"g0", "broadcast", 3, Kind::kHang});
  const WeightsReady ready = exchange.announce(version_of(1));
  std::vector<Result<FetchedWeights>> got;
  std::jthread fetching([&] { got = exchange.fetch(ready, in_ms(1500)); });
  REQUIRE(eventually([&] { return !exchange.fabric->injected(); }));
  exchange.nccl_sender = nullptr;
  exchange.sender.reset();
  CHECK(eventually([&] { return exchange.fabric->open_comms() == 0; }));
  fetching.join();
  for (const auto& one : got) {
    REQUIRE_FALSE(one.ok());
    CHECK(one.error().error_class == ErrorClass::kDeadline);
  }
}

TEST_CASE("a broadcast that comes spoilt to one receiver comes to it another way") {
  Casting exchange(2);
  exchange.fabric->inject({"g0", "broadcast", GENERATE(1, 7), Kind::kSpoil});
  CHECK(exchange.ways(version_of(1)) == Ways{"tcp", "nccl"});
  CHECK(exchange.ways(version_of(2)) == Ways{"nccl", "nccl"});
  CHECK(exchange.now().failed_groups == 0);
}

TEST_CASE("a GPU is in a group once, and the learner's own not at all") {
  Casting exchange(1);
  HandMember twin(exchange, "twin", "g0");
  HandMember beside(exchange, "beside", "head");
  REQUIRE(eventually([&] { return exchange.now().members == 3; }));
  CHECK(exchange.ways(version_of(1)) == Ways{"nccl"});
  CHECK(exchange.now().grouped == 1);
}

TEST_CASE("a node that comes again takes its own place") {
  Casting exchange(1);
  HandMember before(exchange, "again", "again");
  REQUIRE(eventually([&] { return exchange.now().members == 2; }));
  HandMember after(exchange, "again", "again");
  // The learner ends the connection before.
  CHECK(eventually([&] { return !before.link.read().ok(); }));
  CHECK(exchange.now().members == 2);
}

TEST_CASE("the generators of a node share what it receives") {
  Casting exchange(1);
  NodeReceiverOptions options;
  options.nccl = exchange.members[0];
  exchange.receivers.push_back(
      make_node_receiver(exchange.run.context("g0"), RunOfNodes::hello("g0"), options));
  const auto got = exchange.fetch(exchange.announce(version_of(1)));
  CHECK(good(got[0]).transport == "nccl");
  CHECK(good(got[0]).buffer.bytes == good(got[1]).buffer.bytes);
}

TEST_CASE("after too many groups that did not form no other is tried") {
  NcclSenderOptions options = limits(kLong, kLong);
  options.form_attempts = 2;
  std::vector<std::string> told;
  options.report = [&](const std::string& sentence) { told.push_back(sentence); };
  {
    Casting exchange(1, options);
    for (uint64_t v = 1; v <= 2; ++v) {
      exchange.fabric->inject({"g0", "begin", 1, Kind::kFail, 2});
      CHECK(exchange.ways(version_of(v)) == Ways{"tcp"});
      exchange.wait_until_left();
    }
    const int begun = exchange.fabric->comms_begun();
    CHECK(exchange.ways(version_of(3)) == Ways{"tcp"});
    CHECK(exchange.fabric->comms_begun() == begun);
  }
  REQUIRE(told.size() == 2);
  CHECK(told[0] ==
        "weights group 1 of NCCL failed to form: node 'g0': ncclCommInitRankConfig failed: a "
        "system call or a connection failed (ncclSystemError)");
  CHECK_THAT(told[1], Catch::EndsWith("; no other is tried"));
}

TEST_CASE("no thread is left of a sender and its members, whatever they were doing") {
  const size_t before = thread_count();
  {
    Casting exchange(2);
    exchange.fabric->inject({"g1", GENERATE("begin", "broadcast"), 1, Kind::kHang});
    exchange.announce(version_of(1));
    REQUIRE(eventually([&] { return !exchange.fabric->injected(); }));
  }
  CHECK(eventually([&] { return thread_count() == before; }));
}

}  // namespace tracewise
