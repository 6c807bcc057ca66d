// What the doctor and its process on a host say to each other, a JSON object a line:
//
//   host   {"hello"}   it has started; which build it is
//   doctor {"ping"}    answered at once with the host's time
//   doctor {"request"} what the run wants of the host
//   host   {"report"}  what there is; its doors stay open
//   doctor {"peers"}   where the other hosts' doors are
//   host   {"reached"} which of them it gets into; it ends with its input
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "launch/placement.hpp"
#include "messages/result.hpp"
#include "transport/identity.hpp"

namespace tracewise {

// A process of the run that the host would have.
struct WantedNode {
  std::string name;
  Seats seats;
  std::vector<std::string> devices;
  std::string rank_device;  // empty: trainer.device
  DoorOptions door;
};

struct HostRequest {
  Identity identity;  // of the doctor's own authority, for its doors
  std::string run;
  std::string config;  // TOML
  std::vector<WantedNode> nodes;
  bool head = false;  // one of them is the head
};

struct HostHello {
  std::string build;
  uint32_t protocol = 0;
};

// Unix time on the host, in seconds.
struct HostTime {
  double seconds = 0;
};

struct DiskReport {
  std::string what;  // "run folder", "temporary files", "shared memory"
  std::string path;
  int64_t free_bytes = -1;  // for this user; -1: the path cannot be used
};

// Texts that say what is wrong are empty where nothing is.
struct HostReport {
  std::string host;  // as it calls itself
  uint32_t cores = 0;
  int64_t open_files = 0;  // soft limit
  int64_t memory_bytes = 0, available_bytes = 0;
  std::vector<DiskReport> disks;
  std::map<std::string, std::string> doors;  // by node: why it cannot be opened
  uint16_t door_port = 0;                    // of the first that could; 0: none could
  std::string model;                         // why it cannot be read
  bool cuda_build = false;
  int32_t cuda_devices = 0;
  std::string nccl;                            // version; empty: not in this build
  std::map<std::string, std::string> devices;  // by name, that the config asks for: why not
  std::optional<std::string> all_reduce;       // not made, or its error; empty: it was right
  std::string all_reduce_found;                // what was measured, or why it was not made
};

// Where the door of a host is.
struct HostDoor {
  std::string name;  // in its certificate
  std::string host;
  uint16_t port = 0;
};
using HostDoors = std::vector<HostDoor>;

// By name: why that door was not entered; empty: it was.
struct HostReached {
  std::map<std::string, std::string> doors;
};

struct HostPing {};

using DoctorOrder = std::variant<HostPing, HostRequest, HostDoors>;
using HostAnswer = std::variant<HostHello, HostTime, HostReport, HostReached>;

// Each with its line feed.
std::string to_line(const DoctorOrder& order);
std::string to_line(const HostAnswer& answer);

// kBadInput; never quoted, because it may hold a key.
[[nodiscard]] Result<DoctorOrder> doctor_order(std::string_view line);
// Nothing: something else on the way printed this line.
std::optional<HostAnswer> host_answer(std::string_view line);

}  // namespace tracewise
