#include "launch/placement.hpp"

#include <algorithm>
#include <utility>

#include "launch/weights_placement.hpp"

namespace tracewise {
namespace {

// Without a terminal, a password prompt or a shared connection, whose master would outlive the run.
// A host that is silent for 15 s is given up.
std::vector<std::string> ssh_words(const SshOptions& ssh, const std::string& host,
                                   const std::vector<std::string>& program) {
  std::vector<std::string> words = {"ssh", "-T"};
  for (const std::string& option :
       {std::string("BatchMode=yes"), "ConnectTimeout=" + std::to_string(ssh.connect_seconds),
        std::string("ServerAliveInterval=5"), std::string("ServerAliveCountMax=3"),
        std::string("ControlMaster=no"), std::string("ControlPath=none")}) {
    words.insert(words.end(), {"-o", option});
  }
  words.insert(words.end(), ssh.options.begin(), ssh.options.end());
  if (!ssh.user.empty()) words.insert(words.end(), {"-l", ssh.user});
  if (ssh.port != 0) words.insert(words.end(), {"-p", std::to_string(ssh.port)});
  std::string command = "exec";
  for (const std::string& word : program_words(program.front())) command += " " + word;
  for (size_t i = 1; i < program.size(); ++i) command += " " + shell_word(program[i]);
  words.insert(words.end(), {"--", host, command});
  return words;
}

std::vector<std::string> srun_words(const std::vector<std::string>& options,
                                    const std::string& host,
                                    const std::vector<std::string>& program) {
  std::vector<std::string> words = {"srun", "--nodes=1", "--ntasks=1", "--overlap", "--unbuffered"};
  if (!host.empty()) words.push_back("--nodelist=" + host);
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), program.begin(), program.end());
  return words;
}

std::vector<std::string> program(const std::string& binary, const LaunchHost& here) {
  std::vector<std::string> words = {binary};
  words.insert(words.end(), here.command.begin(), here.command.end());
  return words;
}

PlacedNode place_head(const ClusterOptions& cluster, const LaunchHost& here) {
  PlacedNode head;
  head.name = kHeadName;
  const bool local = cluster.topology == Topology::kLocal;
  head.host = local ? "127.0.0.1" : here.host_name;
  head.reached_as = cluster.head.host.empty() ? head.host : cluster.head.host;
  head.argv = program(here.binary, here);
  head.seats = cluster.head.seats;
  head.door = door_of(cluster, cluster.head.port);
  return head;
}

PlacedNode place_node(const ClusterOptions& cluster, const NodeSpec& spec, const LaunchHost& here) {
  const auto there = program(cluster.binary.empty() ? here.binary : cluster.binary, here);
  PlacedNode node;
  node.name = spec.name;
  node.host = spec.host;
  node.seats = spec.seats;
  node.devices = spec.devices;
  node.threads = spec.threads;
  node.rank_device = spec.rank_device;
  node.door = door_of(cluster, spec.port);
  switch (cluster.topology) {
    case Topology::kInProcess:
      break;
    case Topology::kLocal:
      if (node.host.empty()) node.host = "127.0.0.1";
      node.argv = program(here.binary, here);
      break;
    case Topology::kSsh:
      node.argv = ssh_words(cluster.ssh, spec.host, there);
      break;
    case Topology::kSlurm:
      node.argv = srun_words(cluster.slurm_options, spec.host, there);
      break;
  }
  node.reached_as = node.host;
  return node;
}

}  // namespace

DoorOptions door_of(const ClusterOptions& cluster, uint16_t port) {
  DoorOptions door;
  door.address = !cluster.address.empty()               ? cluster.address
                 : cluster.topology == Topology::kLocal ? "127.0.0.1"
                                                        : "0.0.0.0";
  door.port = port;
  door.fixed_port = port != 0;
  return door;
}

// See ./tracewise for the values.
std::vector<std::string> program_words(const std::string& binary) {
  return {"env", "OMP_WAIT_POLICY=passive", "GOMP_SPINCOUNT=10000", shell_word(binary)};
}

std::string shell_word(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_./=:,@%+").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::ranges::all_of(word, plain)) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Result<Placement> place(const Config& config, const LaunchHost& here) {
  const ClusterOptions& cluster = config.cluster;
  if (cluster.topology == Topology::kInProcess) {
    return bad_input(
        "cluster.topology = \"in_process\": tracewise train runs it; launch starts several "
        "processes, by topology local, ssh or slurm");
  }
  Placement placement;
  placement.nodes.push_back(place_head(cluster, here));
  for (const NodeSpec& spec : cluster.nodes)
    placement.nodes.push_back(place_node(cluster, spec, here));
  place_weights(config, placement);
  return placement;
}

}  // namespace tracewise
