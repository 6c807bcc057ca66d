#include "actors/node.hpp"

#include <atomic>
#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "actors/control_desk.hpp"
#include "actors/coordinator_actor.hpp"
#include "actors/gateway.hpp"
#include "actors/inspector_actor.hpp"
#include "actors/learner_actor.hpp"
#include "actors/monitor_actor.hpp"
#include "actors/node_config.hpp"
#include "actors/own_rank.hpp"
#include "actors/rank_store_actor.hpp"
#include "actors/seat_factory.hpp"
#include "actors/supervisor_actor.hpp"
#include "transport/both_sender.hpp"
#include "transport/local.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Within which the nodes leave a run that is over.
constexpr std::chrono::seconds kFarewell{2};

// Stamps metrics; the wall clock decides nothing.
double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string resumed(const RunStart& start) {
  const std::string from = start.checkpoint
                               ? "the checkpoint of step " + std::to_string(start.state.step)
                               : "its beginning, there is no whole checkpoint";
  return "the run goes on from " + from + "; " + std::to_string(start.undone_steps) +
         " steps are done again";
}

class Node {
 public:
  Node(const RunOptions& options, RunParts parts, std::shared_ptr<RunFolder> folder,
       const HeadSetup* head)
      : options_(options),
        parts_(std::make_shared<const RunParts>(std::move(parts))),
        folder_(std::move(folder)),
        services_(std::make_shared<NodeServices>()) {
    if (head == nullptr) return;
    head_ = *head;
    services_->on_event = head->on_event;
    use_links(config_, head->node.membership);
  }

  Result<void> open(bool resume);
  void spawn();
  Result<void> open_to_others();
  Result<RunSummary> run(std::stop_token stop);
  bool stuck() const { return stuck_; }

 private:
  ShellContext context(const std::string& role, const std::string& name) const {
    return {services_, supervisor_, name, role};
  }
  bool takes_nodes() const { return head_ && head_->takes_nodes; }
  [[nodiscard]] Result<void> open_door();
  void stop_for_operator();
  SupervisorSetup supervisor_setup();
  Result<RunSummary> wait(std::stop_token stop);
  LearnerSetup learner_setup();
  bool shut_down(bool over, const std::string& why);

  const RunOptions options_;
  std::optional<HeadSetup> head_;  // of a run that others can reach
  std::shared_ptr<const RunParts> parts_;
  std::shared_ptr<RunFolder> folder_;
  std::shared_ptr<NodeServices> services_;
  std::shared_ptr<LocalWeights> weights_ = make_local_weights();
  std::shared_ptr<WeightsSender> sender_ = make_local_sender(weights_);
  std::shared_ptr<Receivers> receivers_ =
      std::make_shared<Receivers>([weights = weights_] { return make_local_receiver(weights); });
  std::shared_ptr<RunBooks> books_;
  NodeConfig config_;
  std::unique_ptr<caf::actor_system> system_;
  std::unique_ptr<Gateway> gateway_;  // where there is a head_
  std::shared_ptr<OwnRank> own_rank_ = std::make_shared<OwnRank>(
      [this](auto peers) { return gateway_->make_tunnel(std::move(peers)); });
  SupervisorActor supervisor_;
  InspectorActor inspector_;
  MonitorActor monitor_;
  RankStoreActor rank_store_;  // of a learner of several ranks
  CoordinatorActor coordinator_;
  RunSummary found_;                      // of a run that is stopped while it starts
  std::atomic<bool> stop_asked_ = false;  // by an operator
  bool stuck_ = false;
};

Result<void> Node::open_door() {
  if (!head_) return {};
  auto gateway = Gateway::open(head_->node, services_->log);
  if (gateway.ok()) {
    gateway_ = std::move(*gateway);
    return {};
  }
  if (head_->takes_nodes) return gateway.error();
  services_->tell(EventKind::kRun, "node",
                  "nobody can look into this run: " + gateway.error().message);
  head_.reset();
  return {};
}

// In the thread that answers operators.
void Node::stop_for_operator() {
  if (stop_asked_.exchange(true)) return;
  services_->tell(EventKind::kOperator, "operator", "the operator asked the run to stop");
  services_->inbox.wake();
}

