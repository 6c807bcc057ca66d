// Where a chaos run lives, and what can be done to it there.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/net/host_lab.hpp"
#include "tests/process.hpp"
#include "tests/process_tree.hpp"

namespace tracewise {

// Membership's deadlines in a chaos run, in milliseconds.
inline constexpr int64_t kHeartbeatMs = 100, kSuspectMs = 800, kLostMs = 2500;

struct Fault {
  std::string name;
  std::chrono::milliseconds lasts{0};
  std::function<void()> begin;
  std::function<void()> end;
};

class Arena {
 public:
  using Random = std::mt19937_64;

  // Over four hosts, or over as many processes of this machine.
  explicit Arena(bool over_hosts);

  // The words of --set that place a run here: a head, three nodes, every role twice but the
  // learner's, or that one too.
  std::vector<std::string> placement(bool two_ranks) const;
  // The words that start `words` where the head is.
  std::vector<std::string> at_head(const std::vector<std::string>& words) const;

  // `launcher` is the process of the run. The fault may find nobody to do harm to.
  Fault draw(Random& random, pid_t launcher);

  // Processes of the run, the launcher left out.
  std::vector<pid_t> nodes(pid_t launcher) const;
  bool empty() const;  // no process is on any host; always, where there are none
  void heal();

 private:
  Fault draw_process_fault(Random& random, pid_t launcher) const;
  Fault draw_host_fault(Random& random);
  Fault draw_pair_fault(Random& random);

  std::unique_ptr<HostLab> lab_;
};

}  // namespace tracewise
