#include "actors/wait_graph.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

using Strings = std::vector<std::string>;

ActorStatus actor(const std::string& name, const std::string& state,
                  std::vector<WaitStatus> waits = {}) {
  return {name, "role", state, 2.5, 7, 100, std::move(waits)};
}

NodeStatus node(const std::string& name, std::vector<ActorStatus> actors) {
  NodeStatus status;
  status.node = name;
  status.actors = std::move(actors);
  return status;
}

// A coordinator that waits for a generator on another node, which waits for the learner's weights.
WaitGraph usual() {
  return WaitGraph(
      {node("head", {actor("coordinator", "running",
                           {{"learner", "a step", 3, 57}, {"generator 1", "groups", 40, 20}}),
                     actor("learner", "writing a checkpoint"), actor("inspector", "idle")}),
       node("gen0", {actor("generator 1", "idle", {{"learner", "weights version 5", 12, -1}}),
                     actor("inspector", "idle")})});
}

WaitChain why(const WaitGraph& graph, const std::string& name) {
  const auto found = graph.find(name);
  REQUIRE(found.size() == 1);
  return graph.why(found.front());
}

Strings path(const WaitChain& chain) {
  Strings names;
  for (const WaitLink& link : chain.links) names.push_back(link.node + "/" + link.actor.name);
  return names;
}

}  // namespace

TEST_CASE("a chain follows the wait that began first, over nodes, to the actor that works") {
  const WaitChain chain = why(usual(), "coordinator");
  CHECK(chain.end == WaitChain::End::kWorks);
  CHECK(path(chain) == Strings{"head/coordinator", "gen0/generator 1", "head/learner"});
  CHECK(lines_of(chain) ==
        Strings{"coordinator (head) waits for generator 1: groups; for 40.0 s, at most 20.0 s more",
                "generator 1 (gen0) waits for learner: weights version 5; for 12.0 s, overdue by "
                "1.0 s",
                "learner (head) waits for nobody: writing a checkpoint for 2.5 s, 7 messages "
                "waiting"});
}

TEST_CASE("an actor is named alone or with its node, and several may have a name") {
  const WaitGraph graph = usual();
  CHECK(graph.find("inspector").size() == 2);
  CHECK(graph.find("gen0/inspector").size() == 1);
  CHECK(graph.find("gen0/learner").empty());
  CHECK(graph.names() ==
        Strings{"coordinator", "learner", "head/inspector", "generator 1", "gen0/inspector"});
}

TEST_CASE("waits are told with the one that has least time left first") {
  const auto waits = usual().waits();
  REQUIRE(waits.size() == 3);
  CHECK(waits[0].wait->what == "weights version 5");
  CHECK(waits[1].wait->what == "groups");
  CHECK(waits[2].actor.name == "coordinator");
}

TEST_CASE("a chain ends outside where somebody waits for what is no actor") {
  NodeStatus lost = node("gen0", {});
  lost.state = NodeState::kSuspect;
  lost.reason = "it is silent";
  lost.seats = {{{Role::kGenerator, 3}, 1, 0}};
  lost.unheard = "it did not answer within 2 s";
  const WaitGraph graph({node("head", {actor("supervisor", "idle", {{"node gen0", "x", 1, 9}}),
                                       actor("tracer 0", "busy", {{"the verifier", "y", 1, 9}}),
                                       actor("coordinator", "idle", {{"generator 3", "z", 1, 9}})}),
                         lost});
  const WaitChain silent = why(graph, "supervisor");
  CHECK(silent.end == WaitChain::End::kOutside);
  CHECK(lines_of(silent).back() ==
        "node gen0 is suspect: it is silent; its actors could not be asked: it did not answer "
        "within 2 s");
  CHECK(lines_of(why(graph, "tracer 0")).back() == "the verifier is no actor of the run");
  CHECK(lines_of(why(graph, "coordinator")).back() ==
        "generator 3 is on node gen0, which is suspect: it is silent; its actors could not be "
        "asked: it did not answer within 2 s");
}

TEST_CASE("actors that wait for each other are a cycle, told once and without what leads into it") {
  const WaitGraph graph(
      {node("head", {actor("a", "idle", {{"b", "x", 1, 9}}), actor("b", "idle", {{"c", "x", 1, 9}}),
                     actor("c", "idle", {{"b", "x", 1, 9}}),
                     actor("d", "idle", {{"d", "itself", 1, 9}})})});
  CHECK(why(graph, "a").end == WaitChain::End::kCycle);
  CHECK(lines_of(why(graph, "a")).back() ==
        "these wait for each other, all of them for 1.0 s: if that lasts, nobody will go on");
  const auto cycles = graph.cycles();
  REQUIRE(cycles.size() == 2);
  CHECK(path(cycles[0]) == Strings{"head/b", "head/c"});
  CHECK(path(cycles[1]) == Strings{"head/d"});
  CHECK(usual().cycles().empty());
}

}  // namespace tracewise
