#include "rollout/python/python_pool.hpp"

#include "messages/check.hpp"
#include "messages/waits.hpp"

namespace tracewise {

PythonPool::PythonPool(const PythonOptions& options, uint32_t processes) {
  TW_CHECK(processes >= 1, "a pool without processes");
  for (uint32_t i = 0; i < processes; ++i) {
    processes_.push_back(std::make_unique<PythonProcess>(options));
    free_.push_back(processes_.back().get());
  }
}

Result<void> PythonPool::start() { return processes_.back()->start(); }

Result<std::string> PythonPool::call(std::string_view request, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + limit;
  if (!Wait("a free one", "the Python processes", until).on(freed_, lock, [this] {
        return !free_.empty();
      })) {
    return Error{ErrorClass::kDeadline,
                 "no Python process was free within " + std::to_string(limit.count()) + " ms"};
  }
  PythonProcess* const process = free_.back();
  free_.pop_back();
  lock.unlock();
  auto reply = process->call(request, limit);
  lock.lock();
  free_.push_back(process);
  freed_.notify_one();
  return reply;
}

void PythonPool::abort() {
  for (const auto& process : processes_) process->abort();
}

}  // namespace tracewise
