// The learner's shell around trainer, batch buffer and checkpoints.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/batch_buffer.hpp"
#include "actors/lead_trainer.hpp"
#include "actors/own_rank.hpp"
#include "actors/run_books.hpp"
#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "actors/shell.hpp"
#include "actors/train_clock.hpp"
#include "transport/delivery.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct LearnerSetup {
  std::shared_ptr<const RunParts> parts;  // shared with the node's other actors
  std::shared_ptr<RunFolder> folder;      // shared with the thread that started the node
  std::shared_ptr<WeightsSender> sender;  // shared with the node, which aborts it
  RunStart start;
  RunOptions options;

  // Of a learner of several ranks.
  std::shared_ptr<OwnRank> own_rank;  // shared with the node, which aborts it
  NodeAddress address;                // of this node
  RankStoreActor rank_store;
  bool ranks_serve_weights = false;  // each of them offers every version, once rank 0 has
};

// Runs in a thread of its own, which is also the trainer's.
class LearnerShell final : public Shell<LearnerActor> {
 public:
  LearnerShell(caf::actor_config& config, ShellContext context, LearnerSetup setup);

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  Result<void> start(const Peers& peers);
  void change_peers(Peers peers);
  void take(std::vector<GroupParcel> parcels);
  void refuse(std::vector<GroupKey> keys);
  void train();
  void take_snapshot();
  Result<void> publish();
  void announce(uint32_t generator, const GeneratorActor& actor);
  Result<void> announce_to_all();
  void note_delivery(const WeightsDelivered& delivered);
  SaveReply save(SaveRequest request);
  bool has_batch() const;
  void schedule();
  void await_groups();
  void end_groups_wait();

  // With the other ranks (learner_ranks.cpp).
  Result<std::unique_ptr<Trainer>> meet_ranks();
  void order_training(std::span<const SampleGroup> groups, uint64_t version, double progress);
  template <class... Ts>
  void order(size_t rank, const std::string& what, int64_t limit_ms, Ts&&... message);
  void offer_at_ranks();
  void rank_offered(size_t rank, const Result<WeightsPlace>& place);
  void rank_failed(size_t rank, const Error& error);
  void fail_of(const Error& error);

  LearnerSetup setup_;
  std::vector<RankPeer> ranks_;  // [i] is rank i + 1
  bool failing_ = false;         // why is being found out
  std::unique_ptr<Trainer> trainer_;
  BatchBuffer buffer_;
  TrainClock clock_;  // follows the coordinator's
  DeliveryBook delivery_;
  WeightsPtr weights_;      // of version_
  WeightsReady published_;  // theirs, with the epoch that they are offered under
  // Of published_, once every rank has offered it: with the layout of the tensors, and without.
  WeightsAnnouncement announcement_, short_announcement_;
  std::set<uint32_t> knows_layout_;  // generators that were told it
  size_t offers_open_ = 0;  // ranks that don't offer them yet: nobody is told of them before
  uint64_t step_ = 0;
  uint64_t version_ = 0;
  uint64_t duplicates_ = 0;
  std::vector<TrainedBatch> unsaved_;  // batches since the last checkpoint
  TimePoint published_at_{};
  std::optional<double> delivery_seconds_;
  std::map<uint32_t, std::string> transports_;     // what last carried weights to each generator
  std::map<std::string, uint64_t> bytes_by_node_;  // that doors gave since the last commit
  bool ticking_ = false;
  std::string groups_wait_;  // as the wait for groups is called; empty: there is none
};

}  // namespace tracewise
