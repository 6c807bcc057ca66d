// Where the ranks of the learner find each other: a map that lives on the head, and the ranks' way
// to it.
#pragma once

#include <map>
#include <stop_token>
#include <string>
#include <utility>

#include "actors/shell.hpp"
#include "learner/rank_store.hpp"

namespace tracewise {

class RankStoreShell final : public Shell<RankStoreActor> {
 public:
  RankStoreShell(caf::actor_config& config, ShellContext context)
      : Shell(config, std::move(context)) {}

 protected:
  behavior_type make_behavior() override;

 private:
  std::map<std::string, std::string> values_;
};

// Blocks the thread that asks, which may be an actor's own. kIo: the head is gone.
class MessageRankStore final : public RankStore {
 public:
  // `system` outlives this. A request of `stop` ends waits with kCancelled.
  MessageRankStore(caf::actor_system& system, RankStoreActor store, std::stop_token stop)
      : system_(system), store_(std::move(store)), stop_(std::move(stop)) {}

  Result<void> set(const std::string& key, const std::string& value) override;
  Result<std::string> get(const std::string& key, TimePoint deadline) override;

 private:
  caf::actor_system& system_;
  RankStoreActor store_;
  std::stop_token stop_;
};

}  // namespace tracewise
