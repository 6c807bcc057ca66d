// What CAF would write to a socket, and the inspector's answer.
#include "actors/wire.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>
#include <caf/scoped_actor.hpp>
#include <catch2/catch.hpp>

#include "actors/inspector_actor.hpp"

namespace tracewise {
namespace {

template <class T>
T through_the_wire(caf::actor_system& system, T value) {
  caf::binary_serializer::container_type bytes;
  caf::binary_serializer sink(system, bytes);
  REQUIRE_FALSE(sink(value));
  T read;
  caf::binary_deserializer source(system, bytes);
  REQUIRE_FALSE(source(read));
  return read;
}

TEST_CASE("records and control messages cross the wire unchanged") {
  caf::actor_system_config config;
  caf::actor_system system(config);
  GroupTask task;
  task.key = {7, 2};
  task.samples = 8;
  task.prompt = {"row", {1, 2, 3}, "42", {4}};
  CHECK(through_the_wire(system, task) == task);
  const std::vector<GroupKey> keys = {{1, 0}, {2, 5}};
  CHECK(through_the_wire(system, keys) == keys);

  SaveRequest save;
  save.state.step = 9;
  save.state.batches = {{9, keys}};
  save.best = true;
  const SaveRequest read = through_the_wire(system, save);
  CHECK(read.best);
  CHECK(read.state.step == 9);
  REQUIRE(read.state.batches.size() == 1);
  CHECK(read.state.batches[0].groups == keys);

  WeightsReady ready;
  ready.manifest.version = 3;
  ready.manifest.dtype = "F32";
  ready.manifest.bytes = 64;
  ready.manifest.tensors = {{"w", {16}, 0, 64}};
  ready.place.node = "head";
  const auto announced = WeightsAnnouncement::make(ready).value();
  CHECK(through_the_wire(system, announced).ready() == ready);
  const WeightsAnnouncement copy = announced;
  CHECK(&copy.bytes() == &announced.bytes());

  GroupParcel notice;
  notice.group.key = {3, 1};
  notice.logged.resize(1);
  notice.logged[0].traced.rollout.group_samples = 1;
  notice.logged[0].traced.rollout.prompt.tokens = {1};
  notice.logged[0].traced.rollout.tokens = {5};
  notice.logged[0].traced.rollout.logprobs = {-1};
  notice.logged[0].traced.rollout.policy_logprobs = {-1};
  notice.logged[0].traced.rollout.versions = {0};
  notice.logged[0].traced.step_ends = {1};
  notice.logged[0].advantages = {0.5f};
  const GroupParcel back = through_the_wire(system, notice);
  CHECK(back.group == notice.group);
  CHECK(back.logged.at(0).traced == notice.logged[0].traced);
  CHECK(back.logged.at(0).advantages == std::vector<float>{0.5f});
}

TEST_CASE("a record's bytes that are no such record are refused by the reader") {
  caf::actor_system_config config;
  caf::actor_system system(config);
  std::string garbage = "\xff\xff\xff not protobuf";
  caf::binary_serializer::container_type bytes;
  caf::binary_serializer sink(system, bytes);
  REQUIRE_FALSE(sink(garbage));
  GroupTask task;
  caf::binary_deserializer source(system, bytes);
  CHECK(source(task) == caf::sec::unknown_type);
}

TEST_CASE("the inspector answers who is here, what they do and whom they wait for") {
  caf::actor_system_config config;
  caf::actor_system system(config);
  auto services = std::make_shared<NodeServices>();
  const auto now = std::chrono::steady_clock::now();
  const auto generator = services->registry.enlist("generator 0", "generator", now);
  generator->set_state("in an engine step", now);
  generator->begin_wait("weights version 2", "learner", now, now + std::chrono::seconds(60));
  InspectorActor inspector = system.spawn<InspectorShell>(
      ShellContext{services, SupervisorActor{}, "inspector", "inspector"});
  std::vector<ActorStatus> status;
  {
    caf::scoped_actor self(system);
    self->request(inspector, std::chrono::seconds(30), status_atom::value)
        .receive([&](std::vector<ActorStatus>& got) { status = std::move(got); },
                 [](caf::error&) { FAIL("no answer"); });
    self->send_exit(inspector, caf::exit_reason::user_shutdown);
  }
  inspector = InspectorActor{};
  REQUIRE(status.size() == 2);
  CHECK(status[0].name == "generator 0");
  CHECK(status[0].state == "in an engine step");
  REQUIRE(status[0].waits.size() == 1);
  CHECK(status[0].waits[0].who == "learner");
  CHECK(status[0].waits[0].left_seconds > 0);
  CHECK(status[1].name == "inspector");
  CHECK(services->gate.wait_empty(std::chrono::steady_clock::now() + std::chrono::seconds(30)));
}

}  // namespace
}  // namespace tracewise
