// A sender with its receivers, for the tests of every transport.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/transport/fake_nccl.hpp"
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

// "local", "shm", "tcp", "sharded" or "nccl": a learner, at node "head" where it has a node, and
// `receivers` generators. All but the first go through a live door on loopback; "sharded" through
// another one too, that of the learner's second rank at node "rank1". By "nccl" all of these
// receivers have joined, on a GPU of their node's name each.
class Exchange {
 public:
  explicit Exchange(const std::string& transport, size_t receivers = 1,
                    const WeightsServerOptions& server = {}, NcclSenderOptions casting = {})
      : transport_(transport) {
    if (transport == "local") {
      sender = make_local_sender(local_);
    } else {
      door = open_door("head");
      NodeSenderOptions sending = sending_as("head", server);
      std::unique_ptr<NcclSender> nccl;
      if (transport == "nccl") {
        casting.bucket_bytes = 16000;  // 100,000 bytes are 7 buckets
        nccl = good(NcclSender::start(FakeFabric::open(fabric, "head"), casting));
        nccl_sender = nccl.get();
      }
      if (transport == "sharded") {
        rank_door = open_door("rank1");
        rank_sender = good(make_node_sender(*rank_door, sending_as("rank1", server)));
        sending.chunk_bytes = small_chunks().chunk_bytes;
      }
      sender = good(make_node_sender(*door, sending, std::move(nccl)));
    }
    for (size_t i = 0; i < receivers; ++i) add_receiver();
    if (nccl_sender != nullptr) join_all();
  }
  ~Exchange() {
    receivers.clear();
    members.clear();
    sender.reset();
    rank_sender.reset();
    CHECK(fabric->violations() == std::vector<std::string>{});
    CHECK(fabric->open_comms() == 0);
  }

  WeightsReceiver& add_receiver(const TcpReceiverOptions& tcp = small_chunks()) {
    const std::string node = "g" + std::to_string(receivers.size());
    if (transport_ == "local") {
      receivers.push_back(make_local_receiver(local_));
    } else {
      NodeReceiverOptions options;
      options.tcp = tcp;
      if (nccl_sender != nullptr) options.nccl = add_member(node, node);
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

  std::shared_ptr<NcclMember> add_member(const std::string& node, const std::string& gpu) {
    members.push_back(good(NcclMember::start(run.context(node), RunOfNodes::hello(node),
                                             FakeFabric::open(fabric, gpu), {})));
    return members.back();
  }

  // Has the receivers fetch version 0, by which they join.
  void join_all() {
    const WeightsReady ready = publish(version_of(0));
    for (const auto& receiver : receivers) good(receiver->fetch(ready, soon()));
    REQUIRE(eventually([&] { return nccl_sender->status().members == receivers.size(); }));
    settle(ready.manifest);
  }

  // Publishes and says so, as the learner does; what is broadcast is over when it returns.
  WeightsReady publish(const WeightsBuffer& weights) {
    WeightsReady ready{weights.manifest, good(sender->publish(weights, soon())), {}};
    if (rank_sender) ready.others.push_back(good(rank_sender->publish(weights, soon())));
    settle(ready.manifest);
    return ready;
  }

  // Aborts at the learner; who has joined knows it when it returns.
  void abort(uint64_t epoch) {
    sender->abort(epoch);
    if (rank_sender) rank_sender->abort(epoch);
    WeightsManifest end;
    end.epoch = epoch;
    end.version = UINT64_MAX;
    settle(end);
  }

  void settle(const WeightsManifest& moment) {
    if (nccl_sender == nullptr) return;
    REQUIRE(eventually([&] {
      const bool busy = nccl_sender->status().busy;
      return !busy && std::ranges::all_of(members, [&](const auto& member) {
        const NcclMemberStatus now = member->status();
        return !now.joined ||
               std::pair(now.epoch, now.version) >= std::pair(moment.epoch, moment.version);
      });
    }));
  }

  const RunOfNodes run;
  const std::shared_ptr<FakeFabric> fabric = std::make_shared<FakeFabric>();
  std::unique_ptr<Door> door, rank_door;
  std::unique_ptr<WeightsSender> sender, rank_sender;
  NcclSender* nccl_sender = nullptr;                 // the sender has it
  std::vector<std::shared_ptr<NcclMember>> members;  // shared with the receivers
  std::vector<std::unique_ptr<WeightsReceiver>> receivers;

 private:
  std::unique_ptr<Door> open_door(const std::string& node) const {
    DoorOptions options;
    options.address = "127.0.0.1";
    return good(Door::open(options, run.context(node), RunOfNodes::hello(node)));
  }
  NodeSenderOptions sending_as(const std::string& node, const WeightsServerOptions& server) const {
    NodeSenderOptions sending;
    sending.node = node;
    sending.host = "127.0.0.1";
    sending.shm = transport_ == "shm";
    sending.server = server;
    return sending;
  }

  const std::string transport_;
  const std::shared_ptr<LocalWeights> local_ = make_local_weights();
};

}  // namespace tracewise
