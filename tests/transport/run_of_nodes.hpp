// A run with its authority, and what comes to a node's door.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "transport/dial.hpp"
#include "transport/door.hpp"
#include "transport/identity.hpp"
#include "transport/socket.hpp"
#include "transport/tls.hpp"

namespace tracewise {

inline TimePoint in_ms(int ms) {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
}
inline double ms_since(TimePoint start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// A result's value; the test fails with the error's sentence where there is none.
template <class T>
T good(Result<T> result) {
  INFO((result.ok() ? std::string() : result.error().message));
  REQUIRE(result.ok());
  return std::move(result).value();
}
inline void good(const Result<void>& result) {
  INFO((result.ok() ? std::string() : result.error().message));
  REQUIRE(result.ok());
}

// Waits for what another thread brings about; false: not within 10 s.
template <class Condition>
bool eventually(Condition condition) {
  const TimePoint deadline = in_ms(10000);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class RunOfNodes {
 public:
  RunOfNodes() : authority_(good(RunAuthority::create(30))) {}
  Identity identity(const std::string& node) const { return good(authority_.issue(node, 30)); }
  TlsContext context(const std::string& node) const {
    return good(TlsContext::create(identity(node)));
  }
  static Hello hello(const std::string& node, Channel channel = Channel::kActors) {
    Hello hello;
    hello.build = "b1";
    hello.run = "run-9";
    hello.config_hash = "c0ffee";
    hello.node = node;
    hello.channel = channel;
    return hello;
  }

 private:
  RunAuthority authority_;
};

// What a door's handler was given.
class Arrivals {
 public:
  struct Arrival {
    std::unique_ptr<TlsStream> stream;
    Hello hello;
  };
  Door::Handler handler() {
    return [this](std::unique_ptr<TlsStream> stream, const Hello& hello) {
      const std::lock_guard lock(mutex_);
      arrivals_.push_back({std::move(stream), hello});
      came_.notify_all();
    };
  }
  Arrival take() {
    std::unique_lock lock(mutex_);
    REQUIRE(came_.wait_until(lock, in_ms(10000), [&] { return !arrivals_.empty(); }));
    Arrival first = std::move(arrivals_.front());
    arrivals_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Arrival> arrivals_;
};

// Node "head" with a door on loopback that serves `actors`; its reports are kept.
struct Head {
  explicit Head(const RunOfNodes& run, DoorOptions options = {}) {
    options.address = "127.0.0.1";
    door = good(Door::open(options, run.context("head"), RunOfNodes::hello("head"),
                           [this](const RefusalReport& report) {
                             const std::lock_guard lock(mutex);
                             reports.push_back(report);
                           }));
    door->serve(Channel::kActors, arrivals.handler());
  }
  uint64_t refused(Refusal why) const { return door->counters().of(why); }
  std::vector<RefusalReport> told() {
    const std::lock_guard lock(mutex);
    return reports;
  }
  Result<std::unique_ptr<TlsStream>> dialled(const TlsContext& context, const Hello& hello,
                                             const std::string& expected = "head") const {
    return dial("127.0.0.1", door->port(), context, hello, expected, in_ms(5000));
  }

  std::mutex mutex;
  std::vector<RefusalReport> reports;
  Arrivals arrivals;
  std::unique_ptr<Door> door;  // last: its thread uses the others
};

// A plain TCP connection to loopback, without a word.
inline Fd plain_connection(uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = numeric_address("127.0.0.1", port);
  REQUIRE(fd);
  REQUIRE(::connect(fd.get(), address->get(), address->length) == 0);
  return fd;
}

// Whether the other side ends the connection, within 10 s; what it says before is dropped.
inline bool is_ended(const Fd& fd) {
  const TimePoint deadline = in_ms(10000);
  char buffer[4096];
  for (;;) {
    if (!wait_readable(fd.get(), deadline).ok()) return false;
    if (::recv(fd.get(), buffer, sizeof buffer, 0) <= 0) return true;
  }
}

// `size` bytes that depend on `seed` and their place.
inline std::vector<std::byte> pattern(size_t size, uint32_t seed) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

// Writes `out` and reads as many bytes at the same time, as an event loop does. The bytes read;
// fewer if the connection failed or `deadline` came.
inline std::vector<std::byte> exchange(TlsStream& stream, std::span<const std::byte> out,
                                       TimePoint deadline) {
  std::vector<std::byte> in(out.size());
  size_t got = 0;
  while (!out.empty() || got < in.size()) {
    size_t moved = 0;
    if (!out.empty()) {
      const TlsStep step = stream.write_some(out);
      if (step.state >= TlsStep::State::kClosed) break;
      out = out.subspan(step.bytes);
      moved += step.bytes;
    }
    if (got < in.size()) {
      const TlsStep step = stream.read_some(std::span(in).subspan(got));
      if (step.state >= TlsStep::State::kClosed) break;
      got += step.bytes;
      moved += step.bytes;
    }
    if (moved > 0) continue;
    const int events = (out.empty() ? 0 : POLLOUT) | (got < in.size() ? POLLIN : 0);
    pollfd wait{stream.fd(), static_cast<short>(events), 0};
    if (::poll(&wait, 1, poll_timeout_ms(deadline)) <= 0) break;
  }
  in.resize(got);
  return in;
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace tracewise
