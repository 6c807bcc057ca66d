#include "transport/segment_pool.hpp"

#include <algorithm>
#include <mutex>
#include <vector>

#include "transport/segment.hpp"

namespace tracewise {
namespace {

struct Place {
  std::unique_ptr<Segment> segment;
  bool in_use = false;  // by this process
};

}  // namespace

struct SegmentPool::State {
  explicit State(size_t max) : max_segments(max) {}

  const size_t max_segments;
  std::mutex mutex;                            // of all below
  std::vector<std::unique_ptr<Place>> places;  // stable addresses
  Place* offered = nullptr;
  bool closed = false;  // the pool is gone

  // A place of `bytes` that nobody uses, locked; null: none. All others that nobody uses are given
  // back to the system.
  Place* free_place(uint64_t bytes) {
    Place* found = nullptr;
    std::erase_if(places, [&](const std::unique_ptr<Place>& place) {
      if (place->in_use || place.get() == offered || !place->segment->try_lock()) return false;
      if (found != nullptr || place->segment->content().size() != bytes) return true;
      found = place.get();
      return false;
    });
    return found;
  }

  Place* place_of(const std::byte* bytes) {
    for (const auto& place : places) {
      if (place->segment->content().data() == bytes) return place.get();
    }
    return nullptr;
  }

  void give_back(Place* place) {
    const std::lock_guard lock(mutex);
    place->in_use = false;
    if (!closed) return;
    std::erase_if(places, [&](const auto& other) { return other.get() == place; });
  }
};

SegmentPool::SegmentPool(size_t max_segments) : state_(std::make_shared<State>(max_segments)) {}

SegmentPool::~SegmentPool() {
  withdraw();
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
  std::erase_if(state_->places, [](const auto& place) { return !place->in_use; });
}

std::shared_ptr<std::byte[]> SegmentPool::allocate(uint64_t bytes) {
  const std::lock_guard lock(state_->mutex);
  Place* place = state_->free_place(bytes);
  if (place == nullptr) {
    if (state_->places.size() >= state_->max_segments) return nullptr;
    auto segment = Segment::create(bytes);
    if (!segment.ok()) return nullptr;
    state_->places.push_back(std::make_unique<Place>(Place{std::move(*segment)}));
    place = state_->places.back().get();
  }
  place->in_use = true;
  return {place->segment->content().data(),
          [state = state_, place](std::byte*) { state->give_back(place); }};
}

bool SegmentPool::can_offer(const std::byte* bytes) {
  const std::lock_guard lock(state_->mutex);
  Place* const place = state_->place_of(bytes);
  return place != nullptr && place->segment->try_lock();
}

int SegmentPool::offer(const WeightsBuffer& weights) {
  const std::lock_guard lock(state_->mutex);
  Place* const place = state_->place_of(weights.bytes.get());
  TW_CHECK(place != nullptr, "what is offered lies in a segment of the pool");
  if (state_->offered != nullptr && state_->offered != place) state_->offered->segment->withdraw();
  state_->offered = place;
  place->segment->offer(weights.manifest);
  return place->segment->fd();
}

void SegmentPool::withdraw() {
  const std::lock_guard lock(state_->mutex);
  if (state_->offered != nullptr) state_->offered->segment->withdraw();
  state_->offered = nullptr;
}

}  // namespace tracewise
