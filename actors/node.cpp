#include "actors/node.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "actors/builder_actor.hpp"
#include "actors/coordinator_actor.hpp"
#include "actors/generator_actor.hpp"
#include "actors/inspector_actor.hpp"
#include "actors/learner_actor.hpp"
#include "actors/supervisor_actor.hpp"
#include "actors/tracer_actor.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Compute has threads of its own; what is left for the scheduler are messages. Our values are set
// here because nothing but tracewise's own configuration is to steer a run: parse() is never
// called, so no caf-application.ini is read.
struct NodeConfig : caf::actor_system_config {
  NodeConfig() {
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", size_t{2});
  }
};

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Error dead_on_start(const std::string& name, const caf::error& error, int64_t start_ms) {
  if (error == caf::sec::request_timeout) {
    return {ErrorClass::kDeadline, name + " was not ready within " + std::to_string(start_ms) +
                                       " ms (deadlines.start_ms)"};
  }
  return {ErrorClass::kInternal, name + " died while it started"};
}

class Node {
 public:
  Node(const RunOptions& options, RunParts parts, std::shared_ptr<RunFolder> folder)
      : options_(options),
        parts_(std::make_shared<const RunParts>(std::move(parts))),
        folder_(std::move(folder)),
        services_(std::make_shared<NodeServices>()) {}

  Result<void> open(bool resume);
  void spawn();
  Result<RunSummary> run(std::stop_token stop);
  bool stuck() const { return stuck_; }

 private:
  ShellContext context(const std::string& role, const std::string& name) const {
    return {services_, supervisor_, name, role};
  }
  Result<void> start(const std::stop_token& stop);
  template <class Handle>
  Result<void> start_one(caf::scoped_actor& self, const Handle& actor, const std::string& name,
                         const std::stop_token& stop);
  Result<RunSummary> wait(std::stop_token stop);
  bool shut_down();

  const RunOptions options_;
  std::shared_ptr<const RunParts> parts_;
  std::shared_ptr<RunFolder> folder_;
  std::shared_ptr<NodeServices> services_;
  std::shared_ptr<Transport> transport_ = make_local_transport();
  std::shared_ptr<RunBooks> books_;
  NodeConfig config_;
  std::unique_ptr<caf::actor_system> system_;
  SupervisorActor supervisor_;
  InspectorActor inspector_;
  Peers peers_;
  RunSummary found_;  // of a run that is stopped while it starts
  bool stuck_ = false;
};

Result<void> Node::open(bool resume) {
  TW_ASSIGN(services_->log, NodeLog::open(folder_->logs() / "node.log"));
  TW_ASSIGN(books_, RunBooks::open(*folder_, resume, options_, parts_->prompts, wall_time()));
  for (const std::string& skipped : books_->start().skipped) {
    services_->log->warn("a broken checkpoint was passed over and set aside as *.broken: " +
                         skipped);
  }
  const RunStart& start = books_->start();
  found_.interrupted = true;
  found_.step = start.state.step;
  found_.version = start.state.version;
  found_.train_seconds = start.state.train_seconds;
  found_.best_accuracy = start.state.best_metric;
  found_.best_step = start.state.best_step;
  if (start.checkpoint) found_.checkpoint = start.checkpoint->dir.string();
  return {};
}

void Node::spawn() {
  system_ = std::make_unique<caf::actor_system>(config_);
  caf::actor_system& system = *system_;
  // Also for generators that are restarted; the supervisor is asked for when that happens.
  const auto spawn_generator = [services = services_, &system, parts = parts_,
                                transport = transport_, options = options_,
                                supervisor = &supervisor_](uint32_t i) -> GeneratorActor {
    return system.spawn<GeneratorShell, caf::detached>(
        ShellContext{services, *supervisor, "generator " + std::to_string(i), "generator"},
        GeneratorSetup{i, parts->make_engine, transport, options});
  };
  supervisor_ = system.spawn<SupervisorShell>(context("supervisor", "supervisor"),
                                              SupervisorSetup{spawn_generator, options_});
  inspector_ = system.spawn<InspectorShell>(context("inspector", "inspector"));
  peers_.coordinator = system.spawn<CoordinatorShell, caf::detached>(
      context("coordinator", "coordinator"),
      CoordinatorSetup{parts_, books_, options_, wall_time()});
  peers_.learner = system.spawn<LearnerShell, caf::detached>(
      context("learner", "learner"),
      LearnerSetup{parts_, folder_, transport_, books_->start(), options_});
  for (uint32_t i = 0; i < options_.generators; ++i) {
    peers_.generators.push_back(spawn_generator(i));
  }
  for (uint32_t i = 0; i < options_.tracers; ++i) {
    peers_.tracers.push_back(
        system.spawn<TracerShell>(context("tracer", "tracer " + std::to_string(i)),
                                  TracerSetup{i, parts_->make_tracer, options_}));
  }
  for (uint32_t i = 0; i < options_.builders; ++i) {
    peers_.builders.push_back(
        system.spawn<BuilderShell>(context("builder", "builder " + std::to_string(i)),
                                   BuilderSetup{i, parts_->group_options, options_}));
  }
  books_.reset();  // the coordinator's from here on
  caf::anon_send(supervisor_, peers_);
}

