#include "tests/chaos/arena.hpp"

#include <signal.h>

#include <utility>

namespace tracewise {
namespace {

using std::chrono::milliseconds;

constexpr size_t kHosts = 4;

int64_t between(Arena::Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

std::string for_time(milliseconds time) { return " for " + std::to_string(time.count()) + " ms"; }

Fault kill_process(pid_t pid) {
  return {"kill -9 of process " + std::to_string(pid), milliseconds(0),
          [pid] { ::kill(pid, SIGKILL); }, [] {}};
}

Fault stop_process(pid_t pid, milliseconds time) {
  return {"process " + std::to_string(pid) + " stands still" + for_time(time), time,
          [pid] { ::kill(pid, SIGSTOP); }, [pid] { ::kill(pid, SIGCONT); }};
}

}  // namespace

Arena::Arena(bool over_hosts) {
  if (over_hosts) lab_ = std::make_unique<HostLab>(kHosts);
}

std::vector<std::string> Arena::placement(bool two_ranks) const {
  const auto host = [this](size_t index) {
    return lab_ ? ",host=\"" + lab_->address(index) + "\"" : std::string();
  };
  const std::string rank = two_ranks ? ",ranks=1" : "";
  std::vector<std::string> sets = {
      "cluster.nodes=[{name=\"gen0\",generators=1" + host(1) + "},{name=\"gen1\",generators=1," +
          "tracers=1" + host(2) + "},{name=\"trace0\",tracers=1,builders=1" + rank + host(3) + "}]",
      "cluster.head.generators=0",
      "cluster.head.tracers=0",
      "cluster.head.builders=1",
      "cluster.heartbeat_ms=" + std::to_string(kHeartbeatMs),
      "cluster.suspect_ms=" + std::to_string(kSuspectMs),
      "cluster.lost_ms=" + std::to_string(kLostMs),
      "cluster.node_restarts=100000",
      "cluster.head_restarts=100000"};
  if (!lab_) return sets;
  sets.insert(sets.end(),
              {"cluster.topology=ssh", "cluster.head.host=" + lab_->address(0),
               "cluster.ssh.user=root", "cluster.ssh.port=" + std::to_string(lab_->ssh_port()),
               "cluster.ssh.options=[\"" + lab_->ssh_options()[0] + "\",\"" +
                   lab_->ssh_options()[1] + "\"]"});
  return sets;
}

std::vector<std::string> Arena::at_head(const std::vector<std::string>& words) const {
  return lab_ ? lab_->on(0, words) : words;
}

std::vector<pid_t> Arena::nodes(pid_t launcher) const {
  std::vector<pid_t> found;
  for (size_t host = 0; lab_ && host < lab_->size(); ++host) {
    for (const pid_t pid : lab_->nodes(host)) {
      if (pid != launcher) found.push_back(pid);
    }
  }
  if (lab_) return found;
  for (const ProcessMark& mark : descendants(launcher)) found.push_back(mark.pid);
  return found;
}

bool Arena::empty() const {
  for (size_t host = 0; lab_ && host < lab_->size(); ++host) {
    if (!lab_->processes(host).empty()) return false;
  }
  return true;
}

void Arena::heal() {
  if (lab_) lab_->heal();
}

Fault Arena::draw(Random& random, pid_t launcher) {
  switch (lab_ ? between(random, 0, 4) : 0) {
    case 0:
    case 1:
      return draw_process_fault(random, launcher);
    case 2:
    case 3:
      return draw_host_fault(random);
    default:
      return draw_pair_fault(random);
  }
}

Fault Arena::draw_process_fault(Random& random, pid_t launcher) const {
  const std::vector<pid_t> pids = nodes(launcher);
  const uint64_t drawn = random();
  const int64_t kind = between(random, 0, 2);
  const milliseconds brief(between(random, kSuspectMs / 2, kLostMs * 3 / 4));
  const milliseconds lasting(between(random, kLostMs * 5 / 4, kLostMs * 2));
  if (pids.empty()) return {"nobody is there to be killed", milliseconds(100), [] {}, [] {}};
  const pid_t pid = pids[drawn % pids.size()];
  if (kind == 0) return kill_process(pid);
  return stop_process(pid, kind == 1 ? brief : lasting);
}

Fault Arena::draw_host_fault(Random& random) {
  const auto host = static_cast<size_t>(between(random, 0, kHosts - 1));
  const std::string name = "host " + std::to_string(host);
  const milliseconds time(between(random, kSuspectMs, kLostMs * 2));
  switch (between(random, 0, 3)) {
    case 0:
    case 1:
      return {name + " is black-holed" + for_time(time), time,
              [this, host] { lab_->black_hole(host, true); },
              [this, host] { lab_->black_hole(host, false); }};
    case 2:
      return {name + " has a slow link" + for_time(time), time,
              [this, host] { lab_->slow_down(host, 1000); },
              [this, host] { lab_->slow_down(host, 0); }};
    default:
      return {name + " loses a tenth of its packets" + for_time(time), time,
              [this, host] { lab_->lose_packets(host, 10); },
              [this, host] { lab_->lose_packets(host, 0); }};
  }
}

Fault Arena::draw_pair_fault(Random& random) {
  const auto one = static_cast<size_t>(between(random, 0, kHosts - 1));
  const size_t other = (one + static_cast<size_t>(between(random, 1, kHosts - 1))) % kHosts;
  const std::string hosts = std::to_string(one) + " and " + std::to_string(other);
  const milliseconds time(between(random, kSuspectMs, kLostMs * 3));
  const int64_t kind = between(random, 0, 2);
  if (kind == 0) {
    return {"connections between hosts " + hosts + " hang for good", milliseconds(0),
            [this, one, other] { lab_->freeze(one, other); }, [] {}};
  }
  if (kind == 1) {
    return {"connections between hosts " + hosts + " are reset", milliseconds(0),
            [this, one, other] { lab_->reset(one, other); }, [] {}};
  }
  return {"host " + std::to_string(other) + " hears nothing of host " + std::to_string(one) +
              for_time(time),
          time, [this, one, other] { lab_->mute(one, other, true); },
          [this, one, other] { lab_->mute(one, other, false); }};
}

}  // namespace tracewise
