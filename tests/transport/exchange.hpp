// A sender with its receivers, for the tests of every transport.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/transport/run_of_nodes.hpp"
#include "transport/checksum.hpp"
#include "transport/chunk_wire.hpp"
#include "transport/local.hpp"
#include "transport/node_weights.hpp"

namespace tracewise {

// A version of `bytes` bytes that no other version shares.
inline WeightsBuffer version_of(uint64_t version, uint64_t epoch = 0, size_t bytes = 100000) {
  const auto content = pattern(bytes, static_cast<uint32_t>(1000 * epoch + version));
  const auto storage = allocate_on_heap(bytes);
  std::memcpy(storage.get(), content.data(), bytes);
  WeightsBuffer made;
  made.manifest.version = version;
  made.manifest.epoch = epoch;
  made.manifest.bytes = bytes;
  made.manifest.checksum = xxh3(content);
  made.bytes = storage;
  return made;
}

inline bool same(const WeightsBuffer& a, const WeightsBuffer& b) {
  return a.manifest == b.manifest &&
         std::memcmp(a.bytes.get(), b.bytes.get(), a.manifest.bytes) == 0;
}

inline TimePoint soon() { return in_ms(10000); }
inline const TimePoint kPast{};

// "local", "shm" or "tcp": a learner, at node "head" where it has a node, and `receivers`
// generators. The last two go through a live door on loopback.
class Exchange {
 public:
  explicit Exchange(const std::string& transport, size_t receivers = 1,
                    const WeightsServerOptions& server = {})
      : transport_(transport) {
    if (transport == "local") {
      sender = make_local_sender(local_);
    } else {
      DoorOptions options;
      options.address = "127.0.0.1";
      door = good(Door::open(options, run.context("head"), RunOfNodes::hello("head")));
      NodeSenderOptions sending;
      sending.node = "head";
      sending.host = "127.0.0.1";
      sending.shm = transport == "shm";
      sending.server = server;
      sender = good(make_node_sender(*door, sending));
    }
    for (size_t i = 0; i < receivers; ++i) add_receiver();
  }

  WeightsReceiver& add_receiver(const TcpReceiverOptions& tcp = small_chunks()) {
    const std::string node = "g" + std::to_string(receivers.size());
    if (transport_ == "local") {
      receivers.push_back(make_local_receiver(local_));
    } else {
      NodeReceiverOptions options;
      options.tcp = tcp;
      receivers.push_back(make_node_receiver(run.context(node), RunOfNodes::hello(node), options));
    }
    return *receivers.back();
  }

  // 100,000 bytes are 7 chunks.
  static TcpReceiverOptions small_chunks() {
    TcpReceiverOptions options;
    options.chunk_bytes = 16000;
    options.backoff_ms = 5;
    options.max_backoff_ms = 20;
    return options;
  }

  // Publishes and says so, as the learner does.
  WeightsReady publish(const WeightsBuffer& weights) {
    return {weights.manifest, good(sender->publish(weights, soon()))};
  }

  const RunOfNodes run;
  std::unique_ptr<Door> door;
  std::unique_ptr<WeightsSender> sender;
  std::vector<std::unique_ptr<WeightsReceiver>> receivers;

 private:
  const std::string transport_;
  const std::shared_ptr<LocalWeights> local_ = make_local_weights();
};

}  // namespace tracewise
