// Weights between the nodes of a run: a sender that offers each version in shared memory, by NCCL
// and over connections, and receivers that take the nearest way that works.
#pragma once

#include <memory>
#include <string>

#include "transport/door.hpp"
#include "transport/host_id.hpp"
#include "transport/nccl_member.hpp"
#include "transport/nccl_sender.hpp"
#include "transport/tcp_receiver.hpp"
#include "transport/transport.hpp"
#include "transport/weights_server.hpp"

namespace tracewise {

struct NodeSenderOptions {
  std::string node;         // the rank's, as its certificate names it
  std::string host;         // where other nodes reach its door, a name or a number
  bool shm = true;          // offer versions in shared memory too
  size_t max_segments = 8;  // of it; while receivers use all, versions go over connections alone
  // Where other ranks of the learner offer the same versions: of the chunks that a place states,
  // 1..kMaxChunkBytes. 0: it states none.
  uint64_t chunk_bytes = 0;
  WeightsServerOptions server;
};

// Serves Channel::kWeights at `door`, which outlives it, until it dies; with `nccl`, which may be
// null, Channel::kNccl too. publish() copies the version once into shared memory, or not at all
// where it lies in storage of allocate(); where there is no shared memory to be had, the version is
// offered over connections alone. It waits for no broadcast.
// kResource: no thread or descriptor to serve with.
[[nodiscard]] Result<std::unique_ptr<WeightsSender>> make_node_sender(
    Door& door, const NodeSenderOptions& options, std::unique_ptr<NcclSender> nccl = nullptr);

struct NodeReceiverOptions {
  std::string host_id = own_host_id();  // compared with WeightsPlace::host_id
  bool shm = true;                      // take versions from shared memory where it can be opened
  TcpReceiverOptions tcp;
  // Receives broadcasts; null: without. Shared by the node and all its receivers.
  std::shared_ptr<NcclMember> nccl;
};

// Maps the version where it lies in shared memory that can be opened from here, rank 0's or another
// rank's, and uses it in place; else takes what the learner broadcasts; else fetches it from the
// doors of the learner's ranks as the node of `own`. A broadcast is waited for no longer than half
// the time that a fetch has, so that there is as much for the other way. FetchedWeights says which.
std::unique_ptr<WeightsReceiver> make_node_receiver(const TlsContext& context, const Hello& own,
                                                    const NodeReceiverOptions& options = {});

}  // namespace tracewise