template <class Handle>
Result<void> Node::start_one(caf::scoped_actor& self, const Handle& actor, const std::string& name,
                             const std::stop_token& stop) {
  if (stop.stop_requested()) return Error{ErrorClass::kCancelled, "stopped before " + name};
  Result<void> result;
  const auto limit = std::chrono::milliseconds(options_.deadlines.start_ms);
  // The thread that starts the node is no actor, but the inspector shows whom it waits for.
  const SteadyClock::time_point now = SteadyClock::now();
  const auto entry = services_->registry.enlist("node", "node", now);
  entry->begin_wait("its start", name, now, now + limit);
  self->request(actor, limit, start_atom::value, peers_)
      .receive(
          [&](const Outcome& outcome) {
            if (outcome.ok) return;
            const Error error = to_error(outcome);
            result = Error{error.error_class, name + ": " + error.message};
          },
          [&](caf::error& error) {
            result = dead_on_start(name, error, options_.deadlines.start_ms);
          });
  return result;
}

// The learner comes last: it announces its weights to generators that have an engine by then.
Result<void> Node::start(const std::stop_token& stop) {
  caf::scoped_actor self(*system_);
  for (uint32_t i = 0; i < options_.tracers; ++i) {
    TW_TRY(start_one(self, peers_.tracers[i], "tracer " + std::to_string(i), stop));
  }
  for (uint32_t i = 0; i < options_.builders; ++i) {
    TW_TRY(start_one(self, peers_.builders[i], "builder " + std::to_string(i), stop));
  }
  for (uint32_t i = 0; i < options_.generators; ++i) {
    TW_TRY(start_one(self, peers_.generators[i], "generator " + std::to_string(i), stop));
  }
  TW_TRY(start_one(self, peers_.learner, "learner", stop));
  self->send(supervisor_, start_atom::value);
  self->send(peers_.coordinator, start_atom::value, peers_);
  return {};
}

Result<RunSummary> Node::wait(std::stop_token stop) {
  // Requested from any thread; what is to be done about it is this one's.
  const std::stop_callback wake(stop, [this] { services_->inbox.wake(); });
  bool stop_sent = false;
  while (true) {
    if (stop.stop_requested() && !stop_sent) {
      stop_sent = true;
      caf::anon_send(peers_.coordinator, stop_atom::value);
    }
    std::optional<Progress> progress;
    auto end = services_->inbox.wait(SteadyClock::now() + std::chrono::seconds(1), &progress);
    if (progress && parts_->on_progress) parts_->on_progress(*progress);
    if (end) return std::move(*end);
  }
}

// Ends all actors. False if one is stuck; then the actor system is left as it is, because its
// destructor would wait for that actor without limit.
bool Node::shut_down() {
  transport_->abort(UINT64_MAX - 1);  // nobody waits for weights any more
  caf::anon_send(supervisor_, stop_atom::value);
  caf::anon_send_exit(inspector_, caf::exit_reason::user_shutdown);
  peers_ = Peers{};
  const auto limit = std::chrono::milliseconds(options_.deadlines.exit_ms);
  const bool gone = services_->gate.wait_empty(SteadyClock::now() + limit);
  supervisor_ = SupervisorActor{};
  inspector_ = InspectorActor{};
  stuck_ = !gone;
  if (stuck_) (void)system_.release();
  system_.reset();
  return gone;
}

Result<RunSummary> Node::run(std::stop_token stop) {
  Result<void> started = start(stop);
  Result<RunSummary> end = started.ok() ? wait(stop) : Result<RunSummary>(started.error());
  if (!started.ok()) {
    // Nothing was trained: the run stands where it was found.
    if (stop.stop_requested() && started.error().error_class == ErrorClass::kCancelled)
      end = found_;
    // The supervisor may know better than a request that found nobody.
    std::optional<Progress> ignored;
    if (auto known = services_->inbox.wait(SteadyClock::now(), &ignored)) end = std::move(*known);
  }
  if (!end.ok()) services_->log->warn("the run ends: " + end.error().message);
  std::string stuck;
  if (!shut_down()) {
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
                                std::stop_token stop) {
  TW_TRY(check(options));
  TW_TRY(check_parts(parts));
  // On the heap and left there if an actor hangs: the actor system refers to the node's config.
  auto node = std::make_unique<Node>(options, std::move(parts), std::move(folder));
  TW_TRY(node->open(resume));
  node->spawn();
  Result<RunSummary> end = node->run(std::move(stop));
  if (node->stuck()) (void)node.release();
  return end;
}

}  // namespace tracewise
