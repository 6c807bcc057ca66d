#include "actors/run_books.hpp"

#include <utility>

namespace tracewise {

Result<std::unique_ptr<RunBooks>> RunBooks::open(const RunFolder& folder, bool resume,
                                                 uint64_t seed, double wall_time) {
  std::unique_ptr<RunBooks> books(new RunBooks());
  TW_ASSIGN(books->db_, Database::open(folder.database(), Database::Mode::kReadWrite));
  TW_ASSIGN(books->ledger_, Ledger::open(books->db_.get()));
  TW_ASSIGN(books->store_, RunStore::open(books->db_.get(), Database::Mode::kReadWrite));
  if (resume) {
    TW_TRY(books->begin_resumed(folder, seed));
  } else {
    books->start_.state.seed = seed;
    TW_TRY(books->db_->transaction(
        true, [&] { return books->store_->set_value("seed", std::to_string(seed)); }));
  }
  TW_ASSIGN(books->writer_,
            MetricsWriter::open(folder.root(), books->start_.state.step, wall_time));
  return books;
}

Result<void> RunBooks::begin_resumed(const RunFolder& folder, uint64_t seed) {
  TW_ASSIGN(const auto old_seed, store_->value("seed"));
  if (old_seed && *old_seed != std::to_string(seed)) {
    return bad_input(folder.root().string() + ": the run was started with seed " + *old_seed +
                     " and cannot be resumed with seed " + std::to_string(seed));
  }
  TW_ASSIGN(start_.checkpoint, folder.newest_checkpoint(&start_.skipped));
  start_.state.seed = seed;
  if (start_.checkpoint) start_.state = start_.checkpoint->state;
  const uint64_t step = start_.state.step;
  TW_ASSIGN(start_.again, ledger_->resume(step, start_.state.batches));
  TW_ASSIGN(start_.trained, ledger_->trained_groups());
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

Result<void> RunBooks::record_eval(const EvalResult& result, std::vector<TracedRollout> logged,
                                   double wall_time) {
  const std::vector<Metric> metrics = eval_metrics(result);
  TW_TRY(db_->transaction(false, [&]() -> Result<void> {
    TW_TRY(store_->put_metrics(result.step, metrics));
    for (TracedRollout& traced : logged) {
      TW_TRY(store_->put_rollout({result.step, std::move(traced), {}}));
    }
    return {};
  }));
  return writer_->write(result.step, metrics, wall_time);
}

}  // namespace tracewise
