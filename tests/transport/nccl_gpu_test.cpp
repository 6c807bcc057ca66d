// Weights by NCCL itself: two processes on one GPU, which NCCL takes for two hosts' and connects by
// sockets over loopback. What they bring per second says nothing about NCCL.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>

#include "tests/transport/exchange.hpp"
#include "tests/transport/other_process.hpp"
#include "transport/nccl_rank.hpp"

namespace tracewise {
namespace {

constexpr const char* kDevice = "cuda:0";
constexpr size_t kBytes = (size_t{48} << 20) + 1;  // 4 buckets of 16 MiB
constexpr uint64_t kBucket = size_t{16} << 20;

// NCCL on the GPU, as the host that is called `host`; null, and a sentence, where there is no GPU.
// A process has one host name for all its life.
std::unique_ptr<Nccl> nccl_on(const char* host) {
  ::setenv("NCCL_HOSTID", host, 1);
  for (const auto& [name, value] : {std::pair{"NCCL_NET", "Socket"},
                                    {"NCCL_SOCKET_IFNAME", "lo"},
                                    {"NCCL_IB_DISABLE", "1"},
                                    {"NCCL_MNNVL_ENABLE", "0"},
                                    {"NCCL_NVLS_ENABLE", "0"}}) {
    ::setenv(name, value, 1);
  }
  auto opened = open_nccl(kDevice);
  if (opened.ok()) return std::move(*opened);
  WARN("skipped: " << opened.error().message);
  return nullptr;
}

// Steps until it is idle, at the longest until `deadline`.
Result<NcclStep> step_until_idle(NcclRank& rank, TimePoint deadline) {
  for (;;) {
    TW_ASSIGN(const NcclStep step, rank.step());
    if (step == NcclStep::kIdle || std::chrono::steady_clock::now() > deadline) return step;
    if (step == NcclStep::kWaiting) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

NcclId read_id() {
  std::string line;
  std::getline(std::cin, line);
  const std::string bytes = unhex(line);
  NcclId id{};
  REQUIRE(bytes.size() == id.size());
  std::memcpy(id.data(), bytes.data(), id.size());
  return id;
}

std::string text_of(const NcclId& id) {
  return hex({reinterpret_cast<const char*>(id.data()), id.size()}) + "\n";
}

}  // namespace

// Not a test: the generator of the next one.
TEST_CASE("child: a generator's node", "[.]") {
  std::string identity, port;
  std::getline(std::cin, identity);
  std::getline(std::cin, port);
  const TlsContext context = good(TlsContext::create(good(identity_from_text(unhex(identity)))));
  auto nccl = nccl_on("generator");
  REQUIRE(nccl);
  NodeReceiverOptions options;
  options.shm = false;
  options.nccl = good(NcclMember::start(context, RunOfNodes::hello("g0"), std::move(nccl), {}));
  const auto receiver = make_node_receiver(context, RunOfNodes::hello("g0"), options);
  for (uint64_t v = 0; v < 4; ++v) {
    const WeightsBuffer version = version_of(v, 0, kBytes);
    WeightsPlace place;
    place.node = "head";
    place.host = "127.0.0.1";
    place.port = static_cast<uint32_t>(std::stoi(port));
    const auto got = receiver->fetch({version.manifest, place, {}}, in_ms(120000));
    say(!got.ok() ? got.error().message
                  : got->transport + (same(got->buffer, version) ? "" : ", but another version"));
  }
}

TEST_CASE("versions are broadcast from one process's GPU to another's") {
  auto nccl = nccl_on("learner");
  if (!nccl) return;
  const RunOfNodes run;
  DoorOptions at;
  at.address = "127.0.0.1";
  const auto door = good(Door::open(at, run.context("head"), RunOfNodes::hello("head")));
  NcclSenderOptions casting;
  casting.bucket_bytes = kBucket;
  casting.report = [](const std::string& sentence) { std::cerr << sentence << std::endl; };
  auto caster = good(NcclSender::start(std::move(nccl), casting));
  NcclSender& status = *caster;
  NodeSenderOptions sending;
  sending.node = "head";
  sending.host = "127.0.0.1";
  sending.shm = false;
  const auto sender = good(make_node_sender(*door, sending, std::move(caster)));
  OtherProcess generator("child: a generator's node", hex(to_text(run.identity("g0"))) + "\n" +
                                                          std::to_string(door->port()) + "\n");
  for (uint64_t v = 0; v < 4; ++v) {
    good(sender->publish(version_of(v, 0, kBytes), soon()));
    // The first one tells the generator's node where to join.
    CHECK(generator.line(v, 60000) == (v == 0 ? "tcp" : "nccl"));
    if (v == 0) REQUIRE(eventually([&] { return status.status().members == 1; }));
  }
  CHECK(status.status().group == 1);
  CHECK(generator.process.wait(std::chrono::seconds(20)) == 0);
  // A member that is gone, in an idle group, ends it.
  CHECK(eventually([&] { return status.status().grouped == 0; }));
}

// Not a test: the rank of the next one that forms and then does nothing.
TEST_CASE("child: a rank that takes no broadcast", "[.]") {
  const NcclId id = read_id();
  const auto nccl = nccl_on("generator");
  REQUIRE(nccl);
  const auto rank = good(NcclRank::begin(*nccl, id, 2, 1, kBucket));
  REQUIRE(good(step_until_idle(*rank, in_ms(60000))) == NcclStep::kIdle);
  say("formed");
  ::pause();
}

TEST_CASE("a rank that takes no broadcast, or dies in it, is left by an abort") {
  const auto nccl = nccl_on("learner");
  if (!nccl) return;
  const bool killed = GENERATE(false, true);
  const NcclId id = good(nccl->unique_id());
  auto rank = good(NcclRank::begin(*nccl, id, 2, 0, kBucket));
  OtherProcess other("child: a rank that takes no broadcast", text_of(id));
  REQUIRE(good(step_until_idle(*rank, in_ms(60000))) == NcclStep::kIdle);
  CHECK(other.line(0, 60000) == "formed");
  const WeightsBuffer version = version_of(1, 0, kBytes);
  rank->send(std::span(version.bytes.get(), kBytes));
  if (killed) other.kill();
  // NCCL may see that the other one is gone, or not.
  const auto waited = step_until_idle(*rank, in_ms(2000));
  CHECK((!waited.ok() || *waited == NcclStep::kWaiting));
  const TimePoint start = std::chrono::steady_clock::now();
  rank.reset();
  CHECK(ms_since(start) < 10000);
}

TEST_CASE("a group in which a rank never comes is left by an abort") {
  const auto nccl = nccl_on("learner");
  if (!nccl) return;
  auto rank = good(NcclRank::begin(*nccl, good(nccl->unique_id()), 2, 0, kBucket));
  CHECK(good(step_until_idle(*rank, in_ms(2000))) == NcclStep::kWaiting);
  const TimePoint start = std::chrono::steady_clock::now();
  rank.reset();
  CHECK(ms_since(start) < 10000);
}

}  // namespace tracewise
