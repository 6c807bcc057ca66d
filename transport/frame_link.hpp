// A connection that carries frames of one length each way and never blocks its thread.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "transport/tls.hpp"

namespace tracewise {

// Not thread-safe. After an error the connection is of no use any more.
class FrameLink {
 public:
  // Reads frames of `frame_bytes` each.
  FrameLink(std::unique_ptr<TlsStream> stream, size_t frame_bytes);

  // The next whole frame if it is here, good until the next call; empty: not yet. kIo: the
  // connection ended.
  [[nodiscard]] Result<std::span<const std::byte>> read();

  // Sends a frame, or keeps what the socket doesn't take until flush() can send it. kResource: the
  // other side has read nothing for kMaxUnsentBytes.
  [[nodiscard]] Result<void> write(std::span<const std::byte> frame);
  [[nodiscard]] Result<void> flush();

  int fd() const { return stream_->fd(); }
  short events() const;  // to poll fd() for; anything that comes: flush() and read()
  const std::string& peer() const { return stream_->peer(); }
  void say_goodbye() { stream_->shut_down(); }

  static constexpr size_t kMaxUnsentBytes = size_t{64} << 10;

 private:
  const std::unique_ptr<TlsStream> stream_;
  std::vector<std::byte> frame_;
  size_t here_ = 0;  // of the frame that is being read
  std::deque<std::byte> unsent_;
};

}  // namespace tracewise
