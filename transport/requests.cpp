#include "transport/requests.hpp"

#include <array>
#include <deque>
#include <mutex>
#include <span>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "messages/waits.hpp"

namespace tracewise {
namespace {

constexpr size_t kPrefixBytes = 4;
constexpr size_t kMaxBytes = size_t{16} << 20;

Result<void> write_text(TlsStream& stream, const std::string& text, TimePoint deadline,
                        int stop_fd) {
  TW_CHECK(text.size() <= kMaxBytes, "requests and answers are small");
  std::string frame;
  for (size_t i = 0; i < kPrefixBytes; ++i)
    frame.push_back(static_cast<char>((text.size() >> (8 * i)) & 0xff));
  frame += text;
  return write_all(stream, std::as_bytes(std::span(frame)), deadline, stop_fd);
}

Result<std::string> read_text(TlsStream& stream, TimePoint deadline, int stop_fd) {
  std::array<std::byte, kPrefixBytes> prefix;
  TW_TRY(read_exactly(stream, prefix, deadline, stop_fd));
  size_t bytes = 0;
  for (size_t i = 0; i < kPrefixBytes; ++i) bytes |= static_cast<size_t>(prefix[i]) << (8 * i);
  if (bytes > kMaxBytes) {
    return corrupt("a text of " + std::to_string(bytes) + " bytes exceeds the limit of " +
                   std::to_string(kMaxBytes));
  }
  std::string text(bytes, '\0');
  TW_TRY(read_exactly(stream, std::as_writable_bytes(std::span(text)), deadline, stop_fd));
  return text;
}

}  // namespace

class RequestServer::Impl {
 public:
  Impl(Answer answer, const RequestServerOptions& options)
      : answer_(std::move(answer)), options_(options) {}

  void begin() {
    thread_ = std::jthread([this](const std::stop_token& stop) {
      const NamedThread named("requests");
      run(stop);
    });
  }

  void take(std::unique_ptr<TlsStream> stream) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= options_.max_waiting) return;
    waiting_.push_back(std::move(stream));
    changed_.notify_one();
  }

 private:
  void run(const std::stop_token& stop) {
    const StopSignal signal(stop);
    while (auto stream = next(stop)) serve(*stream, signal.fd());
  }

  // Null once a stop is requested.
  std::unique_ptr<TlsStream> next(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!Wait("requests").on(changed_, lock, stop, [this] { return !waiting_.empty(); }))
      return nullptr;
    if (stop.stop_requested()) return nullptr;
    auto stream = std::move(waiting_.front());
    waiting_.pop_front();
    return stream;
  }

  TimePoint deadline() const {
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.request_ms);
  }

  // Whoever does not ask, or takes no answer, is gone or slow: that is their own loss.
  void serve(TlsStream& stream, int stop_fd) const {
    const auto request = read_text(stream, deadline(), stop_fd);
    if (!request.ok()) return;
    const std::string answer = answer_(*request, stream.peer());
    if (write_text(stream, answer, deadline(), stop_fd).ok()) stream.shut_down();
  }

  const Answer answer_;
  const RequestServerOptions options_;
  std::mutex mutex_;
  Condition changed_;
  std::deque<std::unique_ptr<TlsStream>> waiting_;
  std::jthread thread_;  // last: it uses the others
};

Result<std::unique_ptr<RequestServer>> RequestServer::start(Answer answer,
                                                            const RequestServerOptions& options) {
  auto impl = std::make_unique<Impl>(std::move(answer), options);
  try {
    impl->begin();
  } catch (const std::system_error& failure) {
    return Error{ErrorClass::kResource, std::string("no thread for requests: ") + failure.what()};
  }
  return std::unique_ptr<RequestServer>(new RequestServer(std::move(impl)));
}

RequestServer::RequestServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RequestServer::~RequestServer() = default;

void RequestServer::take(std::unique_ptr<TlsStream> stream) { impl_->take(std::move(stream)); }

Result<std::string> ask(TlsStream& stream, const std::string& request, TimePoint deadline) {
  TW_TRY(write_text(stream, request, deadline, -1));
  return read_text(stream, deadline, -1);
}

}  // namespace tracewise
