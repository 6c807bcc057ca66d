// Which processes make up a run, on which hosts, and how long they wait for each other. Plain
// values, filled from the keys of `cluster` (launch/config_cluster_keys.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "actors/membership.hpp"
#include "transport/weights_way.hpp"

namespace tracewise {

enum class Topology : uint8_t {
  kInProcess,  // all roles in one process, no sockets
  kLocal,      // several processes on this machine
  kSsh,        // the head here, each other node on its host through ssh
  kSlurm,      // likewise, through srun inside an allocation
};
const char* to_string(Topology topology);

// Seats that a node offers, by role.
struct Seats {
  uint32_t generators = 0;
  uint32_t tracers = 0;
  uint32_t builders = 0;
  uint32_t ranks = 0;  // of the learner, beside rank 0 on the head
  bool operator==(const Seats&) const = default;
};

// A node beside the head.
struct NodeSpec {
  std::string name;   // is_node_name() (messages/validate.hpp)
  std::string host;   // where it runs and under which the others reach it; empty: this machine
  uint16_t port = 0;  // of its door; 0: any
  Seats seats;
  std::vector<std::string> devices;  // one for each generator; empty: engine.device for all
  uint32_t threads = 0;              // of each generator; 0: engine.threads
  std::string rank_device;           // of the learner's rank; empty: trainer.device
};

struct HeadSpec {
  std::string host;   // under which the others reach it; empty: 127.0.0.1, or this host's name
  uint16_t port = 0;  // of its door; 0: any
  Seats seats{.generators = 0, .tracers = 1, .builders = 1};
};

struct SshOptions {
  std::string user;                  // empty: ssh's own choice
  uint16_t port = 0;                 // 0: ssh's own choice
  std::vector<std::string> options;  // words for ssh, before the host
  uint32_t connect_seconds = 10;
};

struct ClusterOptions {
  Topology topology = Topology::kInProcess;
  MembershipOptions membership;
  WeightsWay weights = WeightsWay::kAuto;  // to generators of other processes
  std::string address;         // that doors listen on, a number; empty: 127.0.0.1 or 0.0.0.0
  uint32_t node_restarts = 2;  // of the processes of all nodes but the head, over a launch
  uint32_t head_restarts = 2;
  std::string binary;  // on other hosts; empty: the path of the one that launches
  HeadSpec head;
  SshOptions ssh;
  std::vector<std::string> slurm_options;      // words for srun
  std::vector<std::string> slurm_job_options;  // words for sbatch
  std::vector<NodeSpec> nodes;
};

// Of the head and all nodes.
Seats all_seats(const ClusterOptions& cluster);

// Names that no node may have: the run folder's logs and an operator's certificate have them.
inline constexpr const char* kHeadName = "head";
bool is_reserved_name(const std::string& name);

// The first thing about the cluster that contradicts itself, as one sentence; empty: nothing.
std::string cluster_conflict(const ClusterOptions& cluster);

}  // namespace tracewise
