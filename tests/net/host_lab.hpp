// Hosts of a test's own on this machine: network and process namespaces joined by a bridge, each
// with a real sshd. Nothing of it is seen outside of the namespaces, and all of it ends with the
// object; what a run left that was killed is cleared away by the next lab.
//
//   host 0 (10.213.0.1) ---+
//   host 1 (10.213.0.2) ---+--- a bridge in a namespace of its own, where packets can be lost
//   host 2 (10.213.0.3) ---+
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {

// One thread uses it. What the machine refuses is thrown as std::runtime_error.
class HostLab {
 public:
  // Why there can be no lab on this machine, as one sentence; empty: there can.
  static std::string missing();

  explicit HostLab(size_t hosts);
  ~HostLab();
  HostLab(const HostLab&) = delete;
  HostLab& operator=(const HostLab&) = delete;

  size_t size() const { return hosts_.size(); }
  std::string address(size_t host) const;
  // What makes `words` a command of that host; words[0] is searched for in PATH.
  std::vector<std::string> on(size_t host, const std::vector<std::string>& words) const;
  // Under which every host's sshd can be reached from every other, as words of ssh.
  uint16_t ssh_port() const;
  std::vector<std::string> ssh_options() const;

  // What runs on a host beside its sshd, the newest last.
  std::vector<pid_t> processes(size_t host) const;
  // Those of them that are the program under test.
  std::vector<pid_t> nodes(size_t host) const;

  // --- faults; each holds until it is taken back -----------------------------------------------
  // Nothing comes from or goes to the host any more, and nobody is told.
  void black_hole(size_t host, bool on);
  // The share of packets to and from the host that is lost.
  void lose_packets(size_t host, int percent);
  // How fast its link is, each way, in kilobits a second; 0: as it can.
  void slow_down(size_t host, uint64_t kilobits);
  // Packets of one way are lost: from one host to another.
  void mute(size_t from, size_t to, bool on);
  // Ends every TCP connection of a host with another one, but for ssh's. The other is told by a
  // reset, if packets go there.
  void reset(size_t host, size_t other);
  // Packets of the TCP connections that a host has now with another one are lost, but for ssh's;
  // new connections are not hindered.
  void freeze(size_t host, size_t other);
  // Takes all back.
  void heal();

  // Packets that black_hole(), lose_packets(), mute() and freeze() have lost since the last change.
  uint64_t lost_packets() const;
  // Bytes that came to the host since the lab began.
  uint64_t bytes_to(size_t host) const;

 private:
  struct Host {
    std::string name;  // of its namespace
    std::unique_ptr<Process> sshd;
    std::vector<pid_t> own;  // sshd and what started it
    bool black_holed = false;
    int loss_percent = 0;
  };

  void add_host(size_t index);
  void start_sshd(size_t index);
  void write_client_files();
  void apply() const;
  std::vector<pid_t> pids(const Host& host) const;
  std::string port(size_t host) const { return "port" + std::to_string(host); }

  TempDir dir_;
  std::string prefix_;
  std::string net_;  // the bridge's namespace
  std::vector<Host> hosts_;
  std::map<std::pair<size_t, size_t>, bool> muted_;
  std::vector<std::string> frozen_;  // rules that match the connections
};

}  // namespace tracewise
