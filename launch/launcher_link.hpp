// A node's side of the pipe to its launcher: the envelope, then orders, then an end that means that
// the launcher is gone.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "launch/envelope.hpp"
#include "messages/waits.hpp"

namespace tracewise {

class LauncherLink {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Reads the envelope from `fd`, at most 16 MiB. kDeadline: none was there within `limit`.
  // kBadInput: it is none, or the input ended before it.
  [[nodiscard]] static Result<NodeEnvelope> read_envelope(int fd, std::chrono::milliseconds limit);

  // Starts a thread that reads orders from `fd` as long as the process lives. Once the input ends
  // it asks for a stop, and `orphan_limit` later ends the process with code 130: nobody is left to
  // wait for it.
  LauncherLink(int fd, std::chrono::milliseconds orphan_limit);
  LauncherLink(const LauncherLink&) = delete;
  LauncherLink& operator=(const LauncherLink&) = delete;

  // By an order, or because the launcher is gone.
  std::stop_token stop() const { return news_->stop.get_token(); }

  // Blocks until the launcher says where the head is. kDeadline, or kCancelled after a stop.
  [[nodiscard]] Result<HeadAddress> wait_head(std::chrono::milliseconds limit);

 private:
  struct News {
    std::stop_source stop;
    std::mutex mutex;
    Condition changed;
    std::optional<HeadAddress> head;
  };
  static void read(News& news, int fd, std::chrono::milliseconds orphan_limit);

  std::shared_ptr<News> news_ = std::make_shared<News>();  // shared with the thread
};

}  // namespace tracewise
