#include "actors/run_books.hpp"

#include <algorithm>
#include <utility>

namespace tracewise {

namespace {

// FNV-1a over what groups are made from.
uint64_t fingerprint(const std::vector<Prompt>& prompts) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto fold = [&hash](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  for (const Prompt& prompt : prompts) {
    for (const char c : prompt.id + "\n" + prompt.gold) fold(static_cast<uint8_t>(c));
    for (const int32_t token : prompt.tokens) fold(static_cast<uint32_t>(token));
    fold(prompt.tokens.size());
  }
  return hash;
}

}  // namespace

Result<std::unique_ptr<RunBooks>> RunBooks::open(RunFolder& folder, bool resume,
                                                 const RunOptions& options,
                                                 const std::vector<Prompt>& prompts,
                                                 double wall_time) {
  std::unique_ptr<RunBooks> books(new RunBooks(folder, options));
  TW_ASSIGN(books->db_, Database::open(folder.database(), Database::Mode::kReadWrite));
  TW_ASSIGN(books->store_, RunStore::open(books->db_.get(), Database::Mode::kReadWrite));
  TW_ASSIGN(books->ledger_, Ledger::open(books->db_.get()));
  TW_TRY(books->check_identity(folder, options, prompts, resume));
  books->start_.state.seed = options.seed;
  if (resume) TW_TRY(books->begin_resumed(folder));
  TW_ASSIGN(books->writer_,
            MetricsWriter::open(folder.root(), books->start_.state.step, wall_time));
  return books;
}

Result<void> RunBooks::check_identity(const RunFolder& folder, const RunOptions& options,
                                      const std::vector<Prompt>& prompts, bool resume) {
  const std::vector<std::pair<std::string, std::string>> identity = {
      {"seed", std::to_string(options.seed)},
      {"groups_per_batch", std::to_string(options.groups_per_batch)},
      {"prompts", std::to_string(prompts.size())},
      {"prompts_fingerprint", std::to_string(fingerprint(prompts))},
  };
  for (const auto& [key, value] : identity) {
    TW_ASSIGN(const auto before, store_->value(key));
    if (resume && before && *before != value) {
      return bad_input(folder.root().string() + ": the run was started with " + key + " = " +
                       *before + " and cannot be resumed with " + key + " = " + value);
    }
  }
  return db_->transaction(true, [&]() -> Result<void> {
    for (const auto& [key, value] : identity) TW_TRY(store_->set_value(key, value));
    return {};
  });
}

Result<void> RunBooks::begin_resumed(RunFolder& folder) {
  TW_ASSIGN(start_.checkpoint, folder.newest_checkpoint(&start_.skipped));
  if (start_.checkpoint) start_.state = start_.checkpoint->state;
  const uint64_t step = start_.state.step;
  TW_TRY(folder.set_aside_after(step));
  TW_ASSIGN(start_.again, ledger_->resume(step, start_.state.batches));
  TW_ASSIGN(start_.trained, ledger_->trained_groups());
  TW_ASSIGN(const uint64_t last, store_->last_step());
  start_.undone_steps = std::max(last, step) - step;
  TW_TRY(outputs_.forget_after(step));
  return db_->transaction(true, [&] { return store_->forget_after(step); });
}

void RunBooks::log_when_trained(LoggedRollout rollout) {
  logged_[rollout.traced.rollout.key.group].push_back(std::move(rollout));
}

Result<void> RunBooks::record_step(const TrainedBatch& batch, std::span<const Metric> metrics,
                                   double wall_time) {
  TW_TRY(db_->transaction(false, [&]() -> Result<void> {
    TW_TRY(ledger_->train(batch));
    TW_TRY(store_->put_metrics(batch.step, metrics));
    for (const GroupKey& key : batch.groups) {
      const auto found = logged_.find(key.group);
      if (found == logged_.end()) continue;
      for (LoggedRollout& rollout : found->second) {
        rollout.step = batch.step;
        TW_TRY(store_->put_rollout(rollout));
      }
    }
    return {};
  }));
  for (const GroupKey& key : batch.groups) logged_.erase(key.group);
  return writer_->write(batch.step, metrics, wall_time);
}

Result<void> RunBooks::record_eval(const EvalResult& result, std::vector<TracedRollout> rollouts,
                                   uint64_t best_step, double wall_time) {
  TW_TRY(outputs_.save(result, rollouts, best_step));
  // Of every set the first prompts, not all of one set.
  std::erase_if(rollouts, [](const TracedRollout& t) { return t.rollout.sample != 0; });
  std::ranges::stable_sort(
      rollouts, {}, [](const TracedRollout& t) { return t.rollout.key.group % kMaxSetPrompts; });
  if (rollouts.size() > log_rollouts_) rollouts.resize(log_rollouts_);
  const std::vector<Metric> metrics = eval_metrics(result);
  TW_TRY(db_->transaction(false, [&]() -> Result<void> {
    TW_TRY(store_->put_metrics(result.step, metrics));
    for (TracedRollout& traced : rollouts) {
      TW_TRY(store_->put_rollout({result.step, std::move(traced), {}}));
    }
    return {};
  }));
  return writer_->write(result.step, metrics, wall_time);
}

}  // namespace tracewise
