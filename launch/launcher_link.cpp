#include "launch/launcher_link.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <thread>

#include "launch/commands/commands.hpp"
#include "messages/waits.hpp"
#include "transport/socket.hpp"

namespace tracewise {
namespace {

constexpr size_t kMaxEnvelopeBytes = size_t{16} << 20;

enum class Read { kLine, kEnd, kTooLong, kLate };

// One byte at a time, so that nothing after the line is taken from whoever reads on.
Read read_line(int fd, std::string* line, std::optional<TimePoint> deadline) {
  line->clear();
  for (;;) {
    if (deadline && !wait_readable(fd, *deadline).ok()) return Read::kLate;
    char c = 0;
    const ssize_t got = ::read(fd, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Read::kEnd;
    if (c == '\n') return Read::kLine;
    if (line->size() == kMaxEnvelopeBytes) return Read::kTooLong;
    *line += c;
  }
}

}  // namespace

Result<NodeEnvelope> LauncherLink::read_envelope(int fd, std::chrono::milliseconds limit) {
  std::string line;
  switch (read_line(fd, &line, std::chrono::steady_clock::now() + limit)) {
    case Read::kLine:
      return envelope_from_line(line);
    case Read::kLate:
      return Error{ErrorClass::kDeadline, "no envelope came on standard input within " +
                                              std::to_string(limit.count()) + " ms"};
    case Read::kEnd:
    case Read::kTooLong:
      break;
  }
  return bad_input("standard input has no launcher's envelope; tracewise launch writes it");
}

LauncherLink::LauncherLink(int fd, std::chrono::milliseconds orphan_limit) {
  std::thread([news = news_, fd, orphan_limit] { read(*news, fd, orphan_limit); }).detach();
}

void LauncherLink::read(News& news, int fd, std::chrono::milliseconds orphan_limit) {
  std::string line;
  while (read_line(fd, &line, std::nullopt) == Read::kLine) {
    const auto order = order_from_line(line);
    if (!order.ok()) {
      std::fprintf(stderr, "tracewise: %s\n", order.error().message.c_str());
      continue;
    }
    if (order->stop) news.stop.request_stop();
    const std::lock_guard lock(news.mutex);
    if (order->head) news.head = order->head;
    news.changed.notify_all();
  }
  news.stop.request_stop();
  {
    const std::lock_guard lock(news.mutex);
    news.changed.notify_all();
  }
  Wait("the end", "this node", std::chrono::steady_clock::now() + orphan_limit).sleep();
  ::_exit(kExitInterrupted);
}

Result<HeadAddress> LauncherLink::wait_head(std::chrono::milliseconds limit) {
  std::unique_lock lock(news_->mutex);
  Wait("where the head is", "the launcher", std::chrono::steady_clock::now() + limit)
      .on(news_->changed, lock, [this] { return news_->head || news_->stop.stop_requested(); });
  if (news_->head) return *news_->head;
  if (news_->stop.stop_requested())
    return Error{ErrorClass::kCancelled, "the node was told to stop"};
  return Error{ErrorClass::kDeadline, "the launcher did not say where the head is within " +
                                          std::to_string(limit.count()) +
                                          " ms (deadlines.start_ms)"};
}

}  // namespace tracewise
