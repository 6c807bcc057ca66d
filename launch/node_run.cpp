#include "launch/node_run.hpp"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "actors/cluster.hpp"
#include "launch/build_id.hpp"
#include "launch/config.hpp"
#include "launch/parts.hpp"
#include "launch/stderr_pipe.hpp"
#include "launch/training.hpp"
#include "launch/weights_placement.hpp"
#include "transport/nccl_api.hpp"

namespace tracewise {
namespace {

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "this host";
}

SeatCounts counts(const Seats& seats) {
  return {seats.generators, seats.tracers, seats.builders, seats.ranks};
}

NodeSetup node_setup(const NodeEnvelope& envelope) {
  NodeSetup setup;
  setup.identity = envelope.identity;
  setup.hello.build = envelope.build;
  setup.hello.run = envelope.run;
  setup.door = envelope.door;
  setup.host = envelope.host.empty() ? host_name() : envelope.host;
  setup.membership = envelope.membership;
  setup.weights = envelope.weights;
  return setup;
}

// Where NCCL is asked for, and not just welcome, a node without it does not begin.
Result<void> check_nccl(const WeightsWays& weights) {
  if (weights.way != WeightsWay::kNccl || weights.nccl_device.empty()) return {};
  const auto opened = open_nccl(weights.nccl_device);
  if (opened.ok()) return {};
  return Error{opened.error().error_class, "host " + host_name() + ": " + opened.error().message};
}

Result<RunSummary> run_head(const NodeEnvelope& envelope, std::stop_token stop,
                            const ReportSink& report) {
  TW_ASSIGN(Config config, load_config({{}, {}, envelope.head->config}));
  HeadSetup setup;
  setup.node = node_setup(envelope);
  setup.config = envelope.head->config;
  setup.seats = counts(envelope.seats);
  setup.ranks = all_seats(config.cluster).ranks;
  setup.ranks_serve_weights = ranks_serve_weights(config);
  setup.expected = envelope.head->expected;
  setup.on_open = [&report](const NodeAddress& address) {
    report(HeadAddress{address.host, address.port});
  };
  setup.on_event = [&report](const std::string& line) { report(EventReport{line}); };
  return train_as_head(
      std::move(config), envelope.head->resume, stop,
      [&report](const Progress& progress) { report(progress); }, setup);
}

// Makes a worker's parts of the head's config, and keeps the model: a head that comes again says
// the same.
class PartsMaker {
 public:
  PartsMaker(const NodeEnvelope& envelope, const ReportSink& report)
      : envelope_(envelope), report_(report) {}

  Result<WorkerParts> make(const std::string& text) {
    TW_ASSIGN(Config config, load_config({{}, {}, text}));
    const auto shared = std::make_shared<const Config>(std::move(config));
    const std::string wanted = config_toml(*shared, false, "model") +
                               config_toml(*shared, false, "lora") +
                               config_toml(*shared, false, "run.seed");
    if (model_ == nullptr || loaded_ != wanted) {
      TW_ASSIGN(ModelFolder model, load(*shared));
      model_ = std::make_shared<const ModelFolder>(std::move(model));
      loaded_ = wanted;
    }
    TW_ASSIGN(
        RunParts parts,
        seat_parts(shared, model_, {envelope_.devices, envelope_.threads, envelope_.rank_device}));
    report_(JoinedReport{});
    return WorkerParts{shared->run, std::move(parts)};
  }

 private:
  Result<ModelFolder> load(const Config& config) const {
    auto model = load_start_model(config);
    if (model.ok()) return model;
    return Error{model.error().error_class,
                 "host " + host_name() + " cannot load the model: " + model.error().message};
  }

  const NodeEnvelope& envelope_;
  const ReportSink& report_;
  std::string loaded_;                        // the keys that say which model_ this is
  std::shared_ptr<const ModelFolder> model_;  // shared with the engines, which may outlive a run
};

Result<RunSummary> run_as_worker(const NodeEnvelope& envelope, const HeadAddress& head,
                                 std::stop_token stop, const ReportSink& report) {
  TW_ASSIGN(const auto log, StderrPipe::open());
  PartsMaker parts(envelope, report);
  WorkerSetup setup;
  setup.node = node_setup(envelope);
  setup.head = {kHeadName, head.host, head.port};
  setup.seats = counts(envelope.seats);
  setup.make_parts = [&parts](const std::string& config) { return parts.make(config); };
  setup.log_file = log->path();
  setup.on_event = [&report](const std::string& line) { report(EventReport{line}); };
  TW_TRY(run_worker(setup, stop));
  RunSummary summary;
  summary.interrupted = stop.stop_requested();
  return summary;
}

Result<void> check_build(const NodeEnvelope& envelope) {
  if (envelope.build == build_id()) return {};
  return Error{ErrorClass::kUnsupported, "host " + host_name() + " has build " + build_id() +
                                             " of tracewise, the launcher is build " +
                                             envelope.build + ": copy the same binary there"};
}

}  // namespace

Result<RunSummary> run_node(const NodeEnvelope& envelope, LauncherLink& link, std::stop_token stop,
                            const ReportSink& report) {
  TW_TRY(check_build(envelope));
  TW_TRY(check_nccl(envelope.weights));
  report(StartedReport{});
  std::stop_source either;
  const std::stop_callback by_signal(stop, [&] { either.request_stop(); });
  const std::stop_callback by_launcher(link.stop(), [&] { either.request_stop(); });
  if (envelope.head) return run_head(envelope, either.get_token(), report);
  TW_ASSIGN(const HeadAddress head,
            link.wait_head(std::chrono::milliseconds(envelope.head_wait_ms)));
  return run_as_worker(envelope, head, either.get_token(), report);
}

Result<RunSummary> join_run(const NodeEnvelope& envelope, const HeadAddress& head,
                            std::stop_token stop, const ReportSink& report) {
  TW_TRY(check_build(envelope));
  return run_as_worker(envelope, head, std::move(stop), report);
}

}  // namespace tracewise
