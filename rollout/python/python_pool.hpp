// Some Python processes of the same kind, of which any thread may take a free one.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "messages/waits.hpp"
#include "rollout/python/python_process.hpp"

namespace tracewise {

class PythonPool {
 public:
  // `processes` >= 1 is how many calls run side by side. None is started yet.
  PythonPool(const PythonOptions& options, uint32_t processes);

  // Starts one, so that what is wrong with the setup is known before the first call.
  [[nodiscard]] Result<void> start();

  // PythonProcess::call() of a free process. kDeadline, too, if none becomes free within `limit`.
  [[nodiscard]] Result<std::string> call(std::string_view request, std::chrono::milliseconds limit);

  // Ends the calls that run, and every later one, with kCancelled. Any thread.
  void abort();

 private:
  std::vector<std::unique_ptr<PythonProcess>> processes_;
  std::mutex mutex_;  // of what follows
  Condition freed_;
  std::vector<PythonProcess*> free_;  // that was used last stands last, and is used first
};

}  // namespace tracewise
