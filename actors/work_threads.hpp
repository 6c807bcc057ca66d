// Threads for an actor's work that waits for others. What is done comes back to the actor.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "messages/waits.hpp"

namespace tracewise {

// `Done` is what a piece of work leaves behind. One thread owns it.
template <class Done>
class WorkThreads {
 public:
  // The threads are called `name` 1, 2, ...; `on_done` is called in their threads whenever take()
  // has something new; it neither blocks nor throws.
  WorkThreads(std::string name, uint32_t threads, std::function<void()> on_done)
      : name_(std::move(name)), on_done_(std::move(on_done)) {
    for (uint32_t i = 0; i < threads; ++i)
      threads_.emplace_back([this, i](const std::stop_token& stop) {
        const NamedThread named(name_ + " " + std::to_string(i + 1));
        run(stop);
      });
  }

  // Waits for the work that runs and forgets the rest. Who wants that to be soon aborts it first.
  ~WorkThreads() {
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();
  }
  WorkThreads(const WorkThreads&) = delete;
  WorkThreads& operator=(const WorkThreads&) = delete;

  void add(std::function<Done()> work) {
    {
      const std::lock_guard lock(mutex_);
      work_.push_back(std::move(work));
    }
    added_.notify_one();
  }

  // Blocks until take() has something, or for `limit`.
  void wait(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + limit;
    Wait("finished work", name_, until).on(ended_, lock, [this] { return !done_.empty(); });
  }

  // What has been done since the last call, in its order.
  std::vector<Done> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(done_, {});
  }

 private:
  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (next(lock, stop)) {
      if (stop.stop_requested()) return;
      const std::function<Done()> work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      Done done = work();
      lock.lock();
      done_.push_back(std::move(done));
      lock.unlock();
      ended_.notify_one();
      on_done_();
      lock.lock();
    }
  }

  // False: a stop was requested.
  bool next(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
    return Wait("work").on(added_, lock, stop, [this] { return !work_.empty(); });
  }

  const std::string name_;
  const std::function<void()> on_done_;
  std::mutex mutex_;  // of the queues
  Condition added_;
  Condition ended_;
  std::deque<std::function<Done()>> work_;
  std::vector<Done> done_;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace tracewise
