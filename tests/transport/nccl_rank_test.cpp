// A rank's states, one step after the other in one thread.
#include <catch2/catch.hpp>
#include <tuple>

#include "tests/transport/exchange.hpp"
#include "tests/transport/fake_nccl.hpp"
#include "transport/nccl_rank.hpp"
#include "transport/nccl_wire.hpp"

namespace tracewise {
namespace {

using Kind = NcclFault::Kind;

constexpr uint64_t kBucket = 16000;  // 100,000 bytes are 7 buckets

// The learner's rank and those of the generators' GPUs.
class Ranks {
 public:
  explicit Ranks(size_t count, std::shared_ptr<FakeFabric> made = std::make_shared<FakeFabric>())
      : fabric(std::move(made)) {
    for (size_t i = 0; i < count; ++i) gpus_.push_back(FakeFabric::open(fabric, name(i)));
    sinks.resize(count);
  }
  ~Ranks() {
    ranks.clear();
    CHECK(fabric->violations() == std::vector<std::string>{});
    CHECK(fabric->open_comms() == 0);
  }

  static std::string name(size_t rank) { return rank == 0 ? "head" : "g" + std::to_string(rank); }

  // The first error, with the rank that has it.
  std::optional<Error> begin() {
    ranks.clear();
    auto id = gpus_[0]->unique_id();
    if (!id.ok()) return id.error();
    const int count = static_cast<int>(gpus_.size());
    for (int i = 0; i < count; ++i) {
      auto rank = NcclRank::begin(*gpus_[static_cast<size_t>(i)], *id, count, i, kBucket);
      if (!rank.ok()) return rank.error();
      ranks.push_back(std::move(*rank));
    }
    return std::nullopt;
  }

  void cast(const WeightsBuffer& version) {
    source = version.bytes;
    ranks[0]->send(std::span(source.get(), version.manifest.bytes));
    for (size_t i = 1; i < ranks.size(); ++i) {
      sinks[i].assign(version.manifest.bytes, std::byte{0});
      ranks[i]->receive(sinks[i]);
    }
  }

  // Steps all until all are idle or one has an error, 1,000 times at most. The ranks that are idle.
  Result<size_t> pump() {
    size_t idle = 0;
    for (int i = 0; i < 1000 && idle < ranks.size(); ++i) {
      idle = 0;
      for (auto& rank : ranks) {
        TW_ASSIGN(const NcclStep step, rank->step());
        idle += step == NcclStep::kIdle ? 1 : 0;
      }
    }
    return idle;
  }

  bool has(size_t rank, const WeightsBuffer& version) const {
    return std::memcmp(sinks[rank].data(), version.bytes.get(), version.manifest.bytes) == 0;
  }

  std::shared_ptr<FakeFabric> fabric;
  std::shared_ptr<const std::byte[]> source;
  std::vector<std::vector<std::byte>> sinks;
  std::vector<std::unique_ptr<NcclRank>> ranks;

