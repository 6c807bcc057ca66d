#include "actors/gateway.hpp"

#include <caf/actor_system.hpp>
#include <utility>

#include "transport/dial.hpp"

namespace tracewise {

Gateway::Gateway(const NodeSetup& setup, TlsContext context, std::shared_ptr<NodeLog> log)
    : setup_(setup), context_(std::move(context)), log_(std::move(log)) {
  setup_.hello.node = setup_.identity.node;
}

Gateway::~Gateway() = default;

Result<std::unique_ptr<Gateway>> Gateway::open(const NodeSetup& setup,
                                               std::shared_ptr<NodeLog> log) {
  TW_ASSIGN(TlsContext context, TlsContext::create(setup.identity));
  std::unique_ptr<Gateway> gateway(new Gateway(setup, std::move(context), log));
  TW_ASSIGN(gateway->door_,
            Door::open(setup.door, gateway->context_, gateway->setup_.hello,
                       [log](const RefusalReport& report) {
                         log->warn("door: refused " + report.from + ": " + report.sentence +
                                   (report.untold == 0 ? ""
                                                       : " (and " + std::to_string(report.untold) +
                                                             " more that were not told)"));
                       }));
  return gateway;
}

void Gateway::serve(caf::actor_system& system, caf::strong_actor_ptr front) {
  links_ = std::make_unique<Links>(system, std::move(front));
  door_->serve(Channel::kActors,
               [links = links_.get()](std::unique_ptr<TlsStream> stream, const Hello&) {
                 links->accept(std::move(stream));
               });
}

Result<void> Gateway::serve_requests(RequestServer::Answer answer) {
  TW_ASSIGN(requests_, RequestServer::start(std::move(answer)));
  door_->serve(Channel::kShell,
               [requests = requests_.get()](std::unique_ptr<TlsStream> stream, const Hello&) {
                 requests->take(std::move(stream));
               });
  return {};
}

Result<caf::strong_actor_ptr> Gateway::reach(const NodeAddress& node, TimePoint deadline,
                                             const std::stop_token& stop) {
  Hello hello = setup_.hello;
  hello.channel = Channel::kActors;
  hello.address = setup_.host;
  hello.port = door_->port();
  TW_ASSIGN(auto stream, dial(node.host, node.port, context_, hello, node.name, deadline, stop));
  return links_->connect(std::move(stream), deadline);
}

void Gateway::withdraw() {
  door_->stop_serving(Channel::kActors);
  if (links_) links_->withdraw();
  door_->stop_serving(Channel::kShell);
  requests_.reset();
}

NodeSenderOptions Gateway::sender_options() const {
  NodeSenderOptions options;
  options.node = setup_.identity.node;
  options.host = setup_.host;
  options.shm = setup_.weights.way == WeightsWay::kAuto;
  return options;
}

Result<std::unique_ptr<WeightsSender>> Gateway::make_rank_sender() {
  return make_node_sender(*door_, sender_options());
}

Result<std::unique_ptr<WeightsSender>> Gateway::make_sender(bool state_chunks) {
  NodeSenderOptions options = sender_options();
  if (state_chunks) options.chunk_bytes = TcpReceiverOptions{}.chunk_bytes;
  auto nccl = make_nccl_sender();
  if (!nccl.ok() && setup_.weights.way == WeightsWay::kNccl) return nccl.error();
  if (!nccl.ok()) log_->warn("no weights by NCCL: " + nccl.error().message);
  return make_node_sender(*door_, options, nccl.ok() ? std::move(*nccl) : nullptr);
}

Result<std::unique_ptr<NcclSender>> Gateway::make_nccl_sender() {
  if (setup_.weights.nccl_device.empty()) return std::unique_ptr<NcclSender>();
  TW_ASSIGN(auto nccl, open_nccl(setup_.weights.nccl_device));
  NcclSenderOptions options;
  options.report = [log = log_](const std::string& sentence) { log->warn(sentence); };
  return NcclSender::start(std::move(nccl), options);
}

Result<std::shared_ptr<NcclMember>> Gateway::make_nccl_member() {
  if (setup_.weights.nccl_device.empty()) return std::shared_ptr<NcclMember>();
  TW_ASSIGN(auto nccl, open_nccl(setup_.weights.nccl_device));
  NcclMemberOptions options;
  options.report = [log = log_](const std::string& sentence) { log->warn(sentence); };
  TW_ASSIGN(auto member, NcclMember::start(context_, setup_.hello, std::move(nccl), options));
  return std::shared_ptr<NcclMember>(std::move(member));
}

std::unique_ptr<WeightsReceiver> Gateway::make_receiver() {
  std::call_once(nccl_begun_, [this] {
    auto member = make_nccl_member();
    if (member.ok()) nccl_ = std::move(*member);
    if (!member.ok()) log_->warn("no weights by NCCL: " + member.error().message);
  });
  NodeReceiverOptions options;
  options.shm = setup_.weights.way == WeightsWay::kAuto;
  options.nccl = nccl_;
  return make_node_receiver(context_, setup_.hello, options);
}

std::unique_ptr<Tunnel> Gateway::make_tunnel(std::set<std::string> peers) {
  TunnelOptions options;
  options.peers = std::move(peers);
  return std::make_unique<Tunnel>(*door_, context_, setup_.hello, options);
}

void Gateway::cut(const std::string& node) { links_->cut(node); }

NodeAddress Gateway::address() const { return {setup_.identity.node, setup_.host, door_->port()}; }

}  // namespace tracewise
