// What a run's folder says of it, while the run goes on and after its end. Reads only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/trace_view.hpp"
#include "messages/result.hpp"

namespace tracewise {

// The groups of the ledger.
struct LedgerCounts {
  uint64_t issued = 0;                                     // groups so far
  uint64_t issued_again = 0;                               // attempts beyond the first
  std::vector<std::pair<std::string, uint64_t>> states;    // groups in each state that has any
  std::vector<std::pair<std::string, uint64_t>> failures;  // of attempts, by class
};

struct MetricPoint {
  uint64_t step = 0;
  double value = 0;  // may be NaN
};

// One group as the ledger and the log of rollouts have it.
struct GroupLineage {
  struct LoggedSample {
    uint32_t sample = 0;
    uint64_t step = 0;  // that it was trained in
    double reward = 0;
    uint64_t tokens = 0;
  };
  uint64_t group = 0;
  uint32_t attempt = 0;
  std::string state;                                       // committed groups: "committed"
  uint64_t version = 0;                                    // of the weights when it was issued
  uint64_t step = 0;                                       // that it was trained in; 0: in none yet
  std::string prompt;                                      // row id
  std::vector<std::pair<uint32_t, std::string>> failures;  // attempt, sentence
  std::vector<LoggedSample> rollouts;                      // those that were logged
};

// A line of RUN/events.jsonl (actors/event_log.hpp).
struct RunEvent {
  double time = 0;  // seconds since 1970
  std::string kind, who, text;
};

struct LoggedView {
  uint64_t step = 0;  // that it was trained in, or after which it was evaluated
  RolloutView rollout;
};

class RunView {
 public:
  explicit RunView(std::filesystem::path root) : root_(std::move(root)) {}

  // All: kBadInput where the folder has no run, or not what is asked for, with the nearest name.
  [[nodiscard]] Result<LedgerCounts> ledger() const;
  [[nodiscard]] Result<GroupLineage> lineage(uint64_t group) const;
  // Each metric's newest point, by name.
  [[nodiscard]] Result<std::vector<std::pair<std::string, MetricPoint>>> last_metrics() const;
  // The newest `count` points, the oldest first.
  [[nodiscard]] Result<std::vector<MetricPoint>> metric(const std::string& name,
                                                        size_t count) const;
  // The run's config as TOML; a key or a group of keys of it where `name` is not empty.
  [[nodiscard]] Result<std::string> config(const std::string& name) const;
  // The last `lines` lines of a node's log.
  [[nodiscard]] Result<std::string> log(const std::string& node, size_t lines) const;
  // The newest `count` events, of one kind where it is not empty, the oldest first.
  [[nodiscard]] Result<std::vector<RunEvent>> events(const std::string& kind, size_t count) const;
  static std::vector<std::string> event_kinds();
  // The logged training rollouts of a group, or one of them.
  [[nodiscard]] Result<std::vector<LoggedView>> rollouts(uint64_t group,
                                                         std::optional<uint32_t> sample) const;
  std::filesystem::path log_file(const std::string& node) const;
  // What the newest event of the run itself says: how it ended; empty where there is none.
  std::string last_words() const;
  std::vector<std::string> logs() const;  // nodes that have one

 private:
  std::filesystem::path root_;
};

}  // namespace tracewise
