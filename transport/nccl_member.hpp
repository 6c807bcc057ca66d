// A node's end of weights by NCCL (transport/nccl_sender.hpp): one for all generators of a process,
// which share what it receives. It is there for broadcasts at any time, so that nobody waits until
// its generators ask.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "messages/records.hpp"
#include "transport/nccl_api.hpp"
#include "transport/tls.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct NcclMemberOptions {
  int connect_ms = 5000;  // for one attempt at a connection
  // Told a sentence when a connection or a group failed, in the member's thread. May be empty.
  std::function<void(const std::string&)> report;
};

struct NcclMemberStatus {
  bool joined = false;  // has a connection to the learner
  uint64_t group = 0;   // that has formed; 0: none
  // The newest version that it was told of; a version and all before it.
  uint64_t epoch = 0;
  uint64_t version = 0;
};

// Any thread may call. Memory: the newest version received, until a newer one is announced, and the
// one that arrives; both on the host.
class NcclMember {
 public:
  // Starts its thread, the only one that uses `nccl`. kResource: no thread or descriptor.
  [[nodiscard]] static Result<std::unique_ptr<NcclMember>> start(const TlsContext& context,
                                                                 const Hello& own,
                                                                 std::unique_ptr<Nccl> nccl,
                                                                 const NcclMemberOptions& options);
  // Aborts what is under way.
  ~NcclMember();
  NcclMember(const NcclMember&) = delete;
  NcclMember& operator=(const NcclMember&) = delete;

  // The version that `wanted` names, whole and with its checksum checked. Blocks until it is here;
  // nothing: it comes another way, or wasn't here by `limit`, or `cancelled` said so. Without a
  // connection to `wanted.place` it gives nothing at once, and makes one for the versions to come.
  // `cancelled` is called whenever something has changed, and must not call the member.
  std::optional<WeightsBuffer> wait(const WeightsReady& wanted, TimePoint limit,
                                    const std::function<bool()>& cancelled);
  // Has all waits look at `cancelled` again.
  void wake();

  NcclMemberStatus status() const;

 private:
  class Impl;
  explicit NcclMember(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
