#include "launch/device_pool.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

class NoEngine final : public Engine {
 public:
  void submit(GroupTask) override {}
  void probe(ProbeRequest) override {}
  uint64_t adopt(std::vector<int32_t>) override { return 17; }
  void release(uint64_t) override {}
  void cancel(GroupKey) override {}
  Result<void> prepare(const WeightsPtr&) override { return bad_input("no weights"); }
  Result<void> set_weights(WeightsPtr) override { return bad_input("other weights"); }
  EngineOutput step(Clock::time_point) override { return {}; }
  EngineStats stats() const override {
    EngineStats stats;
    stats.steps = 5;
    return stats;
  }
};

TEST_CASE("generators have a device each, and one that is gone gives its device to the next") {
  std::vector<std::string> given;
  const DevicePool::Make make = [&](const std::string& device) -> Result<std::unique_ptr<Engine>> {
    given.push_back(device);
    if (given.size() == 4) return io_error("no memory");
    return std::unique_ptr<Engine>(new NoEngine());
  };
  std::unique_ptr<Engine> first, second, third;
  {
    DevicePool pool({"cuda:0", "cuda:1", "cuda:2"});
    const auto engine = [&] {
      auto made = pool.make(make);
      REQUIRE(made.ok());
      return std::move(*made);
    };
    first = engine();
    second = engine();
    third = engine();
    second.reset();
    CHECK_FALSE(pool.make(make).ok());  // what failed holds no device
    second = engine();
    auto fourth = engine();
    CHECK(given ==
          std::vector<std::string>{"cuda:0", "cuda:1", "cuda:2", "cuda:1", "cuda:1", "cuda:0"});
  }
  // Engines work on without their pool.
  CHECK(first->adopt({}) == 17);
  CHECK(first->stats().steps == 5);
  CHECK_FALSE(first->prepare(nullptr).ok());
  CHECK_FALSE(first->set_weights(nullptr).ok());
}

}  // namespace
}  // namespace tracewise
