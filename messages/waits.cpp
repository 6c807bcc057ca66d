#include "messages/waits.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

namespace tracewise {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Waits::TimePoint from, Waits::TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

// The threads of the process that have waited or have a name.
class ThreadBook {
 public:
  std::shared_ptr<Waits> enlist(std::string name, bool named) {
    auto waits = std::make_shared<Waits>();
    const std::lock_guard lock(mutex_);
    std::erase_if(threads_, [](const Thread& thread) { return thread.waits.expired(); });
    threads_.push_back({std::move(name), named, waits});
    return waits;
  }

  std::vector<ThreadStatus> status(Waits::TimePoint now) const {
    const std::lock_guard lock(mutex_);
    std::vector<ThreadStatus> all;
    for (const Thread& thread : threads_) {
      const auto waits = thread.waits.lock();
      if (waits == nullptr || waits->idle()) continue;
      ThreadStatus status{thread.name, waits->status(now)};
      if (thread.named || !status.waits.empty()) all.push_back(std::move(status));
    }
    return all;
  }

 private:
  struct Thread {
    std::string name;
    bool named;
    std::weak_ptr<Waits> waits;  // the thread's own
  };
  mutable std::mutex mutex_;
  std::vector<Thread> threads_;
};

// Never destroyed: threads that nobody waits for may outlive main().
ThreadBook& book() {
  static auto* const book = new ThreadBook();
  return *book;
}

thread_local std::shared_ptr<Waits> current_waits;

const std::shared_ptr<Waits>& waits_of_this_thread() {
  if (current_waits == nullptr)
    current_waits = book().enlist("thread " + std::to_string(::syscall(SYS_gettid)), false);
  return current_waits;
}

}  // namespace

void Waits::begin(std::string_view what, std::string_view who, TimePoint since, TimePoint until) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.number != 0 || entry.what != what) continue;
    entry.who = who;
    entry.since = since;
    entry.until = until;
    return;
  }
  entries_.push_back({0, std::string(what), std::string(who), since, until});
}

std::optional<Waits::Ended> Waits::end(std::string_view what) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.number == 0 && entry.what == what; });
  if (found == entries_.end()) return {};
  Ended ended{std::move(found->who), found->since};
  entries_.erase(found);
  return ended;
}

uint64_t Waits::push(std::string_view what, std::string_view who, TimePoint since,
                     TimePoint until) {
  const std::lock_guard lock(mutex_);
  entries_.push_back({++last_number_, std::string(what), std::string(who), since, until});
  return last_number_;
}

void Waits::pop(uint64_t number) {
  const std::lock_guard lock(mutex_);
  // Nearly always the newest.
  const auto found = std::find_if(entries_.rbegin(), entries_.rend(),
                                  [&](const Entry& entry) { return entry.number == number; });
  if (found != entries_.rend()) entries_.erase(std::next(found).base());
}

std::vector<WaitStatus> Waits::status(TimePoint now) const {
  const std::lock_guard lock(mutex_);
  std::vector<WaitStatus> all;
  for (const Entry& entry : entries_) {
    if (entry.until == TimePoint::max()) continue;
    all.push_back({entry.who, entry.what, seconds_between(entry.since, now),
                   seconds_between(now, entry.until)});
  }
  std::ranges::stable_sort(all, {}, &WaitStatus::what);
  return all;
}

bool Waits::idle() const {
  const std::lock_guard lock(mutex_);
  return !entries_.empty() && std::ranges::all_of(entries_, [](const Entry& entry) {
    return entry.until == TimePoint::max();
  });
}

Wait::Wait(std::string_view what, std::string_view who, TimePoint until)
    : waits_(waits_of_this_thread()),
      until_(until),
      number_(waits_->push(what, who, Clock::now(), until)) {}

Wait::~Wait() { waits_->pop(number_); }

int Wait::poll(std::span<pollfd> descriptors) const {
  int limit = -1;
  if (until_ != kNoDeadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until_ - Clock::now()).count();
    limit = static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
  }
  return ::poll(descriptors.data(), descriptors.size(), limit);
}

void Wait::sleep() const { std::this_thread::sleep_until(until_); }

WaitsScope::WaitsScope(std::shared_ptr<Waits> waits)
    : before_(std::exchange(current_waits, std::move(waits))) {}

WaitsScope::~WaitsScope() { current_waits = std::move(before_); }

void name_this_thread(const std::string& name) {
  constexpr size_t kLongest = 15;
  ::pthread_setname_np(::pthread_self(), name.substr(0, kLongest).c_str());
}

NamedThread::NamedThread(const std::string& name) : scope_(book().enlist(name, true)) {
  name_this_thread(name);
}

std::vector<ThreadStatus> thread_status(Waits::TimePoint now) { return book().status(now); }

}  // namespace tracewise
