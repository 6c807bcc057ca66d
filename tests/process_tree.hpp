// Who descends from a process, told from /proc, so that a test can count who is left of it.
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace tracewise {

// A process among all that ever have its number.
struct ProcessMark {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = 0;     // 'Z': ended, not yet waited for
  std::string begun;  // in clock ticks since the machine's start
};

// Field 3 and on of /proc/PID/stat; pid 0 if it is gone.
inline ProcessMark process_mark(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const auto name_end = text.rfind(')');  // a name may hold anything
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 2));
  ProcessMark mark{pid, 0, 0, {}};
  fields >> mark.state >> mark.parent;
  for (int field = 5; field <= 22; ++field) fields >> mark.begun;
  return mark;
}

inline std::vector<ProcessMark> descendants(pid_t root) {
  std::multimap<pid_t, ProcessMark> by_parent;
  DIR* proc = ::opendir("/proc");
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0) continue;
    const ProcessMark mark = process_mark(pid);
    if (mark.pid != 0) by_parent.emplace(mark.parent, mark);
  }
  ::closedir(proc);
  std::vector<ProcessMark> found;
  std::vector<pid_t> open = {root};
  while (!open.empty()) {
    const auto [begin, end] = by_parent.equal_range(open.back());
    open.pop_back();
    for (auto child = begin; child != end; ++child) {
      found.push_back(child->second);
      open.push_back(child->second.pid);
    }
  }
  return found;
}

// Neither gone nor merely waiting to be waited for.
inline bool is_alive(const ProcessMark& mark) {
  const ProcessMark now = process_mark(mark.pid);
  return now.pid != 0 && now.begun == mark.begun && now.state != 'Z';
}

inline size_t count_alive(const std::vector<ProcessMark>& marks) {
  size_t alive = 0;
  for (const ProcessMark& mark : marks) alive += is_alive(mark) ? 1 : 0;
  return alive;
}

}  // namespace tracewise
