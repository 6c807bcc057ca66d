// What crowds cost a door.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <optional>

#include "tests/transport/run_of_nodes.hpp"

namespace tracewise {
namespace {

size_t open_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// The process's limit of descriptors, set back when the object dies.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &old_) == 0);
    rlimit wanted = old_;
    wanted.rlim_cur = std::min(limit, old_.rlim_max);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &wanted) == 0);
  }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &old_); }

 private:
  rlimit old_{};
};

}  // namespace

TEST_CASE("1,000 idle connections cost 64 descriptors and keep no peer out") {
  const DescriptorLimit limit(4096);
  const RunOfNodes run;
  Head head(run);
  const TlsContext context = run.context("g0");
  const size_t before = open_descriptors();
  std::vector<Fd> idle;
  for (int i = 0; i < 1000; ++i) idle.push_back(plain_connection(head.door->port()));
  // 1,000 are ours, and the door keeps the youngest 64.
  CHECK(eventually([&] { return head.refused(Refusal::kEvicted) == 1000 - 64; }));
  CHECK(open_descriptors() <= before + 1000 + 64);
  CHECK(is_ended(idle.front()));

  const TimePoint start = std::chrono::steady_clock::now();
  const auto stream = good(head.dialled(context, run.hello("g0")));
  CHECK(ms_since(start) < 500);
  CHECK(head.refused(Refusal::kEvicted) == 1000 - 64 + 1);
}

TEST_CASE("a peer gets in while idle connections keep coming") {
  const DescriptorLimit limit(4096);
  const RunOfNodes run;
  Head head(run);
  const TlsContext context = run.context("g0");
  std::atomic<bool> enough{false};
  std::thread crowd([&] {
    std::deque<Fd> idle;
    while (!enough) {
      Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const auto address = numeric_address("127.0.0.1", head.door->port());
      if (::connect(fd.get(), address->get(), address->length) == 0) idle.push_back(std::move(fd));
      if (idle.size() > 500) idle.pop_front();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the crowd's pace
    }
  });
  CHECK(eventually([&] { return head.refused(Refusal::kEvicted) > 0; }));
  std::vector<std::string> failures;
  for (int i = 0; i < 10; ++i) {
    const auto stream = head.dialled(context, run.hello("g0"));
    if (!stream.ok()) failures.push_back(stream.error().message);
  }
  enough = true;
  crowd.join();
  CHECK(failures.empty());
}

TEST_CASE("nonsense from a crowd doesn't flood the log") {
  const RunOfNodes run;
  Head head(run);
  const TimePoint start = std::chrono::steady_clock::now();
  for (int i = 0; i < 300; ++i) {
    const Fd fd = plain_connection(head.door->port());
    REQUIRE(::send(fd.get(), "nonsense", 8, MSG_NOSIGNAL) == 8);
    REQUIRE(is_ended(fd));
  }
  CHECK(eventually([&] { return head.refused(Refusal::kTls) == 300; }));
  const auto seconds = static_cast<size_t>(ms_since(start) / 1000) + 1;
  CHECK(head.told().size() >= 5);
  CHECK(head.told().size() <= 5 * seconds);
}

TEST_CASE("without descriptors left the door waits in peace, and goes on when there are some") {
  const RunOfNodes run;
  Head head(run);
  const TlsContext context = run.context("g0");
  const auto address = numeric_address("127.0.0.1", head.door->port());
  Fd waiting(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  TimePoint start;
  uint64_t refused = 0;
  {
    // As many as there are: the lowest free number is the limit.
    const Fd lowest(::dup(0));
    const DescriptorLimit limit(static_cast<rlim_t>(lowest.get()));
    start = std::chrono::steady_clock::now();
    REQUIRE(::connect(waiting.get(), address->get(), address->length) == 0);
    CHECK(eventually([&] { return head.refused(Refusal::kNoResource) >= 3; }));
    refused = head.refused(Refusal::kNoResource);
    // One try each 50 ms, not one each microsecond.
    CHECK(static_cast<double>(refused) <= ms_since(start) / 50 + 2);
  }
  CHECK(head.told().front().sentence == "cannot accept: Too many open files");
  good(head.dialled(context, run.hello("g0")));
  CHECK(head.arrivals.take().stream->peer() == "g0");
}

TEST_CASE("without descriptors left an idle connection makes room for the next") {
  const RunOfNodes run;
  Head head(run);
  const Fd idle = plain_connection(head.door->port());
  // Its descriptor is the door's: it is there once a second one was turned away.
  REQUIRE(::shutdown(plain_connection(head.door->port()).get(), SHUT_WR) == 0);
  CHECK(eventually([&] { return head.refused(Refusal::kLeft) == 1; }));
  const auto address = numeric_address("127.0.0.1", head.door->port());
  const Fd next(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Fd lowest(::dup(0));
  const DescriptorLimit limit(static_cast<rlim_t>(lowest.get()));
  REQUIRE(::connect(next.get(), address->get(), address->length) == 0);
  CHECK(is_ended(idle));
  CHECK(eventually([&] { return head.refused(Refusal::kEvicted) == 1; }));
  CHECK(head.refused(Refusal::kNoResource) == 1);
}

}  // namespace tracewise
