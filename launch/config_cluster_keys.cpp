// The rows of `cluster`: which processes make up a run. See launch/config_keys.cpp.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "launch/config_key.hpp"
#include "messages/validate.hpp"

namespace tracewise {
namespace {

#define AT(path) \
  [](Config & c) -> auto& { return c.cluster.path; }
#define OF(path) \
  [](NodeSpec & n) -> auto& { return n.path; }

using NodeKey = KeyOf<NodeSpec>;

const std::vector<NodeKey>& node_keys() {
  static const std::vector<NodeKey> keys = [] {
    std::vector<NodeKey> k;
    NodeKey name = text_key<NodeSpec>("name", OF(name), "In logs and messages.",
                                      "1 to 64 letters, digits, '.', '-' and '_'");
    name.set = [set = std::move(name.set)](NodeSpec& n, const Value& v) {
      const auto* text = std::get_if<std::string>(&v);
      return text != nullptr && is_node_name(*text) && set(n, v);
    };
    k.push_back(std::move(name));
    k.push_back(text_key<NodeSpec>("host", OF(host), "Where it runs and is reached."));
    k.push_back(integer_key<NodeSpec>("port", OF(port), between(0, 65535), "Of its door; 0: any."));
    k.push_back(integer_key<NodeSpec>("generators", OF(seats.generators), at_least(0), "Seats."));
    k.push_back(integer_key<NodeSpec>("tracers", OF(seats.tracers), at_least(0), "Seats."));
    k.push_back(integer_key<NodeSpec>("builders", OF(seats.builders), at_least(0), "Seats."));
    k.push_back(integer_key<NodeSpec>("ranks", OF(seats.ranks), between(0, 1),
                                      "Of the learner, beside the head's."));
    NodeKey rank_device =
        text_key<NodeSpec>("rank_device", OF(rank_device), "Of its rank; empty: trainer.device.",
                           "cpu, cuda:N or empty");
    rank_device.set = [set = std::move(rank_device.set)](NodeSpec& n, const Value& v) {
      const auto* text = std::get_if<std::string>(&v);
      return text != nullptr && (text->empty() || is_device_name(*text)) && set(n, v);
    };
    k.push_back(std::move(rank_device));
    NodeKey devices = list_key<NodeSpec>("devices", OF(devices), "a list of cpu and cuda:N", {},
                                         "One for each generator; empty: engine.device.");
    devices.set = [set = std::move(devices.set)](NodeSpec& n, const Value& v) {
      NodeSpec parsed = n;
      if (!set(parsed, v) || !std::ranges::all_of(parsed.devices, is_device_name)) return false;
      n = std::move(parsed);
      return true;
    };
    k.push_back(std::move(devices));
    k.push_back(integer_key<NodeSpec>("threads", OF(threads), at_least(0),
                                      "Of each generator; 0: engine.threads."));
    return k;
  }();
  return keys;
}

void add_membership_keys(std::vector<Key>& k) {
  k.push_back(integer_key("cluster.heartbeat_ms", AT(membership.heartbeat_ms), at_least(1),
                          "Milliseconds between two pings of the head."));
  k.push_back(integer_key("cluster.suspect_ms", AT(membership.suspect_ms), at_least(1),
                          "Milliseconds of silence after which a node is shown as suspect."));
  k.push_back(integer_key("cluster.lost_ms", AT(membership.lost_ms), at_least(1),
                          "Milliseconds of silence after which a node's work is issued again; also "
                          "within which a node leaves when its launcher is gone."));
  k.push_back(integer_key("cluster.join_ms", AT(membership.join_ms), at_least(1),
                          "Milliseconds for a node to find the head and be ready."));
}

}  // namespace

void add_cluster_keys(std::vector<Key>& k) {
  k.push_back(
      choice_key("cluster.topology", AT(topology),
                 {{"in_process", Topology::kInProcess},
                  {"local", Topology::kLocal},
                  {"ssh", Topology::kSsh},
                  {"slurm", Topology::kSlurm}},
                 "in_process: one process hosts all roles; local: processes on this machine; ssh, "
                 "slurm: the head here and each other node on its host."));
  add_membership_keys(k);
  k.push_back(choice_key(
      "cluster.weights", AT(weights),
      {{"auto", WeightsWay::kAuto}, {"tcp", WeightsWay::kTcp}, {"nccl", WeightsWay::kNccl}},
      "How weights get to generators of other processes; auto: shared memory, else NCCL where both "
      "are on GPUs, else connections; tcp: connections alone; nccl: NCCL, and connections where it "
      "fails. NCCL does not encrypt what it sends."));
  k.push_back(text_key("cluster.address", AT(address),
                       "Address, a number, that doors listen on; empty: 127.0.0.1 in topology "
                       "local, else 0.0.0.0."));
  k.push_back(integer_key("cluster.node_restarts", AT(node_restarts), at_least(0),
                          "Times that a node's process is started again, over all nodes."));
  k.push_back(integer_key("cluster.head_restarts", AT(head_restarts), at_least(0),
                          "Times that the head is started again and resumes the run."));
  k.push_back(text_key("cluster.binary", AT(binary),
                       "Path of tracewise on other hosts; empty: as on this one."));
  k.push_back(tables_key(
      "cluster.nodes", AT(nodes), node_keys(),
      "Nodes beside the head, [[cluster.nodes]]: name, host, port of the door (0: any), numbers of "
      "generators, tracers, builders and the learner's ranks (0 or 1; the head has another), "
      "rank_device (empty: trainer.device), devices (one for each generator; empty: "
      "engine.device), "
      "threads of a generator (0: engine.threads)."));
  k.push_back(text_key("cluster.head.host", AT(head.host),
                       "Name or number under which nodes reach the head; empty: 127.0.0.1 in "
                       "topology local, else this host's name."));
  k.push_back(integer_key("cluster.head.port", AT(head.port), between(0, 65535),
                          "Port of the head; 0: any."));
  k.push_back(integer_key("cluster.head.generators", AT(head.seats.generators), at_least(0),
                          "Generators of the head's own process."));
  k.push_back(integer_key("cluster.head.tracers", AT(head.seats.tracers), at_least(0),
                          "Tracers of the head's own process."));
  k.push_back(integer_key("cluster.head.builders", AT(head.seats.builders), at_least(0),
                          "Preference builders of the head's own process."));
  k.push_back(text_key("cluster.ssh.user", AT(ssh.user), "User on the hosts; empty: ssh's own."));
  k.push_back(integer_key("cluster.ssh.port", AT(ssh.port), between(0, 65535),
                          "Port of sshd; 0: ssh's own."));
  k.push_back(list_key("cluster.ssh.options", AT(ssh.options), "a list of texts", {},
                       "Words for ssh, e.g. [\"-i\", \"/home/me/key\"]."));
  k.push_back(integer_key("cluster.ssh.connect_seconds", AT(ssh.connect_seconds), at_least(1),
                          "Seconds for ssh to connect."));
  k.push_back(list_key("cluster.slurm.options", AT(slurm_options), "a list of texts", {},
                       "Words for srun, e.g. [\"--gres=gpu:1\"]."));
  k.push_back(list_key("cluster.slurm.job_options", AT(slurm_job_options), "a list of texts", {},
                       "Words for sbatch, for a launch outside an allocation, e.g. "
                       "[\"--partition=gpu\", \"--nodes=2\", \"--time=4:00:00\"]."));
}

#undef AT
#undef OF

}  // namespace tracewise
