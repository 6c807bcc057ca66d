// A launch of the real binary, its processes, and what it has written so far.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/integration/small_task.hpp"
#include "tests/process_tree.hpp"

namespace tracewise {

// The words of task.train(), over the nodes that `sets` places; the schedule is one that knows no
// last step.
inline Words launch_words(const Task& task, const std::string& name, const Words& sets) {
  Words all = {"run.generators=1", "optimizer.schedule=constant", "cluster.topology=local",
               "cluster.head.tracers=0"};
  all.insert(all.end(), sets.begin(), sets.end());
  Words words = task.train(name, all);
  words[1] = "launch";
  return words;
}

inline size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class LaunchedRun {
 public:
  LaunchedRun(const Task& task, const std::string& name, const Words& words)
      : root_(task / name), process_(words, task / (name + "-launch")) {}

  const std::filesystem::path& root() const { return root_; }
  Process& process() { return process_; }

  long steps() const {
    const std::string metrics = slurp(root_ / "metrics.jsonl");
    return std::count(metrics.begin(), metrics.end(), '\n');
  }
  bool reaches(long step) {
    return wait_until([&] { return steps() >= step; });
  }
  // What the launcher said, and the head's account of its nodes.
  std::string events() const { return process_.out() + process_.err(); }
  std::string node_log() const { return slurp(root_ / "logs/node.log"); }
  bool logs(const std::string& text, size_t times = 1) const {
    return wait_until([&] { return count_of(node_log(), text) >= times; });
  }
  std::string all_logs() const {
    std::string text = events();
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(root_ / "logs", failure))
      text += "\n--- " + entry.path().filename().string() + "\n" + slurp(entry.path());
    return text;
  }

  pid_t head() const { return std::atoi(slurp(root_ / "lock").c_str()); }
  // All processes, in the order of their start: first the nodes by name, last the head.
  std::vector<ProcessMark> processes() const {
    std::vector<ProcessMark> found = descendants(process_.pid());
    std::sort(found.begin(), found.end(), [](const ProcessMark& a, const ProcessMark& b) {
      return std::pair(std::stoull(a.begun), a.pid) < std::pair(std::stoull(b.begun), b.pid);
    });
    return found;
  }

 private:
  std::filesystem::path root_;
  Process process_;
};

}  // namespace tracewise
