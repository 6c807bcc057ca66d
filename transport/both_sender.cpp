#include "transport/both_sender.hpp"

#include <utility>

namespace tracewise {
namespace {

class BothSender final : public WeightsSender {
 public:
  BothSender(std::unique_ptr<WeightsSender> near, std::unique_ptr<WeightsSender> far)
      : near_(std::move(near)), far_(std::move(far)) {}

  std::shared_ptr<std::byte[]> allocate(uint64_t bytes) override { return far_->allocate(bytes); }

  Result<WeightsPlace> publish(WeightsBuffer weights, TimePoint deadline) override {
    TW_ASSIGN(WeightsPlace place, far_->publish(weights, deadline));
    TW_TRY(near_->publish(std::move(weights), deadline));
    return place;
  }

  void abort(uint64_t epoch) override {
    near_->abort(epoch);
    far_->abort(epoch);
  }

 private:
  const std::unique_ptr<WeightsSender> near_, far_;
};

}  // namespace

std::unique_ptr<WeightsSender> make_both_sender(std::unique_ptr<WeightsSender> near,
                                                std::unique_ptr<WeightsSender> far) {
  return std::make_unique<BothSender>(std::move(near), std::move(far));
}

}  // namespace tracewise