Result<void> Node::open(bool resume) {
  TW_ASSIGN(services_->log, NodeLog::open(folder_->logs() / "node.log"));
  TW_ASSIGN(services_->events, EventLog::open(folder_->events()));
  TW_TRY(open_door());
  if (takes_nodes()) {
    TW_ASSIGN(auto others, gateway_->make_sender(head_->ranks_serve_weights));
    sender_ = make_both_sender(make_local_sender(weights_), std::move(others));
  }
  TW_ASSIGN(books_, RunBooks::open(*folder_, resume, options_, parts_->prompts, wall_time()));
  books_->save_outputs_with(parts_->save_outputs);
  for (const std::string& skipped : books_->start().skipped) {
    services_->tell(EventKind::kRun, "node",
                    "a broken checkpoint was passed over and set aside as *.broken: " + skipped);
  }
  const RunStart& start = books_->start();
  if (resume) services_->tell(EventKind::kRun, "node", resumed(start));
  found_.interrupted = true;
  found_.step = start.state.step;
  found_.version = start.state.version;
  found_.train_seconds = start.state.train_seconds;
  found_.best_accuracy = start.state.best_metric;
  found_.best_step = start.state.best_step;
  if (start.checkpoint) found_.checkpoint = start.checkpoint->dir.string();
  return {};
}

SupervisorSetup Node::supervisor_setup() {
  SupervisorSetup setup;
  setup.options = options_;
  setup.hire = [this](const Seat& seat, const SupervisorActor& supervisor) {
    // Ranks beside rank 0 are on other nodes.
    return SeatFactory{system_.get(), services_, parts_,   receivers_,
                       own_rank_,     nullptr,   options_, supervisor}
        .hire(seat);
  };
  setup.seats = {options_.generators, options_.tracers, options_.builders};
  if (!takes_nodes()) return setup;
  setup.seats = head_->seats;
  setup.membership = head_->node.membership;
  setup.ranks = head_->ranks;
  setup.expected = head_->expected;
  setup.config = head_->config;
  setup.cut = [this](const std::string& node) { gateway_->cut(node); };
  return setup;
}

LearnerSetup Node::learner_setup() {
  LearnerSetup setup{parts_, folder_, sender_, books_->start(), options_, own_rank_, {}, {}, false};
  if (!takes_nodes() || head_->ranks == 0) return setup;
  setup.ranks_serve_weights = head_->ranks_serve_weights;
  setup.address = gateway_->address();
  rank_store_ = system_->spawn<RankStoreShell>(context("rank store", "rank store"));
  setup.rank_store = rank_store_;
  return setup;
}

Result<void> Node::open_to_others() {
  if (!gateway_) return {};
  if (takes_nodes()) gateway_->serve(*system_, caf::actor_cast<caf::strong_actor_ptr>(supervisor_));
  const auto desk =
      std::make_shared<const ControlDesk>(system_.get(), supervisor_, coordinator_, inspector_,
                                          gateway_->address(), [this] { stop_for_operator(); });
  TW_TRY(gateway_->serve_requests([desk](const std::string& request, const std::string& peer) {
    return desk->answer(request, peer);
  }));
  if (head_->on_open) head_->on_open(gateway_->address());
  return {};
}

void Node::spawn() {
  system_ = std::make_unique<caf::actor_system>(config_);
  caf::actor_system& system = *system_;
  supervisor_ =
      system.spawn<SupervisorShell>(context("supervisor", "supervisor"), supervisor_setup());
  inspector_ = system.spawn<InspectorShell>(context("inspector", "inspector"));
  monitor_ = system.spawn<MonitorShell>(
      context("monitor", "monitor"),
      MonitorSetup{supervisor_, gateway_ ? gateway_->address().name : "head", folder_->timeline(),
                   wall_time()});
  coordinator_ = system.spawn<CoordinatorShell, caf::detached>(
      context("coordinator", "coordinator"),
      CoordinatorSetup{parts_, books_, options_, wall_time()});
  Peers peers;
  peers.coordinator = coordinator_;
  peers.learner =
      system.spawn<LearnerShell, caf::detached>(context("learner", "learner"), learner_setup());
  books_.reset();  // the coordinator's from here on
  caf::anon_send(supervisor_, start_atom::value, std::move(peers));
}

