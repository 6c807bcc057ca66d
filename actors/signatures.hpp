// All actors and what they say to each other, in travel order:
//
//   coordinator -> generator -> tracer -> preference builder -> learner -> (weights) -> generator
//
// Work travels as the records of messages/records.hpp; between nodes they are written as their
// protobuf twins (actors/wire.hpp), inside a process they are moved. Everything else here is
// control.
//
// Flow control is explicit credit: a consumer grants what it has room for, a producer sends at most
// that. A consumer grants again what it has taken out of its mailbox; what it then holds is bounded
// by the groups under way, that is, by actors/admission.hpp. So are value probes: one a rollout.
#pragma once

#include <caf/atom.hpp>
#include <caf/replies_to.hpp>
#include <caf/typed_actor.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "actors/control.hpp"
#include "actors/node_registry.hpp"
#include "actors/run_control.hpp"
#include "actors/run_store.hpp"
#include "actors/seat.hpp"
#include "actors/weights_announcement.hpp"
#include "messages/records.hpp"
#include "rollout/engine.hpp"

namespace tracewise {

using start_atom = caf::atom_constant<caf::atom("start")>;  // build what is needed and begin
using stop_atom = caf::atom_constant<caf::atom("stop")>;    // a clean stop was asked for
using tick_atom = caf::atom_constant<caf::atom("tick")>;    // to oneself: go on, look at the time
using wake_atom = caf::atom_constant<caf::atom("wake")>;    // to oneself: what waited may go on
using fetched_atom = caf::atom_constant<caf::atom("fetched")>;  // a fetch of weights has ended
using grant_atom = caf::atom_constant<caf::atom("grant")>;      // credit, from consumer to producer
using handed_atom = caf::atom_constant<caf::atom("handed")>;    // all rollouts of groups handed on
using release_atom = caf::atom_constant<caf::atom("release")>;  // KV leases no longer needed
using abandon_atom = caf::atom_constant<caf::atom("abandon")>;  // a group attempt was given up
using taken_atom = caf::atom_constant<caf::atom("taken")>;      // groups that the learner holds
using refused_atom = caf::atom_constant<caf::atom("refused")>;  // groups too old to be trained on
using clock_atom = caf::atom_constant<caf::atom("clock")>;      // the training clock's reading
using lost_atom = caf::atom_constant<caf::atom("lost")>;        // whoever held a seat is gone
using hire_atom = caf::atom_constant<caf::atom("hire")>;        // seat an actor on a node
using join_atom = caf::atom_constant<caf::atom("join")>;        // a node wants to belong to the run
using ready_atom = caf::atom_constant<caf::atom("ready")>;      // a node can be given seats
using leave_atom = caf::atom_constant<caf::atom("leave")>;      // a node says goodbye
using drain_atom = caf::atom_constant<caf::atom("drain")>;      // finish what is there, then leave
using order_atom = caf::atom_constant<caf::atom("order")>;      // an operator's, of the run
using drained_atom = caf::atom_constant<caf::atom("drained")>;  // nothing is on its way through
using ping_atom = caf::atom_constant<caf::atom("ping")>;        // the head is alive
using pong_atom = caf::atom_constant<caf::atom("pong")>;        // so is a node
using train_atom = caf::atom_constant<caf::atom("train")>;      // on the groups that were sent
using save_atom = caf::atom_constant<caf::atom("save")>;        // give rank 0 the optimizer's state
using offer_atom = caf::atom_constant<caf::atom("offer")>;    // rank 0's version to generators too
using put_atom = caf::atom_constant<caf::atom("put")>;        // into the ranks' store
using get_atom = caf::atom_constant<caf::atom("get")>;        // out of it
using failed_atom = caf::atom_constant<caf::atom("failed")>;  // an actor's last words
using status_atom = caf::atom_constant<caf::atom("status")>;  // who is here and waits for whom
using inspect_atom = caf::atom_constant<caf::atom("inspect")>;  // whom to ask about that

// Whether a request was carried out, as a value that can travel.
struct Outcome {
  bool ok = true;
  uint8_t error_class = 0;  // ErrorClass
  std::string message;
};

// The learner's answer to a SaveRequest.
struct SaveReply {
  Outcome outcome;
  uint64_t step = 0;  // at which the checkpoint was taken
  std::string folder;
};

// A group on its way to the learner, with the rollouts of it that are to be logged once it is
// trained on.
struct GroupParcel {
  SampleGroup group;
  std::vector<LoggedRollout> logged;
};

// How many seats a node has for each role.
struct SeatCounts {
  uint32_t generators = 0;
  uint32_t tracers = 0;
  uint32_t builders = 0;
  uint32_t ranks = 0;  // of the learner, beside rank 0
};

// A node as others find it.
struct NodeAddress {
  std::string name;
  std::string host;
  uint16_t port = 0;  // of its door
};

// A node that has made its parts and is linked with the others.
struct NodeOffer;

// Whom to ask about a node's actors.
struct NodeInspector;

// What they do, and did since the last report.
struct InspectorReport {
  std::vector<ActorStatus> actors;
  std::vector<Span> spans;
};

// What a node that wants to join is told.
struct Welcome {
  Outcome outcome;                 // a refusal has nothing below
  std::string config;              // the run's resolved config, TOML
  std::vector<NodeAddress> nodes;  // to be linked with before it is ready
};

// The actor of a seat: the handle of its role is set.
struct Hired;

// What a rank of the learner needs to meet the others.
struct RankMeeting;

// A rank's answer to an offer_atom: where its copy of a version is.
struct RankOffer {
  Outcome outcome;  // a failure has nothing below
  WeightsPlace place;
};

// Who is who. Sent to everybody when somebody has joined or was lost, to each with those whom it
// speaks to, and answered with its epoch: the coordinator is told last, so that nobody gets work
// from a stranger.
struct Peers;

// --- generator: owns an engine; detached, ticks itself between two decode steps
using GeneratorActor = caf::typed_actor<
    caf::replies_to<start_atom>::with<Outcome>,  // builds the engine
    caf::replies_to<Peers>::with<uint64_t>,
    // Coordinator. Held back until the weights are at least those of task.issue_version.
    caf::reacts_to<GroupTask>, caf::reacts_to<abandon_atom, std::vector<GroupKey>>,
    // Tracer, grants: tracer, rollouts.
    caf::reacts_to<grant_atom, uint32_t, uint32_t>,
    // Tracer: value probes.
    caf::reacts_to<std::vector<ProbeRequest>>, caf::reacts_to<release_atom, std::vector<uint64_t>>,
    // Learner. Answered once the version is checked and every rollout that starts will use it.
    caf::replies_to<WeightsAnnouncement>::with<WeightsDelivered>, caf::reacts_to<fetched_atom>,
    caf::reacts_to<tick_atom>, caf::reacts_to<wake_atom>>;

// --- tracer: steps, verdicts, values
using TracerActor = caf::typed_actor<caf::replies_to<start_atom>::with<Outcome>,
                                     caf::replies_to<Peers>::with<uint64_t>,
                                     // Generator: finished rollouts, and its number for the credit.
                                     caf::reacts_to<uint32_t, std::vector<Rollout>>,
                                     // Generator.
                                     caf::reacts_to<std::vector<ProbeResult>>,
                                     // Builder, grants: builder, rollouts.
                                     caf::reacts_to<grant_atom, uint32_t, uint32_t>,
                                     // Coordinator.
                                     caf::reacts_to<abandon_atom, std::vector<GroupKey>>,
                                     caf::reacts_to<tick_atom>, caf::reacts_to<wake_atom>>;

// --- preference builder: groups, advantages, step pairs
using BuilderActor = caf::typed_actor<caf::replies_to<start_atom>::with<Outcome>,
                                      caf::replies_to<Peers>::with<uint64_t>,
                                      // Tracer: traced rollouts, and its number for the credit.
                                      caf::reacts_to<uint32_t, std::vector<TracedRollout>>,
                                      // Learner, grants groups.
                                      caf::reacts_to<grant_atom, uint32_t>,
                                      // Coordinator.
                                      caf::reacts_to<abandon_atom, std::vector<GroupKey>>>;

// --- rank store: one a run; where the learner's ranks meet (learner/rank_store.hpp)
using RankStoreActor =
    caf::typed_actor<caf::replies_to<put_atom, std::string, std::string>::with<Outcome>,
                     // Whether the key is there, and its value.
                     caf::replies_to<get_atom, std::string>::with<bool, std::string>>;

// --- rank: a rank of the learner other than 0; owns its trainer; detached
using RankActor = caf::typed_actor<
    caf::replies_to<start_atom>::with<Outcome>,
    // Learner, which makes the same call of its own trainer meanwhile: make it, train on the groups
    // that came before (from weights version, at a run's progress in [0, 1]), save it.
    caf::replies_to<RankMeeting>::with<Outcome>, caf::reacts_to<std::vector<SampleGroup>>,
    caf::replies_to<train_atom, uint64_t, double>::with<Outcome>,
    caf::replies_to<save_atom>::with<Outcome>,
    // Learner, of a meeting that serves weights: offer the version that it has published, which the
    // rank's own weights must be.
    caf::replies_to<offer_atom, WeightsManifest>::with<RankOffer>>;

// --- learner: owns trainer, batch buffer and checkpoints; rank 0; detached
using LearnerActor = caf::typed_actor<
    // Builds the trainer, together with the other ranks, and offers its weights.
    caf::replies_to<start_atom, Peers>::with<Outcome>,
    // Generators that are new are told of the weights.
    caf::replies_to<Peers>::with<uint64_t>,
    // Builder: groups, and its number for the credit.
    caf::reacts_to<uint32_t, std::vector<GroupParcel>>,
    // Coordinator: an empty group in place of one that has no attempts left.
    caf::reacts_to<SampleGroup>,
    caf::reacts_to<clock_atom, double, bool>,  // seconds of training time, running
    caf::replies_to<SaveRequest>::with<SaveReply>, caf::reacts_to<tick_atom>,
    // To itself: what a call that the ranks make together failed of.
    caf::reacts_to<failed_atom, Outcome>>;

// --- coordinator: one a run; dataset, ledger, admission, evaluation; detached (it writes to disk)
using CoordinatorActor =
    caf::typed_actor<caf::reacts_to<start_atom>, caf::reacts_to<Peers>,
                     // Generator: groups whose rollouts all left it, and the samples that it grants
                     // for them and for given-up ones; its engine's counters.
                     caf::reacts_to<handed_atom, uint32_t, std::vector<GroupKey>, uint32_t>,
                     caf::reacts_to<uint32_t, EngineStats>,
                     // Builder.
                     caf::reacts_to<GroupFailed>,
                     // Tracer: rollouts of an evaluation.
                     caf::reacts_to<std::vector<TracedRollout>>,
                     // Learner: in this order for one group.
                     // All, and those of them without a signal.
                     caf::reacts_to<taken_atom, std::vector<GroupKey>, std::vector<GroupKey>,
                                    std::vector<LoggedRollout>>,
                     caf::reacts_to<refused_atom, std::vector<GroupKey>>, caf::reacts_to<Commit>,
                     // Supervisor: seat, reason, whether it died of its own.
                     caf::reacts_to<lost_atom, Seat, std::string, bool>,
                     // Supervisor: seats of a node that is to leave.
                     caf::reacts_to<drain_atom, std::vector<Seat>>,
                     // Operator.
                     caf::replies_to<status_atom>::with<std::vector<SeatWork>>,
                     caf::replies_to<order_atom, RunOrder>::with<Outcome>,
                     caf::reacts_to<stop_atom>, caf::reacts_to<tick_atom>>;

// --- agent: one on each node but the head's; spawns actors there and shows that the node is alive
using AgentActor = caf::typed_actor<
    caf::replies_to<hire_atom, Seat>::with<Hired>,
    // Supervisor: a number that its answer repeats. Without pings the head is lost.
    caf::reacts_to<ping_atom, uint64_t>,
    // Supervisor: the node no longer belongs to the run; whether the run is over, and why.
    caf::reacts_to<stop_atom, bool, std::string>, caf::reacts_to<tick_atom>>;

// --- supervisor: fills the seats, notices deaths, fills them again, ends the run
using SupervisorActor = caf::typed_actor<
    // Fills the seats and starts everybody; the node's inbox is told when all are ready.
    caf::reacts_to<start_atom, Peers>,
    // Name, class of the error, sentence.
    caf::reacts_to<failed_atom, std::string, uint8_t, std::string>,
    // Learner: nothing is heard of a seat's actor, and why that matters.
    caf::reacts_to<lost_atom, Seat, std::string>,
    // A node comes, can be given seats, is alive, goes.
    caf::replies_to<join_atom, NodeAddress>::with<Welcome>, caf::reacts_to<ready_atom, NodeOffer>,
    // A node that is alive says whom it has lost its links with.
    caf::reacts_to<pong_atom, std::string, uint64_t, std::vector<std::string>>,
    caf::reacts_to<leave_atom, std::string>,
    // Operator: who is there, and a node that is to leave; coordinator: a seat of it is idle.
    caf::replies_to<status_atom>::with<std::vector<NodeStatus>>,
    caf::replies_to<inspect_atom>::with<std::vector<NodeInspector>>,
    caf::replies_to<drain_atom, std::string>::with<Outcome>, caf::reacts_to<drained_atom, Seat>,
    caf::reacts_to<tick_atom>, caf::reacts_to<wake_atom>,
    // Ends all actors of the run but the inspectors, then itself. Other nodes are told whether the
    // run is over, or may be resumed by another head, and why.
    caf::reacts_to<stop_atom, bool, std::string>>;

// --- monitor: on the head; finds what stalls the run
using MonitorActor = caf::typed_actor<caf::reacts_to<tick_atom>>;

// --- inspector: one a node
using InspectorActor =
    caf::typed_actor<caf::replies_to<status_atom>::with<std::vector<ActorStatus>>,
                     // Monitor: likewise, and what they did since it asked last.
                     caf::replies_to<inspect_atom>::with<InspectorReport>>;

struct NodeOffer {
  NodeAddress address;
  SeatCounts seats;
  AgentActor agent;
  InspectorActor inspector;
};

struct NodeInspector {
  std::string node;
  InspectorActor actor;
};

struct Hired {
  GeneratorActor generator;
  TracerActor tracer;
  BuilderActor builder;
  RankActor rank;
};

// A rank of the learner, and the node where it is.
struct RankPeer {
  RankActor actor;
  NodeAddress node;
};

struct RankMeeting {
  uint32_t rank = 0;
  std::vector<NodeAddress> nodes;  // by rank
  RankStoreActor store;
  bool restore = false;        // a checkpoint, which rank 0 reads
  bool serve_weights = false;  // each rank offers every version, as rank 0 does
};

struct Peers {
  CoordinatorActor coordinator;
  LearnerActor learner;
  std::map<uint32_t, GeneratorActor> generators;  // by number, as are the others
  std::map<uint32_t, TracerActor> tracers;
  std::map<uint32_t, BuilderActor> builders;
  std::map<uint32_t, RankPeer> ranks;  // beside rank 0, in their order; for the learner alone
  uint64_t epoch = 0;                  // goes up with every change
};

}  // namespace tracewise
