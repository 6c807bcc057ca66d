#include "bench/message_node.hpp"

#include <unistd.h>

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <utility>

#include "actors/gateway.hpp"
#include "actors/node_config.hpp"
#include "actors/wire.hpp"
#include "bench/bench.hpp"
#include "launch/launcher_link.hpp"
#include "launch/stderr_pipe.hpp"

namespace tracewise::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::minutes kEnvelopeLimit{1};
constexpr std::chrono::seconds kOrphanLimit{5};

caf::behavior give_back(caf::event_based_actor* self) {
  return {[self](uint32_t slot, std::vector<Rollout>& rollouts) {
    self->send(caf::actor_cast<caf::actor>(self->current_sender()), slot, std::move(rollouts));
  }};
}

// What exchange() asks of the actor that sends, and hears of it.
struct Exchanging {
  caf::actor peer;
  Rollout rollout;
  int outstanding;
  TimePoint start, until;
  std::promise<Result<Exchange>> end;
};

// Sends rollouts to a peer and each that comes back again.
class Sender : public caf::event_based_actor {
 public:
  Sender(caf::actor_config& config, std::shared_ptr<Exchanging> order)
      : event_based_actor(config), order_(std::move(order)) {}

  caf::behavior make_behavior() override {
    set_down_handler([this](caf::down_msg&) { finish(io_error("the node that echoes is gone")); });
    monitor(order_->peer);
    order_->start = SteadyClock::now();
    const auto slots = static_cast<uint32_t>(order_->outstanding);
    sent_.resize(slots);
    for (uint32_t slot = 0; slot < slots; ++slot) dispatch(slot, {order_->rollout});
    return {[this](uint32_t slot, std::vector<Rollout>& rollouts) {
      const TimePoint now = SteadyClock::now();
      if (now < order_->until || trips_.empty()) {
        trips_.push_back(1e6 * std::chrono::duration<double>(now - sent_.at(slot)).count());
        seconds_ = std::chrono::duration<double>(now - order_->start).count();
        dispatch(slot, std::move(rollouts));
        return;
      }
      // It has made the way as often as any: whatever went wrong on it is still to be seen.
      if (rollouts != std::vector<Rollout>{order_->rollout}) {
        finish(corrupt("a rollout came back that differs from what was sent"));
      } else if (++home_ == sent_.size()) {
        finish(Exchange{static_cast<double>(trips_.size()) / seconds_, percentile(trips_, 0.5),
                        percentile(trips_, 0.99)});
      }
    }};
  }

 private:
  void dispatch(uint32_t slot, std::vector<Rollout> rollouts) {
    sent_[slot] = SteadyClock::now();
    send(order_->peer, slot, std::move(rollouts));
  }

  void finish(Result<Exchange> end) {
    if (std::exchange(over_, true)) return;
    order_->end.set_value(std::move(end));
    order_->peer = nullptr;
    quit();
  }

  std::shared_ptr<Exchanging> order_;  // shared with exchange(), which may give up waiting
  std::vector<TimePoint> sent_;        // by slot
  std::vector<double> trips_;          // microseconds
  double seconds_ = 0;                 // from the first one's start to the last one's end
  size_t home_ = 0;                    // slots that are not sent again
  bool over_ = false;
};

}  // namespace

class MessageNode::Impl {
 public:
  explicit Impl(const MembershipOptions& membership) { use_links(config_, membership); }
  ~Impl() {
    if (gateway_ != nullptr) gateway_->withdraw();
    if (echo_) caf::anon_send_exit(echo_, caf::exit_reason::user_shutdown);
  }

  Result<void> open(const NodeSetup& setup, const std::filesystem::path& log) {
    TW_ASSIGN(log_, NodeLog::open(log));
    system_ = std::make_unique<caf::actor_system>(config_);
    TW_ASSIGN(auto gateway, Gateway::open(setup, log_));
    gateway_ = std::move(gateway);
    echo_ = system_->spawn(give_back);
    gateway_->serve(*system_, caf::actor_cast<caf::strong_actor_ptr>(echo_));
    return {};
  }

  NodeAddress address() const { return gateway_->address(); }

  Result<void> reach(const NodeAddress& node, TimePoint deadline) {
    TW_ASSIGN(const caf::strong_actor_ptr front, gateway_->reach(node, deadline, {}));
    if (front == nullptr) return io_error("node " + node.name + " has nobody to talk to");
    peer_ = caf::actor_cast<caf::actor>(front);
    return {};
  }

  Result<Exchange> exchange(const Rollout& rollout, int outstanding, double seconds,
                            TimePoint deadline) {
    TW_CHECK(outstanding >= 1 && peer_, "reach() comes first, and something must be under way");
    auto order = std::make_shared<Exchanging>();
    order->peer = peer_;
    order->rollout = rollout;
    order->outstanding = outstanding;
    order->until = SteadyClock::now() + std::chrono::duration_cast<SteadyClock::duration>(
                                            std::chrono::duration<double>(seconds));
    std::future<Result<Exchange>> end = order->end.get_future();
    sender_ = system_->spawn<Sender>(order);
    const bool in_time = end.wait_until(deadline) == std::future_status::ready;
    if (!in_time) caf::anon_send_exit(sender_, caf::exit_reason::user_shutdown);
    sender_ = nullptr;
    if (in_time) return end.get();
    return Error{ErrorClass::kDeadline, "the node that echoes did not answer in time"};
  }

 private:
  NodeConfig config_;
  std::shared_ptr<NodeLog> log_;  // shared with the gateway
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<Gateway> gateway_;
  caf::actor peer_, sender_, echo_;
};

MessageNode::MessageNode(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MessageNode::~MessageNode() = default;

Result<std::unique_ptr<MessageNode>> MessageNode::open(const NodeSetup& setup,
                                                       const std::filesystem::path& log) {
  auto impl = std::make_unique<Impl>(setup.membership);
  TW_TRY(impl->open(setup, log));
  return std::unique_ptr<MessageNode>(new MessageNode(std::move(impl)));
}

NodeAddress MessageNode::address() const { return impl_->address(); }

Result<void> MessageNode::reach(const NodeAddress& node, TimePoint deadline) {
  return impl_->reach(node, deadline);
}

Result<Exchange> MessageNode::exchange(const Rollout& rollout, int outstanding, double seconds,
                                       TimePoint deadline) {
  return impl_->exchange(rollout, outstanding, seconds, deadline);
}

Result<void> serve_echo() {
  TW_ASSIGN(const NodeEnvelope envelope, LauncherLink::read_envelope(STDIN_FILENO, kEnvelopeLimit));
  // Its thread lives as long as the process.
  static LauncherLink starter(STDIN_FILENO, kOrphanLimit);
  TW_ASSIGN(const auto log, StderrPipe::open());
  NodeSetup setup;
  setup.identity = envelope.identity;
  setup.hello.build = envelope.build;
  setup.hello.run = envelope.run;
  setup.door = envelope.door;
  setup.host = envelope.host;
  setup.membership = envelope.membership;
  TW_ASSIGN(const auto node, MessageNode::open(setup, log->path()));
  const NodeAddress address = node->address();
  std::fputs(to_line(HeadAddress{address.host, address.port}).c_str(), stdout);
  std::fflush(stdout);
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait(lock, starter.stop(), [] { return false; });
  return {};
}

}  // namespace tracewise::bench
