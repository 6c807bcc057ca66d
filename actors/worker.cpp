#include <algorithm>
#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "actors/agent_actor.hpp"
#include "actors/ask.hpp"
#include "actors/cluster.hpp"
#include "actors/gateway.hpp"
#include "actors/inspector_actor.hpp"
#include "actors/node_config.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Between two attempts to find the head; doubled up to the second one.
constexpr std::chrono::milliseconds kFirstPause{50}, kLongestPause{2000};

// What another attempt may mend: nobody listens yet, a link broke, the head starts again.
bool may_pass(const Error& error) {
  return error.error_class == ErrorClass::kIo || error.error_class == ErrorClass::kDeadline;
}

// A node that serves a run of somebody else's.
class Worker {
 public:
  explicit Worker(const WorkerSetup& setup) : setup_(setup) {
    use_links(config_, setup.node.membership);
  }

  Result<void> open();
  Result<void> run(const std::stop_token& stop);
  // Its actors' threads may still be computing: then it has to be left where it is.
  bool stuck() const { return stuck_; }

 private:
  // One membership, from finding the head until parted from it. True: the run is over.
  Result<bool> serve(const std::stop_token& stop);
  Result<SupervisorActor> find_head(const std::stop_token& stop);
  Result<Welcome> join(const SupervisorActor& head);
  Result<WorkerParts> make_parts(const std::string& config);
  Result<bool> serve_seats(const SupervisorActor& head, WorkerParts made,
                           const std::stop_token& stop);
  TimePoint join_deadline() const {
    return SteadyClock::now() + std::chrono::milliseconds(setup_.node.membership.join_ms);
  }
  void event(const std::string& line) {
    log_->info(line);
    if (setup_.on_event) setup_.on_event(line);
  }

  const WorkerSetup& setup_;
  NodeConfig config_;
  std::shared_ptr<NodeLog> log_;
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<Gateway> gateway_;
  TimePoint parted_until_{};  // until when the head may still take it for a member
  bool stuck_ = false;
};

Result<void> Worker::open() {
  TW_ASSIGN(log_, NodeLog::open(setup_.log_file));
  system_ = std::make_unique<caf::actor_system>(config_);
  TW_ASSIGN(gateway_, Gateway::open(setup_.node, log_));
  gateway_->serve(*system_, nullptr);
  return {};
}

// The head may start later than this node, or again.
Result<SupervisorActor> Worker::find_head(const std::stop_token& stop) {
  const TimePoint deadline = join_deadline();
  auto pause = kFirstPause;
  for (;;) {
    auto front = gateway_->reach(setup_.head, deadline, stop);
    if (front.ok() && *front != nullptr) return caf::actor_cast<SupervisorActor>(*front);
    Error error = front.ok() ? io_error("the head has nobody to talk to yet") : front.error();
    if (!may_pass(error)) return error;
    if (SteadyClock::now() >= deadline) {
      return Error{ErrorClass::kDeadline, "the head was not found within " +
                                              std::to_string(setup_.node.membership.join_ms) +
                                              " ms (cluster.join_ms): " + error.message};
    }
    const TimePoint next = std::min(deadline, SteadyClock::now() + pause);
    const Wait wait("another attempt", "the head", deadline);
    while (SteadyClock::now() < next && !stop.stop_requested()) {
      Wait("another look", "itself", std::min(next, SteadyClock::now() + kFirstPause)).sleep();
    }
    if (stop.stop_requested()) return error;
    pause = std::min(2 * pause, kLongestPause);
  }
}

Result<Welcome> Worker::join(const SupervisorActor& head) {
  Result<Welcome> welcome = Welcome{};
  const auto limit = std::chrono::milliseconds(setup_.node.membership.lost_ms);
  const auto asked = ask_actor(
      *system_, {"a welcome", "the head", limit}, [&](Welcome& got) { welcome = std::move(got); },
      head, join_atom::value, gateway_->address());
  if (!asked.ok()) {
    welcome = asked.error().error_class == ErrorClass::kDeadline
                  ? Error{ErrorClass::kDeadline, asked.error().message + " (cluster.lost_ms)"}
                  : io_error("the connection with the head broke");
  }
  if (!welcome.ok() || welcome->outcome.ok) return welcome;
  Error refusal = to_error(welcome->outcome);
  // The head may not have noticed yet that this node was parted from it: its place is free soon.
  if (SteadyClock::now() < parted_until_) refusal.error_class = ErrorClass::kIo;
  return refusal;
}

