// A run folder with fakes in it, for tests of whole runs.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <numeric>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "actors/node.hpp"
#include "actors/plain_loop.hpp"
#include "actors/run_folder.hpp"
#include "actors/sqlite.hpp"
#include "model/file_io.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {

inline constexpr uint64_t kSeed = 11;

inline RunOptions options_of(uint64_t steps) {
  RunOptions o;
  o.groups_per_batch = 4;
  o.group_size = 3;
  o.steps = steps;
  o.seed = kSeed;
  o.eval.at_start = o.eval.at_end = false;
  o.progress_seconds = 0;
  return o;
}

// A run folder and the fakes' world; train() may be called again to resume.
struct Run {
  Result<RunSummary> train(const RunOptions& options, bool resume = false,
                           std::stop_token stop = {}) {
    return train(options, fake_parts(&world, kSeed), resume, std::move(stop));
  }
  Result<RunSummary> train(const RunOptions& options, RunParts parts, bool resume = false,
                           std::stop_token stop = {}) {
    auto made = resume ? RunFolder::open(dir.path()) : RunFolder::create(dir.path(), "");
    if (!made.ok()) return made.error();
    std::shared_ptr<RunFolder> folder = std::move(made).value();
    return run_training(options, std::move(parts), std::move(folder), resume, std::move(stop));
  }

  // The weights in the newest checkpoint.
  uint64_t state() const {
    const auto folder = RunFolder::open(dir.path()).value();
    const auto checkpoint = folder->newest_checkpoint(nullptr).value();
    return std::stoull(read_file(checkpoint->dir / "model/state", 100).value());
  }
  std::unique_ptr<Database> database() const {
    return Database::open(dir.path() / "run.db", Database::Mode::kReadOnly).value();
  }
  int64_t count(const char* sql) const {
    const auto db = database();
    Statement get = db->prepare(sql).value();
    REQUIRE(get.step().value());
    return get.integer(0);
  }

  TempDir dir;
  FakeWorld world;
};

inline uint64_t plain_state(const RunOptions& options) {
  FakeWorld world;
  world.max_delay_us = 0;
  TempDir dir;
  const auto result = run_plain_loop(options, fake_parts(&world, kSeed), dir.path());
  REQUIRE(result.ok());
  REQUIRE(result->steps == options.steps);
  return fake_state(*result->weights);
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline std::vector<uint64_t> first_groups(uint64_t n) {
  std::vector<uint64_t> ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

}  // namespace tracewise
