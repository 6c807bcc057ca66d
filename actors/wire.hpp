// How CAF writes our messages where they leave the process: records as the bytes of their protobuf
// twins, control messages field by field. Inside a process none of this runs.
#pragma once

#include <caf/meta/type_name.hpp>
#include <caf/none.hpp>
#include <caf/sec.hpp>
#include <string>
#include <type_traits>

#include "actors/signatures.hpp"
#include "messages/codec.hpp"

namespace tracewise {

// Of the room in which a thread reads records.
inline constexpr size_t kKeptBytes = 256 << 10;

template <class Inspector, class Record>
typename Inspector::result_type inspect_record(Inspector& f, Record& record, const char* name) {
  if constexpr (std::is_same_v<typename Inspector::result_type, void>) {
    f(caf::meta::type_name(name));  // a message as text, in CAF's own error reports
  } else if constexpr (Inspector::reads_state) {
    Result<std::string> bytes = encode(record);
    if (!bytes.ok()) return typename Inspector::result_type{caf::sec::invalid_argument};
    return f(*bytes);
  } else {
    // Kept by the thread: a block that comes and goes between a record's many small ones costs the
    // allocator more than those do.
    static thread_local std::string bytes;
    if (auto failure = f(bytes)) return failure;
    const bool known = decode(bytes, record).ok();
    if (bytes.capacity() > kKeptBytes) std::string().swap(bytes);
    if (!known) return caf::sec::unknown_type;
    return caf::none;
  }
}

#define TRACEWISE_INSPECT_RECORD(R)                                  \
  template <class Inspector>                                         \
  typename Inspector::result_type inspect(Inspector& f, R& record) { \
    return inspect_record(f, record, #R);                            \
  }
TRACEWISE_RECORD_TYPES(TRACEWISE_INSPECT_RECORD)
#undef TRACEWISE_INSPECT_RECORD

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, WeightsAnnouncement& announcement) {
  if constexpr (std::is_same_v<typename Inspector::result_type, void>) {
    f(caf::meta::type_name("WeightsAnnouncement"));
  } else if constexpr (Inspector::reads_state) {
    return f(announcement.bytes());
  } else {
    std::string bytes;
    if (auto failure = f(bytes)) return failure;
    auto read = WeightsAnnouncement::read(std::move(bytes));
    if (!read.ok()) return caf::sec::unknown_type;
    announcement = std::move(*read);
    return caf::none;
  }
}

#define TRACEWISE_INSPECT(T, ...)                               \
  template <class Inspector>                                    \
  typename Inspector::result_type inspect(Inspector& f, T& x) { \
    return f(caf::meta::type_name(#T), __VA_ARGS__);            \
  }
TRACEWISE_INSPECT(Outcome, x.ok, x.error_class, x.message)
TRACEWISE_INSPECT(TrainedBatch, x.step, x.groups)
TRACEWISE_INSPECT(CheckpointState, x.step, x.version, x.next_group, x.train_seconds, x.seed,
                  x.best_metric, x.best_step, x.last_eval_step, x.last_eval_seconds, x.batches)
TRACEWISE_INSPECT(SaveRequest, x.state, x.best, x.keep_last, x.keep_best, x.deadline_ms)
TRACEWISE_INSPECT(SaveReply, x.outcome, x.step, x.folder)
TRACEWISE_INSPECT(LoggedRollout, x.step, x.traced, x.advantages)
TRACEWISE_INSPECT(GroupParcel, x.group, x.logged)
TRACEWISE_INSPECT(RunOrder, x.kind, x.step)
TRACEWISE_INSPECT(Seat, x.role, x.number)
TRACEWISE_INSPECT(SeatWork, x.seat, x.in_flight, x.finished)
TRACEWISE_INSPECT(NodeStatus, x.node, x.host, x.state, x.draining, x.reason, x.seats, x.actors,
                  x.unheard)
TRACEWISE_INSPECT(EngineStats, x.sampled_tokens, x.prefilled_tokens, x.probe_tokens, x.preemptions,
                  x.expired_leases, x.steps, x.step_seconds, x.probe_seconds, x.recomputed_tokens,
                  x.swaps, x.swap_wait_seconds, x.swap_pause_seconds, x.longest_step_seconds,
                  x.waiting, x.running, x.leased, x.free_blocks, x.total_blocks)
TRACEWISE_INSPECT(WaitStatus, x.who, x.what, x.since_seconds, x.left_seconds)
TRACEWISE_INSPECT(ActorStatus, x.name, x.role, x.state, x.state_seconds, x.mailbox, x.handled,
                  x.waits)
TRACEWISE_INSPECT(Span, x.actor, x.name, x.awaited, x.began_seconds, x.ended_seconds)
TRACEWISE_INSPECT(InspectorReport, x.actors, x.spans)
TRACEWISE_INSPECT(SeatCounts, x.generators, x.tracers, x.builders, x.ranks)
TRACEWISE_INSPECT(NodeAddress, x.name, x.host, x.port)
TRACEWISE_INSPECT(NodeOffer, x.address, x.seats, x.agent, x.inspector)
TRACEWISE_INSPECT(NodeInspector, x.node, x.actor)
TRACEWISE_INSPECT(Welcome, x.outcome, x.config, x.nodes)
TRACEWISE_INSPECT(Hired, x.generator, x.tracer, x.builder, x.rank)
TRACEWISE_INSPECT(RankPeer, x.actor, x.node)
TRACEWISE_INSPECT(RankMeeting, x.rank, x.nodes, x.store, x.restore, x.serve_weights)
TRACEWISE_INSPECT(RankOffer, x.outcome, x.place)
TRACEWISE_INSPECT(Peers, x.coordinator, x.learner, x.generators, x.tracers, x.builders, x.ranks,
                  x.epoch)
#undef TRACEWISE_INSPECT

}  // namespace tracewise
