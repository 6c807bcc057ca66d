// What the facts about a host mean for the run, and what to do about them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launch/doctor/doctor.hpp"

namespace tracewise {

enum class Level : uint8_t { kOk, kWarn, kFail };
const char* to_string(Level level);  // "ok", "warn", "FAIL"

struct Finding {
  std::string host;
  std::string check;
  Level level = Level::kOk;
  std::string found;
  std::string fix;  // a sentence, where the level is not kOk
};

// What the run needs, told from its config.
struct Needs {
  std::string build;  // of this binary
  uint32_t protocol = 0;
  size_t nodes = 0;                       // of the whole run
  uint32_t engine_threads = 1;            // of a generator whose node says none
  bool in_turns = true;                   // generators and the learner never compute at once
  uint32_t learner_threads = 1;           // on the head
  std::map<std::string, int64_t> memory;  // bytes, by node; empty: the model cannot be read here
  int64_t checkpoint_bytes = 0;
  uint64_t checkpoints = 1;  // kept, and the one that is being written
  bool ssh = false;
};

// All findings of all hosts, in the order of hosts. `hosts` were visited.
std::vector<Finding> judge(const std::vector<HostVisit>& hosts, const Needs& needs);

bool has_failure(const std::vector<Finding>& findings);

// A table, and below it a sentence for whatever is not ok.
std::string findings_table(const std::vector<Finding>& findings);
std::string findings_json(const std::vector<Finding>& findings);

}  // namespace tracewise
