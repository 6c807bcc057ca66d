// The learner's other ranks: what they are told to do, and what becomes of that.
#include <algorithm>
#include <utility>

#include "actors/learner_actor.hpp"
#include "actors/parts.hpp"

namespace tracewise {
namespace {

// Whether a call may have failed on this rank only because it failed on another.
bool may_be_anothers(const Error& error) {
  return error.error_class == ErrorClass::kIo || error.error_class == ErrorClass::kDeadline ||
         error.error_class == ErrorClass::kCancelled;
}

size_t tokens_of(const SampleGroup& group) {
  size_t tokens = 0;
  for (const AdvantageRollout& rollout : group.rollouts) tokens += rollout.tokens.size();
  for (const StepPair& pair : group.pairs)
    tokens += pair.prefix.size() + pair.chosen.size() + pair.rejected.size();
  return tokens;
}

}  // namespace

// The others meet while this one does.
Result<std::unique_ptr<Trainer>> LearnerShell::meet_ranks() {
  set_state("meeting the other ranks");
  RankMeeting meeting;
  meeting.nodes.push_back(setup_.address);
  for (const RankPeer& rank : ranks_) meeting.nodes.push_back(rank.node);
  meeting.store = setup_.rank_store;
  meeting.restore = setup_.start.checkpoint.has_value();
  meeting.serve_weights = setup_.ranks_serve_weights;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    meeting.rank = static_cast<uint32_t>(i + 1);
    order(i, "meeting", setup_.options.deadlines.start_ms, meeting);
  }
  meeting.rank = 0;
  auto met = setup_.own_rank->meet(system(), meeting, *setup_.parts, setup_.options.deadlines);
  // Ranks that did not come or parted may meet once more: the head is started again.
  if (!met.ok() && may_be_anothers(met.error()))
    return Error{ErrorClass::kInternal, met.error().message};
  if (!met.ok()) return met.error();
  RankOrders orders;
  orders.train = [this](std::span<const SampleGroup> groups, uint64_t version, double progress) {
    order_training(groups, version, progress);
  };
  orders.save = [this] {
    for (size_t i = 0; i < ranks_.size(); ++i)
      order(i, "checkpoint", setup_.options.deadlines.checkpoint_ms, save_atom::value);
  };
  return std::unique_ptr<Trainer>(new LeadTrainer(std::move(met).value(), std::move(orders)));
}

void LearnerShell::order_training(std::span<const SampleGroup> groups, uint64_t version,
                                  double progress) {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    in_parts(std::vector<SampleGroup>(groups.begin(), groups.end()), tokens_of,
             [&](std::vector<SampleGroup> part) { send(ranks_[i].actor, std::move(part)); });
    order(i, "training step " + std::to_string(step_ + 1), setup_.options.deadlines.train_ms,
          train_atom::value, version, progress);
  }
}

template <class... Ts>
void LearnerShell::order(size_t rank, const std::string& what, int64_t limit_ms, Ts&&... message) {
  const auto limit = std::chrono::milliseconds(limit_ms);
  const std::string wait = what + ", learner rank " + std::to_string(rank + 1);
  entry().begin_wait(wait, "node " + ranks_[rank].node.name, now(), now() + limit);
  request(ranks_[rank].actor, limit, std::forward<Ts>(message)...)
      .then(
          [this, wait, rank](const Outcome& outcome) {
            entry().end_wait(wait);
            if (!outcome.ok) rank_failed(rank, to_error(outcome));
          },
          [this, wait, rank, limit_ms](caf::error& error) {
            entry().end_wait(wait);
            // Who is gone is the supervisor's to tell.
            if (error != caf::sec::request_timeout) return;
            rank_failed(rank, {ErrorClass::kInternal, wait + " did not come to an end within " +
                                                          std::to_string(limit_ms) + " ms"});
          });
}

// Generators are told when all have answered, so that whatever they are told of is there.
void LearnerShell::offer_at_ranks() {
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
  const WeightsManifest& manifest = published_.manifest;
  published_.others.resize(ranks_.size());
  offers_open_ = ranks_.size();
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const std::string wait = "weights version " + std::to_string(manifest.version) +
                             " offered by learner rank " + std::to_string(i + 1);
    entry().begin_wait(wait, "node " + ranks_[i].node.name, now(), now() + limit);
    request(ranks_[i].actor, limit, offer_atom::value, manifest)
        .then(
            [this, wait, i](RankOffer& offer) {
              entry().end_wait(wait);
              rank_offered(i, offer.outcome.ok ? Result<WeightsPlace>(std::move(offer.place))
                                               : to_error(offer.outcome));
            },
            [this, wait, i](caf::error& error) {
              entry().end_wait(wait);
              if (error != caf::sec::request_timeout) return;
              rank_failed(i, {ErrorClass::kInternal, wait + " was not there in time"});
            });
  }
}

void LearnerShell::rank_offered(size_t rank, const Result<WeightsPlace>& place) {
  if (place.ok()) published_.others[rank] = *place;
  if (!place.ok()) rank_failed(rank, place.error());
  const bool ended = !place.ok() && !may_be_anothers(place.error());
  if (ended || --offers_open_ > 0) return;
  // A rank that could not offer it now is done without.
  std::erase_if(published_.others, [](const WeightsPlace& other) { return other.port == 0; });
  if (const auto told = announce_to_all(); !told.ok()) return fail(told.error());
  schedule();
}

void LearnerShell::rank_failed(size_t rank, const Error& error) {
  const std::string sentence = "learner rank " + std::to_string(rank + 1) + " on node " +
                               ranks_[rank].node.name + ": " + error.message;
  if (may_be_anothers(error)) return services().log->warn(sentence);
  fail({error.error_class, sentence});
}

// A rank that failed, or the loss of its node, says more than what this one missed of it; both are
// heard of soon after.
void LearnerShell::fail_of(const Error& error) {
  if (ranks_.empty() || !may_be_anothers(error)) return fail(error);
  set_state("hearing why its ranks parted");
  failing_ = true;
  delayed_send(self(), std::chrono::seconds(2), failed_atom::value,
               to_outcome(Error{ErrorClass::kInternal, error.message}));
}

}  // namespace tracewise
