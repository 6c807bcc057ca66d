// The learner's end of weights by NCCL: broadcasts each version to the members of other nodes
// (transport/nccl_member.hpp), who are told over their connections of Channel::kNccl when and how.
//
// A group is made for the members that are there when a version is published, and kept until one of
// them goes or another comes. Whatever goes wrong in it ends it: everybody aborts, the version
// comes by another way, and the next one has a new group without those who have not answered yet. A
// member that comes later takes what is on offer another way and is in the next version's group.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "transport/nccl_api.hpp"
#include "transport/tls.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct NcclSenderOptions {
  // 1..kMaxBucketBytes; two lie on each device. So large that what is done between two buckets,
  // some 2 ms at most, is hidden behind the other's way, 10 ms on a link of 200 Gb/s.
  uint64_t bucket_bytes = uint64_t{256} << 20;
  int form_ms = 30000;  // for a group to form
  int cast_ms = 60000;  // for a version's broadcast, until the last member has checked it
  // Groups in a row that do not form until no other is tried. NCCL keeps a thread for each of them.
  int form_attempts = 8;
  size_t max_members = 1024;  // more connections are closed
  // Told a sentence when a group failed, in the sender's thread. May be empty.
  std::function<void(const std::string&)> report;
};

struct NcclSenderStatus {
  size_t members = 0;  // that have joined
  size_t grouped = 0;  // that are in the group; 0: there is none
  size_t leaving = 0;  // that have not left the last one yet, so that a next one is without them
  uint64_t group = 0;  // number of the last one
  uint64_t failed_groups = 0;
  bool busy = false;  // with a version, or something that it was given to do
};

// Any thread may call. Nothing blocks but start() and the destructor.
class NcclSender {
 public:
  // Starts its thread, the only one that uses `nccl`. kResource: no thread or descriptor.
  [[nodiscard]] static Result<std::unique_ptr<NcclSender>> start(std::unique_ptr<Nccl> nccl,
                                                                 const NcclSenderOptions& options);
  // Aborts what is under way and ends all connections.
  ~NcclSender();
  NcclSender(const NcclSender&) = delete;
  NcclSender& operator=(const NcclSender&) = delete;

  // A connection of Channel::kNccl whose hello is done.
  void take(std::unique_ptr<TlsStream> stream);

  // Broadcasts `weights`, newer than those before, once the broadcast that is under way is over; by
  // then a newer version may have taken its place. The members are told either way.
  void offer(WeightsBuffer weights);

  // Nothing of `epoch` or epochs before it is broadcast any more.
  void abort(uint64_t epoch);

  NcclSenderStatus status() const;

 private:
  class Impl;
  explicit NcclSender(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
