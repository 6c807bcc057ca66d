// Rank groups for the tests, and a rank store in files for processes.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "learner/memory_rank_store.hpp"
#include "learner/rank_group.hpp"
#include "learner/rank_store.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {

// One file a key in `dir`, renamed into place so that a reader sees all of it or nothing.
class FileRankStore final : public RankStore {
 public:
  explicit FileRankStore(std::filesystem::path dir) : dir_(std::move(dir)) {}

  Result<void> set(const std::string& key, const std::string& value) override {
    const auto part = file(key).string() + ".part";
    std::ofstream(part, std::ios::binary) << value;
    std::filesystem::rename(part, file(key));
    return {};
  }
  Result<std::string> get(const std::string& key, TimePoint deadline) override {
    while (!std::filesystem::exists(file(key))) {
      if (std::chrono::steady_clock::now() >= deadline)
        return Error{ErrorClass::kDeadline, "nobody set " + key};
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // another process writes it
    }
    return slurp(file(key));
  }

 private:
  std::filesystem::path file(std::string key) const {
    for (char& c : key)
      if (c == '/') c = '_';
    return dir_ / ("key_" + key);
  }

  std::filesystem::path dir_;
};

using RankGroupResult = Result<std::shared_ptr<RankGroup>>;

// Runs `body` as each of `size` ranks, in threads, with what connect() gave it. `change` may alter
// a rank's options first.
inline void run_ranks(int size, const std::function<void(int, RankGroupResult)>& body,
                      RankGroupOptions options = {},
                      const std::function<void(RankGroupOptions&)>& change = {}) {
  const auto store = std::make_shared<MemoryRankStore>();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      RankGroupOptions mine = options;
      mine.rank = rank;
      mine.size = size;
      if (change) change(mine);
      body(rank, RankGroup::connect(mine, store));
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace tracewise
