// Which process runs where, by which command: a function of the config alone.
#pragma once

#include <string>
#include <vector>

#include "launch/config.hpp"
#include "transport/door.hpp"
#include "transport/weights_way.hpp"

namespace tracewise {

// What the host that launches brings along.
struct LaunchHost {
  std::string binary;                           // of this program, absolute
  std::string host_name;                        // under which other hosts reach it
  std::vector<std::string> command = {"node"};  // words after the binary
};

struct PlacedNode {
  std::string name;
  std::string host;               // where it runs; empty: Slurm chooses
  std::string reached_as;         // by others; empty: the name that its host calls itself by
  std::vector<std::string> argv;  // that the launcher starts on its own host
  Seats seats;
  std::vector<std::string> devices;  // as in NodeSpec
  uint32_t threads = 0;              // as in NodeSpec
  std::string rank_device;           // as in NodeSpec
  DoorOptions door;
  WeightsWays weights;
};

struct Placement {
  std::vector<PlacedNode> nodes;     // the head first
  bool ranks_serve_weights = false;  // to generators, as the head does
};

// kBadInput: topology in_process has nothing to place.
[[nodiscard]] Result<Placement> place(const Config& config, const LaunchHost& here);

// The door of a process of the run; port 0: any.
DoorOptions door_of(const ClusterOptions& cluster, uint16_t port);

// `binary` as a remote shell or a job starts it, which has not the launching shell's environment;
// shell words already.
std::vector<std::string> program_words(const std::string& binary);

// A word as /bin/sh reads it back.
std::string shell_word(const std::string& word);

}  // namespace tracewise
