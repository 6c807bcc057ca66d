#include "bench/weights_exchange.hpp"

namespace tracewise::bench {
namespace {

Hello hello(const std::string& node) {
  Hello hello;
  hello.build = hello.run = "bench";
  hello.node = node;
  return hello;
}

}  // namespace

Result<Nodes> make_nodes() {
  TW_ASSIGN(const RunAuthority authority, RunAuthority::create(1));
  TW_ASSIGN(const Identity head, authority.issue("head", 1));
  TW_ASSIGN(const Identity member, authority.issue("generator", 1));
  TW_ASSIGN(TlsContext learner, TlsContext::create(head));
  TW_ASSIGN(TlsContext generator, TlsContext::create(member));
  DoorOptions options;
  options.address = "127.0.0.1";
  TW_ASSIGN(auto door, Door::open(options, learner, hello("head")));
  return Nodes{learner, generator, std::move(door)};
}

Result<WeightsExchange> make_weights_exchange(const Nodes& nodes, bool shm, int connections) {
  NodeSenderOptions sending;
  sending.node = "head";
  sending.host = "127.0.0.1";
  sending.shm = shm;
  TW_ASSIGN(auto sender, make_node_sender(*nodes.door, sending));
  NodeReceiverOptions receiving;
  receiving.shm = shm;
  receiving.tcp.connections = connections;
  return WeightsExchange{std::move(sender),
                         make_node_receiver(nodes.generator, hello("generator"), receiving)};
}

}  // namespace tracewise::bench