 private:
  std::vector<std::unique_ptr<Nccl>> gpus_;
};

}  // namespace

TEST_CASE("a broadcast brings every rank all buckets, whatever their number and the ranks' speed") {
  const size_t bytes = GENERATE(1, 15999, 16000, 16001, 48000, 100000);
  Ranks group(3);
  group.fabric->slow_down("g2", GENERATE(0, 3));
  REQUIRE_FALSE(group.begin());
  REQUIRE(good(group.pump()) == 3);
  for (uint64_t v = 1; v <= 3; ++v) {
    const WeightsBuffer version = version_of(v, 0, bytes);
    group.cast(version);
    REQUIRE(good(group.pump()) == 3);
    for (size_t i = 1; i < 3; ++i) {
      CHECK(group.has(i, version));
      CHECK(group.ranks[i]->checksum() == version.manifest.checksum);
    }
  }
}

TEST_CASE("a rank that never comes keeps the others forming until they abort, and no longer") {
  Ranks group(3);
  const size_t absent = GENERATE(0u, 1u, 2u);
  group.fabric->inject({Ranks::name(absent), "begin", 1, Kind::kHang});
  REQUIRE_FALSE(group.begin());
  CHECK(good(group.pump()) == 0);
  REQUIRE_FALSE(group.begin());
  CHECK(good(group.pump()) == 3);
}

TEST_CASE("an error at any call of any rank is that rank's, and the next group works") {
  const auto [call, at] = GENERATE(table<std::string, int>({{"settled", 1},
                                                            {"settled", 5},
                                                            {"broadcast", 1},
                                                            {"broadcast", 7},
                                                            {"mark", 3},
                                                            {"passed", 2}}));
  const auto [result, expected] = GENERATE(table<int, ErrorClass>({{1, ErrorClass::kInternal},
                                                                   {2, ErrorClass::kIo},
                                                                   {3, ErrorClass::kInternal},
                                                                   {6, ErrorClass::kIo}}));
  Ranks group(3);
  const WeightsBuffer version = version_of(1);
  group.fabric->inject({Ranks::name(GENERATE(0u, 2u)), call, at, Kind::kFail, result});
  REQUIRE_FALSE(group.begin());
  auto pumped = group.pump();
  if (pumped.ok()) {
    group.cast(version);
    pumped = group.pump();
  }
  REQUIRE_FALSE(pumped.ok());
  CHECK(pumped.error().error_class == expected);
  CHECK_FALSE(group.fabric->injected());

  REQUIRE_FALSE(group.begin());
  REQUIRE(good(group.pump()) == 3);
  group.cast(version);
  CHECK(good(group.pump()) == 3);
  CHECK(group.has(2, version));
}

TEST_CASE("an error in a copy, of the id or of the beginning is told as it is") {
  const auto [gpu, call] = GENERATE(table<std::string, std::string>({{"head", "unique_id"},
                                                                     {"head", "begin"},
                                                                     {"g1", "begin"},
                                                                     {"head", "upload"},
                                                                     {"g1", "download"}}));
  Ranks group(2);
  group.fabric->inject({gpu, call, 1, Kind::kFail, 2});
  auto error = group.begin();
  if (!error) {
    good(group.pump());
    group.cast(version_of(1));
    error = group.pump().error();
  }
  CHECK(error->error_class == ErrorClass::kIo);
  CHECK_THAT(error->message, Catch::Contains("ncclSystemError"));
}

TEST_CASE("a broadcast that hangs at any bucket keeps the ranks waiting until they abort") {
  Ranks group(3);
  const int bucket = GENERATE(range(1, 8));
  group.fabric->inject({"g1", "broadcast", bucket, Kind::kHang});
  REQUIRE_FALSE(group.begin());
  REQUIRE(good(group.pump()) == 3);
  group.cast(version_of(1));
  CHECK(good(group.pump()) == 0);
  CHECK_FALSE(group.has(1, version_of(1)));
  REQUIRE_FALSE(group.begin());
  REQUIRE(good(group.pump()) == 3);
  group.cast(version_of(2));
  CHECK(good(group.pump()) == 3);
  CHECK(group.has(1, version_of(2)));
}

TEST_CASE("a spoilt bucket is seen by the checksum of the rank that it came to") {
  Ranks group(3);
  group.fabric->inject({"g1", "broadcast", GENERATE(1, 4, 7), Kind::kSpoil});
  const WeightsBuffer version = version_of(1);
  REQUIRE_FALSE(group.begin());
  REQUIRE(good(group.pump()) == 3);
  group.cast(version);
  REQUIRE(good(group.pump()) == 3);
  CHECK(group.ranks[1]->checksum() != version.manifest.checksum);
  CHECK(group.ranks[2]->checksum() == version.manifest.checksum);
}

TEST_CASE("the fake finds what NCCL forbids") {
  const auto fabric = std::make_shared<FakeFabric>();
  const auto gpu = FakeFabric::open(fabric, "g");
  const auto comm = good(gpu->begin(good(gpu->unique_id()), 1, 0, 8));
  std::vector<std::byte> bytes(8);
  good(comm->broadcast(0, 8, 0));  // not settled
  CHECK(good(comm->settled()));
  good(comm->upload(0, bytes));  // in use
  good(comm->passed(1));         // nothing was posted there
  good(comm->mark(0));
  CHECK(good(comm->passed(0)));
  comm->abort();
  CHECK_FALSE(comm->settled().ok());
  CHECK(fabric->violations() ==
        std::vector<std::string>{"g: broadcast before the one before it was settled",
                                 "g: upload of a slot that a broadcast uses",
                                 "g: passed of a broadcast that was not marked",
                                 "g: settled after abort"});
}

TEST_CASE("orders and reports of groups come back from their frames, and nothing else is one") {
  using Order = GroupOrder::Kind;
  GroupOrder order{Order::kForm, 3, 1, 2, 256, 1000, 4, 5, 6, 7, {}};
  order.id[127] = std::byte{9};
  CHECK(good(group_order(to_bytes(order))) == order);
  for (const auto& [offset, value] :
       {std::pair{0, 1}, {4, 4}, {16, 0}, {16, 2}, {24, 0}, {28, 0x41}, {37, 0x10}}) {
    auto frame = to_bytes(order);
    frame[static_cast<size_t>(offset)] = static_cast<std::byte>(value);
    if (offset == 24) frame[25] = std::byte{0};  // no bucket at all
    CHECK_FALSE(group_order(frame).ok());
  }
  const GroupReport report{GroupReport::Kind::kFailed, 3, std::string(kMaxReportText, 'x')};
  CHECK(good(group_report(to_bytes(report))) == report);
  CHECK(good(group_report(to_bytes(GroupReport{GroupReport::Kind::kJoin, 0, "a\nb"}))).text ==
        "a?b");
  auto frame = to_bytes(report);
  frame[4] = std::byte{6};
  CHECK_FALSE(group_report(frame).ok());
  frame = to_bytes(report);
  frame[16] = static_cast<std::byte>(kMaxReportText + 1);
  CHECK_FALSE(group_report(frame).ok());
  frame = to_bytes(report);
  frame[20] = std::byte{7};
  CHECK_FALSE(group_report(frame).ok());
}

}  // namespace tracewise
