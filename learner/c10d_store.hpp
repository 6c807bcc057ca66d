// Our rank store as c10d wants it, for as long as the ranks meet.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>
#include <vector>

#include "learner/gloo_address.hpp"
#include "learner/rank_group.hpp"
#include "learner/rank_store.hpp"

namespace tracewise {

// Loopback addresses of a group that is carried; Gloo compares them.
inline constexpr const char* kForwarded = "127.0.0.1";    // of the lower ranks
inline constexpr const char* kListening = "127.0.0.2";    // of every rank, to itself
inline constexpr const char* kNeverCalled = "127.0.0.3";  // of the higher ranks, which call us

// What a meeting of the ranks shares with c10d, which keeps its stores for the group's life.
struct Meeting {
  const RankGroupOptions& options;   // outlives the meeting
  std::shared_ptr<RankStore> store;  // none once it is over
  RankStore::TimePoint deadline;
  // The first error and its key: it says more than the exception that c10d makes of ours.
  std::optional<std::pair<std::string, Error>> failure;
};

class C10dStore final : public c10d::Store {
 public:
  explicit C10dStore(std::shared_ptr<Meeting> meeting) : meeting_(std::move(meeting)) {}

  c10::intrusive_ptr<Store> clone() override { return c10::make_intrusive<C10dStore>(meeting_); }
  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    if (auto r = store().set(key, std::string(value.begin(), value.end())); !r.ok())
      fail(key, r.error());
  }
  std::vector<uint8_t> get(const std::string& key) override {
    auto value = store().get(key, meeting_->deadline);
    if (const auto rank = rank_of(key); value.ok() && rank && meeting_->options.forward)
      value = carried(*rank, *value);
    if (!value.ok()) fail(key, value.error());
    return {value->begin(), value->end()};
  }
  bool check(const std::vector<std::string>& keys) override {
    return std::ranges::all_of(keys, [&](const auto& k) { return store().get(k, {}).ok(); });
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds&) override {
    wait(keys);
  }

  int64_t add(const std::string&, int64_t) override { none("add"); }
  bool deleteKey(const std::string&) override { none("deleteKey"); }
  int64_t getNumKeys() override { none("getNumKeys"); }

 private:
  [[noreturn]] static void none(const char* call) {
    throw std::runtime_error(std::string("a rank store has no ") + call);
  }
  [[noreturn]] void fail(const std::string& key, const Error& error) {
    if (!meeting_->failure) meeting_->failure = {key, error};
    throw std::runtime_error(error.message);
  }

  RankStore& store() {
    if (!meeting_->store) throw std::runtime_error("the ranks have met: their store is gone");
    return *meeting_->store;
  }

  // The lower rank of a pair listens. Gloo gives that part to the lower address.
  Result<std::string> carried(int rank, const std::string& entry) const {
    const RankGroupOptions& options = meeting_->options;
    if (rank == options.rank) return entry;
    TW_ASSIGN(const uint16_t port, gloo_port(entry));
    if (rank > options.rank) return with_gloo_address(entry, kNeverCalled, port);
    TW_ASSIGN(const uint16_t here, options.forward(rank, port));
    return with_gloo_address(entry, kForwarded, here);
  }

  std::shared_ptr<Meeting> meeting_;
};

}  // namespace tracewise