Result<bool> Worker::serve(const std::stop_token& stop) {
  TW_ASSIGN(const SupervisorActor head, find_head(stop));
  TW_ASSIGN(Welcome welcome, join(head));
  gateway_->forget_parted();  // what is lost from here on matters to this membership
  for (const NodeAddress& node : welcome.nodes)
    TW_TRY(gateway_->reach(node, join_deadline(), stop));
  TW_ASSIGN(WorkerParts made, setup_.make_parts(welcome.config));
  return serve_seats(head, std::move(made), stop);
}

Result<bool> Worker::serve_seats(const SupervisorActor& head, WorkerParts made,
                                 const std::stop_token& stop) {
  auto services = std::make_shared<NodeServices>();
  services->log = log_;
  const auto receivers =
      std::make_shared<Receivers>([gateway = gateway_.get()] { return gateway->make_receiver(); });
  const auto own_rank = std::make_shared<OwnRank>(
      [gateway = gateway_.get()](auto peers) { return gateway->make_tunnel(std::move(peers)); });
  const int64_t exit_ms = made.options.deadlines.exit_ms;
  SeatFactory factory{
      system_.get(), services, std::make_shared<const RunParts>(std::move(made.parts)),
      receivers,     own_rank, [gateway = gateway_.get()] { return gateway->make_rank_sender(); },
      made.options,  head};
  auto inspector =
      system_->spawn<InspectorShell>(ShellContext{services, head, "inspector", "inspector"});
  NodeOffer offer{gateway_->address(), setup_.seats,
                  system_->spawn<AgentShell>(
                      ShellContext{services, head, "agent", "agent"},
                      AgentSetup{setup_.node.identity.node, factory, setup_.node.membership,
                                 [gateway = gateway_.get()] { return gateway->parted(); }}),
                  inspector};
  caf::anon_send(head, ready_atom::value, offer);
  event("joined the run");

  const std::stop_callback wake(stop, [&] { services->inbox.wake(); });
  std::optional<Progress> ignored;
  std::optional<Result<RunSummary>> end;
  while (!end && !stop.stop_requested()) {
    end = services->inbox.wait(SteadyClock::now() + std::chrono::seconds(1), &ignored);
  }
  if (!end) {
    caf::anon_send(head, leave_atom::value, offer.address.name);
    caf::anon_send(offer.agent, stop_atom::value, true, std::string("the node was told to stop"));
  }
  receivers->abort();
  own_rank->abort();
  offer.agent = AgentActor{};
  offer.inspector = InspectorActor{};
  caf::anon_send_exit(inspector, caf::exit_reason::user_shutdown);
  inspector = InspectorActor{};
  stuck_ = !services->gate.wait_empty(SteadyClock::now() + std::chrono::milliseconds(exit_ms));
  if (stuck_) {
    return Error{ErrorClass::kDeadline, "the node's actors did not end within " +
                                            std::to_string(exit_ms) + " ms (deadlines.exit_ms)"};
  }
  if (!end || end->ok()) return true;
  event(end->error().message);
  return false;
}

Result<void> Worker::run(const std::stop_token& stop) {
  auto pause = kFirstPause;
  for (;;) {
    const auto begun = SteadyClock::now();
    const Result<bool> over = serve(stop);
    if (stop.stop_requested() && !stuck_) return {};
    if (over.ok() && *over) return {};
    if (over.ok()) {
      parted_until_ =
          SteadyClock::now() + 2 * std::chrono::milliseconds(setup_.node.membership.lost_ms);
    }
    if (!over.ok() &&
        (stuck_ || !may_pass(over.error()) ||
         SteadyClock::now() - begun >= std::chrono::milliseconds(setup_.node.membership.join_ms))) {
      return over.error();
    }
    if (!over.ok()) event(over.error().message + "; it tries again");
    Wait("another attempt", "itself", SteadyClock::now() + pause).sleep();
    pause = over.ok() ? kFirstPause : std::min(2 * pause, kLongestPause);
  }
}

}  // namespace

Result<void> run_worker(const WorkerSetup& setup, std::stop_token stop) {
  TW_TRY(check(setup.node.membership));
  // On the heap and left there if an actor hangs: its thread refers to the actor system.
  auto worker = std::make_unique<Worker>(setup);
  Result<void> end = worker->open();
  if (end.ok()) end = worker->run(stop);
  if (worker->stuck()) (void)worker.release();
  return end;
}

}  // namespace tracewise
