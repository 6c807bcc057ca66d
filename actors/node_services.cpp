#include "actors/node_services.hpp"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "messages/waits.hpp"

namespace tracewise {

struct NodeLog::Impl {
  explicit Impl(const std::string& file)
      : logger("node", std::make_shared<spdlog::sinks::basic_file_sink_mt>(file)) {
    logger.set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
    logger.flush_on(spdlog::level::info);
  }
  spdlog::logger logger;
};

NodeLog::NodeLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeLog::~NodeLog() = default;

Result<std::unique_ptr<NodeLog>> NodeLog::open(const std::filesystem::path& file) {
  try {
    return std::unique_ptr<NodeLog>(new NodeLog(std::make_unique<Impl>(file.string())));
  } catch (const spdlog::spdlog_ex& failure) {
    return io_error(file.string() + ": " + failure.what());
  }
}

void NodeLog::info(std::string_view line) { impl_->logger.info(line); }
void NodeLog::warn(std::string_view line) { impl_->logger.warn(line); }

void NodeInbox::post_end(Result<RunSummary> end) {
  const std::lock_guard lock(mutex_);
  if (!end_) end_ = std::move(end);
  changed_.notify_all();
}

void NodeInbox::post_progress(Progress progress) {
  const std::lock_guard lock(mutex_);
  progress_ = std::move(progress);
  changed_.notify_all();
}

void NodeInbox::post_ready() {
  const std::lock_guard lock(mutex_);
  ready_ = woken_ = true;
  changed_.notify_all();
}

bool NodeInbox::ready() const {
  const std::lock_guard lock(mutex_);
  return ready_;
}

void NodeInbox::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

std::optional<Result<RunSummary>> NodeInbox::wait(std::chrono::steady_clock::time_point until,
                                                  std::optional<Progress>* progress) {
  std::unique_lock lock(mutex_);
  Wait("news of the run", "the run", until).on(changed_, lock, [this] {
    return end_ || progress_ || woken_;
  });
  woken_ = false;
  *progress = std::exchange(progress_, std::nullopt);
  return end_;
}

void ExitGate::enter() {
  const std::lock_guard lock(mutex_);
  ++inside_;
}

void ExitGate::leave() {
  const std::lock_guard lock(mutex_);
  --inside_;
  changed_.notify_all();
}

bool ExitGate::wait_empty(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(mutex_);
  return Wait("the end of the actors", "the node", until).on(changed_, lock, [this] {
    return inside_ == 0;
  });
}

void NodeServices::tell(EventKind kind, std::string_view who, const std::string& line) {
  log->warn(line);
  if (on_event) on_event(line);
  if (events) events->add(kind, who, line);
}

void NodeServices::note(EventKind kind, std::string_view who, const std::string& line) {
  log->info(std::string(who) + ": " + line);
  if (events) events->add(kind, who, line);
}

}  // namespace tracewise
