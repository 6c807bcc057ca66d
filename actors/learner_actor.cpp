#include "actors/learner_actor.hpp"

#include <algorithm>
#include <iterator>
#include <string>

#include "actors/train_step.hpp"

namespace tracewise {
namespace {

std::string wait_name(uint64_t version, uint32_t generator) {
  return "weights version " + std::to_string(version) + " at generator " +
         std::to_string(generator);
}

BatchBuffer make_buffer(const LearnerSetup& setup) {
  const RunOptions& o = setup.options;
  return BatchBuffer({o.groups_per_batch, o.max_staleness, o.max_refilled_groups}, 0,
                     setup.start.trained);
}

}  // namespace

LearnerShell::LearnerShell(caf::actor_config& config, ShellContext context, LearnerSetup setup)
    : Shell(config, std::move(context)),
      setup_(std::move(setup)),
      buffer_(make_buffer(setup_)),
      clock_(setup_.start.state.train_seconds),
      step_(setup_.start.state.step),
      version_(setup_.start.state.version) {}

LearnerShell::behavior_type LearnerShell::make_behavior() {
  return {
      [this](start_atom, const Peers& peers) {
        set_state("building its trainer");
        Outcome outcome = to_outcome(start(peers));
        set_state("idle");
        return outcome;
      },
      [this](Peers& peers) {
        seen();
        change_peers(std::move(peers));
        return peers_.epoch;
      },
      [this](uint32_t builder, std::vector<GroupParcel>& parcels) {
        seen();
        const auto count = static_cast<uint32_t>(parcels.size());
        take(std::move(parcels));
        send_to(peers_.builders, builder, grant_atom::value, count);
      },
      [this](SampleGroup& empty) {
        seen();
        std::vector<GroupParcel> parcels(1);
        parcels[0].group = std::move(empty);
        take(std::move(parcels));
      },
      [this](clock_atom, double seconds, bool running) {
        seen();
        clock_ = TrainClock(seconds);
        if (running) clock_.start(now());
        await_groups();
      },
      [this](SaveRequest& request) {
        seen();
        end_groups_wait();
        set_state("writing a checkpoint");
        SaveReply reply = save(std::move(request));
        set_state("idle");
        await_groups();
        return reply;
      },
      [this](tick_atom) {
        seen();
        ticking_ = false;
        if (has_batch() && !failing_ && offers_open_ == 0) train();
      },
      [this](failed_atom, const Outcome& outcome) { fail(to_error(outcome)); },
  };
}

void LearnerShell::let_go() {
  trainer_.reset();
  if (setup_.own_rank) setup_.own_rank->leave();
  ranks_.clear();
  setup_.rank_store = RankStoreActor{};
  weights_.reset();
  setup_.folder.reset();
}

Result<void> LearnerShell::start(const Peers& peers) {
  for (const auto& [number, rank] : peers.ranks) ranks_.push_back(rank);
  TW_ASSIGN(trainer_, ranks_.empty() ? setup_.parts->make_trainer() : meet_ranks());
  if (const auto& checkpoint = setup_.start.checkpoint) {
    TW_ASSIGN(WeightsPtr weights,
              setup_.parts->load_model(checkpoint->dir / setup_.parts->weights_folder));
    TW_TRY(trainer_->restore(std::move(weights), checkpoint->optimizer()));
  }
  take_snapshot();
  return publish();
}

// Who is new has no weights yet; who is gone is waited for by nobody.
void LearnerShell::change_peers(Peers peers) {
  const std::map<uint32_t, GeneratorActor> before = std::move(peers_.generators);
  peers_ = std::move(peers);
  for (const auto& [generator, actor] : before) {
    if (peers_.generators.count(generator) > 0) continue;
    delivery_.leave(generator);
    transports_.erase(generator);
    knows_layout_.erase(generator);
    entry().end_wait(wait_name(published_.manifest.version, generator));
  }
  for (const auto& [generator, actor] : peers_.generators) {
    if (before.count(generator) > 0) continue;
    delivery_.join(generator);
    if (offers_open_ == 0) announce(generator, actor);
  }
}

void LearnerShell::take(std::vector<GroupParcel> parcels) {
  std::vector<GroupKey> taken, without_signal, refused;
  std::vector<LoggedRollout> logged;
  for (GroupParcel& parcel : parcels) {
    const GroupKey key = parcel.group.key;
    const bool has_signal = !parcel.group.rollouts.empty();
    switch (buffer_.put(std::move(parcel.group), version_)) {
      case BatchBuffer::Put::kTaken:
        taken.push_back(key);
        if (!has_signal) without_signal.push_back(key);
        std::move(parcel.logged.begin(), parcel.logged.end(), std::back_inserter(logged));
        break;
      case BatchBuffer::Put::kStale:
        refused.push_back(key);
        break;
      case BatchBuffer::Put::kDuplicate:
        ++duplicates_;
        services().log->info("learner: group " + std::to_string(key.group) + ", attempt " +
                             std::to_string(key.attempt) + " refused: it is here already");
        break;
    }
  }
  if (!taken.empty()) {
    send(peers_.coordinator, taken_atom::value, std::move(taken), std::move(without_signal),
         std::move(logged));
  }
  refuse(std::move(refused));
  await_groups();
  schedule();
}

void LearnerShell::refuse(std::vector<GroupKey> keys) {
  if (keys.empty()) return;
  services().log->info("learner: " + std::to_string(keys.size()) + " groups refused at version " +
                       std::to_string(version_) + ": their tokens are too old");
  send(peers_.coordinator, refused_atom::value, std::move(keys));
}

// A batch that had to do with fewer groups may leave some for one more step than there are.
bool LearnerShell::has_batch() const {
  return buffer_.ready() && (setup_.options.steps == 0 || step_ < setup_.options.steps);
}

// Ranks that still make their offer would only begin the next step after it.
void LearnerShell::schedule() {
  if (has_batch() && offers_open_ == 0 && !std::exchange(ticking_, true))
    send(self(), tick_atom::value);
}

void LearnerShell::end_groups_wait() {
  if (!groups_wait_.empty()) entry().end_wait(std::exchange(groups_wait_, {}));
}

// While groups are trained on, those of the next batch are the coordinator's to bring.
void LearnerShell::await_groups() {
  end_groups_wait();
  if (!clock_.running() || has_batch()) return;
  groups_wait_ = "groups, " + std::to_string(buffer_.size()) + " of its next batch are here";
  const Deadlines& deadlines = setup_.options.deadlines;
  const auto limit = setup_.options.max_attempts * std::chrono::milliseconds(deadlines.group_ms);
  entry().begin_wait(groups_wait_, "coordinator", now(), now() + limit);
}

void LearnerShell::train() {
  end_groups_wait();
  set_state("training");
  std::vector<SampleGroup> batch = buffer_.take();
  Commit commit;
  for (const SampleGroup& group : batch) commit.groups.push_back(group.key);
  const uint64_t refilled =
      std::max(batch.size(), setup_.options.groups_per_batch) - setup_.options.groups_per_batch;
  const TimePoint begun = now();
  const double progress = run_progress(setup_.options, step_, clock_.seconds(begun));
  auto report = train_batch(*trainer_, std::move(batch), setup_.parts->group_options.advantage,
                            version_, progress, setup_.folder->root());
  if (!report.ok()) return fail_of(report.error());
  for (const std::string& warning : report->warnings) {
    services().log->warn("learner: step " + std::to_string(step_ + 1) + ": " + warning);
  }
  commit.step = ++step_;
  commit.version = ++version_;
  commit.metrics = std::move(report->metrics);
  take_snapshot();
  if (!good(publish())) return;
  commit.metrics.push_back(
      {"time/learner_seconds", std::chrono::duration<double>(now() - begun).count()});
  commit.metrics.push_back({"train/duplicate_groups", static_cast<double>(duplicates_)});
  if (setup_.options.max_refilled_groups > 0)
    commit.metrics.push_back({"train/groups_refilled", static_cast<double>(refilled)});
  if (delivery_seconds_) {
    commit.metrics.push_back({"time/weights_delivery_seconds", *delivery_seconds_});
  }
  commit.metrics.push_back({"weights/bytes", static_cast<double>(weights_->manifest().bytes)});
  for (const auto& [node, bytes] : std::exchange(bytes_by_node_, {}))
    commit.metrics.push_back({"weights/bytes_from/" + node, static_cast<double>(bytes)});
  unsaved_.push_back({step_, commit.groups});
  send(peers_.coordinator, std::move(commit));
  refuse(buffer_.drop_stale(version_));
  set_state("idle");
  await_groups();
  schedule();
}

// Written where the sender needs no copy of it.
void LearnerShell::take_snapshot() {
  weights_ = trainer_->weights(version_,
                               [this](uint64_t bytes) { return setup_.sender->allocate(bytes); });
}

// Offers the current weights under the current epoch and tells every generator, once the ranks that
// serve them offer them too.
Result<void> LearnerShell::publish() {
  WeightsManifest manifest = weights_->manifest();
  manifest.epoch = peers_.epoch;
  published_at_ = now();
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
  TW_ASSIGN(WeightsPlace place,
            setup_.sender->publish({manifest, weights_->storage()}, published_at_ + limit));
  published_ = {std::move(manifest), std::move(place), {}};
  if (!setup_.ranks_serve_weights) return announce_to_all();
  offer_at_ranks();
  return {};
}

Result<void> LearnerShell::announce_to_all() {
  TW_ASSIGN(announcement_, WeightsAnnouncement::make(published_));
  TW_ASSIGN(short_announcement_, WeightsAnnouncement::make_short(published_));
  for (const auto& [generator, actor] : peers_.generators) announce(generator, actor);
  return {};
}

void LearnerShell::announce(uint32_t generator, const GeneratorActor& actor) {
  const bool knows_layout = !knows_layout_.insert(generator).second;
  const WeightsAnnouncement& announcement = knows_layout ? short_announcement_ : announcement_;
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
  const std::string wait = wait_name(published_.manifest.version, generator);
  entry().begin_wait(wait, name_of({Role::kGenerator, generator}), now(), now() + limit);
  request(actor, limit, announcement)
      .then(
          [this, wait](const WeightsDelivered& delivered) {
            entry().end_wait(wait);
            note_delivery(delivered);
            delivery_.acknowledge(delivered);
            if (delivered.version == version_ && delivery_.delivered(version_)) {
              delivery_seconds_ = std::chrono::duration<double>(now() - published_at_).count();
            }
          },
          [this, wait, generator](caf::error& error) {
            entry().end_wait(wait);
            // A generator that died is the supervisor's to replace.
            if (error != caf::sec::request_timeout || peers_.generators.count(generator) == 0)
              return;
            report_lost({Role::kGenerator, generator},
                        wait + " was not acknowledged within " +
                            std::to_string(setup_.options.deadlines.weights_ms) +
                            " ms (deadlines.weights_ms)");
          });
}

void LearnerShell::note_delivery(const WeightsDelivered& delivered) {
  for (const WeightsShare& share : delivered.shares) bytes_by_node_[share.node] += share.bytes;
  if (delivered.transport.empty()) return;  // another announcement brought it
  std::string& before = transports_[delivered.generator];
  if (before == delivered.transport) return;
  before = delivered.transport;
  std::string nodes;
  for (const WeightsShare& share : delivered.shares)
    nodes += (nodes.empty() ? " from node " : ", ") + share.node;
  services().log->info("learner: generator " + std::to_string(delivered.generator) +
                       " takes its weights by " + delivered.transport + nodes);
}

SaveReply LearnerShell::save(SaveRequest request) {
  request.state.step = step_;
  request.state.version = version_;
  request.state.batches = unsaved_;
  RunFolder& folder = *setup_.folder;
  const auto write_all = [&]() -> Result<Checkpoint> {
    TW_ASSIGN(Checkpoint checkpoint,
              folder.write_checkpoint(
                  request.state, [this](const std::filesystem::path& dir) -> Result<void> {
                    TW_TRY(setup_.parts->save_model(dir / setup_.parts->weights_folder, *weights_));
                    return trainer_->save_optimizer(dir / "optimizer.safetensors");
                  }));
    if (request.best) TW_TRY(folder.mark_best(step_));
    TW_TRY(folder.prune(request.keep_last, request.keep_best));
    return checkpoint;
  };
  const Result<Checkpoint> written = write_all();
  if (!written.ok()) return {to_outcome(written.error()), step_, ""};
  unsaved_.clear();
  services().log->info("learner: wrote " + written->dir.string());
  return {{}, step_, written->dir.string()};
}

}  // namespace tracewise
