#include "launch/device_pool.hpp"

#include <algorithm>
#include <utility>

#include "messages/check.hpp"

namespace tracewise {
namespace {

// An engine with something to do when it is gone.
class CountedEngine final : public Engine {
 public:
  CountedEngine(std::unique_ptr<Engine> engine, std::function<void()> gone)
      : engine_(std::move(engine)), gone_(std::move(gone)) {}
  ~CountedEngine() override {
    engine_.reset();
    gone_();
  }

  void submit(GroupTask task) override { engine_->submit(std::move(task)); }
  void probe(ProbeRequest request) override { engine_->probe(std::move(request)); }
  uint64_t adopt(std::vector<int32_t> tokens) override { return engine_->adopt(std::move(tokens)); }
  void release(uint64_t lease) override { engine_->release(lease); }
  void cancel(GroupKey key) override { engine_->cancel(key); }
  Result<void> prepare(const WeightsPtr& weights) override { return engine_->prepare(weights); }
  Result<void> set_weights(WeightsPtr weights) override {
    return engine_->set_weights(std::move(weights));
  }
  EngineOutput step(Clock::time_point now) override { return engine_->step(now); }
  EngineStats stats() const override { return engine_->stats(); }

 private:
  std::unique_ptr<Engine> engine_;
  const std::function<void()> gone_;
};

}  // namespace

DevicePool::DevicePool(std::vector<std::string> devices) : books_(std::make_shared<Books>()) {
  TW_CHECK(!devices.empty(), "a pool without devices");
  books_->engines.resize(devices.size());
  books_->devices = std::move(devices);
}

Result<std::unique_ptr<Engine>> DevicePool::make(const Make& make) {
  size_t chosen = 0;
  {
    const std::lock_guard lock(books_->mutex);
    chosen =
        static_cast<size_t>(std::ranges::min_element(books_->engines) - books_->engines.begin());
    ++books_->engines[chosen];
  }
  const auto gone = [books = books_, chosen] {
    const std::lock_guard lock(books->mutex);
    --books->engines[chosen];
  };
  auto engine = make(books_->devices[chosen]);
  if (!engine.ok()) {
    gone();
    return engine.error();
  }
  return std::unique_ptr<Engine>(new CountedEngine(std::move(*engine), gone));
}

}  // namespace tracewise
