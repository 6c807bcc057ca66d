// Whom a door turned away, and why: counted all, told at most five a second, so that nobody can
// flood the log.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "transport/socket.hpp"

namespace tracewise {

// What ended a connection before a handler had it.
enum class Refusal : uint8_t {
  kTls,         // not TLS 1.3, or no certificate of this run
  kHello,       // no hello, or one of another build, run, config or name
  kChannel,     // nobody serves the channel
  kLeft,        // the other side ended it
  kTimedOut,    // not done within handshake_ms
  kEvicted,     // had to make room for a newer one
  kNoResource,  // the system gave no descriptor; it may wait in the listen queue
};
inline constexpr size_t kRefusals = 7;

const char* to_string(Refusal refusal);  // "tls", "hello", ...

struct DoorCounters {
  uint64_t accepted = 0;  // handed to a handler
  std::array<uint64_t, kRefusals> refused{};
  uint64_t of(Refusal refusal) const { return refused[static_cast<size_t>(refusal)]; }
};

// A refusal for the log.
struct RefusalReport {
  Refusal why = Refusal::kTls;
  std::string from;      // "10.0.0.7:4001"; empty where nobody came in
  std::string sentence;  // what was wrong
  uint64_t untold = 0;   // refusals since the last report that were not told
};

// The door's own book. One thread adds, any thread asks for the counters.
class RefusalBook {
 public:
  using Report = std::function<void(const RefusalReport&)>;

  explicit RefusalBook(Report report) : report_(std::move(report)) {}

  void add_accepted() { ++accepted_; }
  // Tells before it counts: who sees the counter go up finds the report told.
  void add(Refusal why, const std::string& from, const std::string& sentence, TimePoint now);
  DoorCounters counters() const;

 private:
  void tell(Refusal why, const std::string& from, const std::string& sentence, TimePoint now);

  const Report report_;  // may be empty
  TimePoint second_began_;
  uint64_t told_ = 0;    // in that second
  uint64_t untold_ = 0;  // since the last report
  std::atomic<uint64_t> accepted_{0};
  std::array<std::atomic<uint64_t>, kRefusals> refused_{};
};

}  // namespace tracewise