Result<RunSummary> Node::wait(std::stop_token stop) {
  // Requested from any thread; what is to be done about it is this one's.
  const std::stop_callback wake(stop, [this] { services_->inbox.wake(); });
  const auto asked_to_stop = [&] { return stop.stop_requested() || stop_asked_; };
  bool begun = false, stop_sent = false;
  while (true) {
    std::optional<Progress> progress;
    auto end = services_->inbox.wait(SteadyClock::now() + std::chrono::seconds(1), &progress);
    if (progress && parts_->on_progress) parts_->on_progress(*progress);
    if (end) return std::move(*end);
    if (!services_->inbox.ready()) {
      // Actors that build their models here are waited for; nodes that may never come are not.
      if (takes_nodes() && asked_to_stop()) return found_;
      continue;
    }
    if (!std::exchange(begun, true)) {
      // Nothing was trained: the run stands where it was found.
      if (asked_to_stop()) return found_;
      caf::anon_send(coordinator_, start_atom::value);
    }
    if (asked_to_stop() && !std::exchange(stop_sent, true)) {
      caf::anon_send(coordinator_, stop_atom::value);
    }
  }
}

// Ends all actors. False if one is stuck; then the actor system is left as it is, because its
// destructor would wait for that actor without limit.
bool Node::shut_down(bool over, const std::string& why) {
  receivers_->abort();
  own_rank_->abort();
  sender_->abort(UINT64_MAX - 1);
  caf::anon_send(supervisor_, stop_atom::value, over, why);
  caf::anon_send_exit(inspector_, caf::exit_reason::user_shutdown);
  caf::anon_send_exit(monitor_, caf::exit_reason::user_shutdown);
  if (rank_store_) caf::anon_send_exit(rank_store_, caf::exit_reason::user_shutdown);
  if (gateway_) gateway_->withdraw();
  supervisor_ = SupervisorActor{};
  inspector_ = InspectorActor{};
  monitor_ = MonitorActor{};
  rank_store_ = RankStoreActor{};
  coordinator_ = CoordinatorActor{};
  const auto limit = std::chrono::milliseconds(options_.deadlines.exit_ms);
  const bool gone = services_->gate.wait_empty(SteadyClock::now() + limit);
  // What the nodes are told last would be lost with the connections.
  if (over && gateway_ && !gateway_->wait_alone(SteadyClock::now() + kFarewell))
    services_->log->warn("some nodes have not left: the run ends without them");
  stuck_ = !gone;
  if (stuck_) {
    (void)gateway_.release();
    (void)system_.release();
  }
  sender_.reset();  // before the door that it serves at
  gateway_.reset();
  system_.reset();
  return gone;
}

Result<RunSummary> Node::run(std::stop_token stop) {
  const Result<void> opened = open_to_others();
  Result<RunSummary> end = opened.ok() ? wait(std::move(stop)) : Result<RunSummary>(opened.error());
  if (end.ok()) {
    services_->note(EventKind::kRun, "node",
                    end->interrupted ? "the run was stopped at step " + std::to_string(end->step)
                                     : "the run is complete at step " + std::to_string(end->step));
  } else {
    services_->log->warn("the run ends: " + end.error().message);
    services_->events->add(EventKind::kRun, "node", "the run ends: " + end.error().message);
  }
  std::string stuck;
  if (!shut_down(end.ok(), end.ok() ? "the run is over" : end.error().message)) {
    for (const ActorStatus& actor : services_->registry.status(SteadyClock::now())) {
      stuck += (stuck.empty() ? "" : ", ") + actor.name + " (" + actor.state + ")";
    }
    services_->log->warn("did not end: " + stuck);
    if (end.ok()) {
      return Error{ErrorClass::kDeadline,
                   "the run is complete, but " + stuck + " did not end within " +
                       std::to_string(options_.deadlines.exit_ms) + " ms (deadlines.exit_ms)"};
    }
    return Error{ErrorClass::kDeadline, end.error().message};
  }
  return end;
}

Result<void> check_parts(const RunParts& parts) {
  if (parts.prompts.empty()) return bad_input("the training set has no prompts");
  TW_CHECK(parts.make_engine && parts.make_tracer && parts.make_trainer && parts.save_model &&
               parts.load_model,
           "a part of the run is missing");
  return {};
}

}  // namespace

Result<RunSummary> run_training(const RunOptions& options, RunParts parts,
                                std::shared_ptr<RunFolder> folder, bool resume,
                                std::stop_token stop, const HeadSetup* head) {
  TW_TRY(check(options));
  if (head != nullptr) {
    TW_TRY(check(head->node.membership));
  }
  TW_TRY(check_parts(parts));
  // On the heap and left there if an actor hangs: the actor system refers to the node's config.
  auto node = std::make_unique<Node>(options, std::move(parts), std::move(folder), head);
  TW_TRY(node->open(resume));
  node->spawn();
  Result<RunSummary> end = node->run(std::move(stop));
  if (node->stuck()) (void)node.release();
  return end;
}

}  // namespace tracewise
