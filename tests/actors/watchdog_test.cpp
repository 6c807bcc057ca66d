#include "actors/watchdog.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

using Strings = std::vector<std::string>;

ActorStatus actor(const std::string& name, std::vector<WaitStatus> waits = {}) {
  return {name, "role", "busy", 2.5, 0, 100, std::move(waits)};
}

NodeStatus node(const std::string& name, std::vector<ActorStatus> actors) {
  NodeStatus status;
  status.node = name;
  status.actors = std::move(actors);
  return status;
}

}  // namespace

TEST_CASE("an overdue wait is told once, with the way to its cause, and its end once") {
  Watchdog watchdog;
  const auto head = [](double left) {
    return node("head", {actor("coordinator",
                               {{"learner", "a step", 50, 9}, {"generator 1", "groups", 20, left}}),
                         actor("learner")});
  };
  const auto gen0 =
      node("gen0", {actor("generator 1", {{"node head", "weights version 5", 9, 1}})});
  CHECK(watchdog.look({head(0.1), gen0}).empty());
  CHECK(watchdog.look({head(-0.2), gen0}).empty());  // whoever keeps the deadline may still act
  CHECK(watchdog.look({head(-0.3), gen0}) ==
        Strings{"overdue: coordinator (head) waits for generator 1: groups; for 20.0 s, overdue by "
                "0.3 s; generator 1 (gen0) waits for node head: weights version 5; for 9.0 s, at "
                "most 1.0 s more; node head is ready"});
  CHECK(watchdog.look({head(-0.8), gen0}).empty());
  CHECK(watchdog.look({head(30), gen0}) ==
        Strings{"no longer overdue: coordinator (head) waits for generator 1: groups"});
}

TEST_CASE("actors that wait for each other are told once they have for three seconds") {
  Watchdog watchdog;
  const auto nodes = [](double since) {
    return std::vector{node("head", {actor("learner", {{"generator 0", "word", 40, 20}})}),
                       node("gen0", {actor("generator 0", {{"learner", "weights", since, 20}})})};
  };
  CHECK(watchdog.look(nodes(2.9)).empty());
  CHECK(watchdog.look(nodes(3.4)) ==
        Strings{"deadlock: generator 0 (gen0) waits for learner: weights; for 3.4 s, at most 20.0 "
                "s more; learner (head) waits for generator 0: word; for 40.0 s, at most 20.0 s "
                "more; these wait for each other, all of them for 3.4 s: if that lasts, nobody "
                "will go on"});
  CHECK(watchdog.look(nodes(3.9)).empty());
  CHECK(watchdog.look({nodes(1).front()}) ==
        Strings{"no longer deadlock: generator 0 (gen0) waits for learner: weights; learner (head) "
                "waits for generator 0: word"});
}

TEST_CASE("what was said of a node that is silent stands until it is heard or gone") {
  Watchdog watchdog;
  const auto head = node("head", {});
  auto gen0 = node("gen0", {actor("generator 0", {{"learner", "weights", 30, -5}})});
  CHECK(watchdog.look({head, gen0}).size() == 1);
  gen0.actors.clear();
  gen0.unheard = "it has not answered for a while";
  CHECK(watchdog.look({head, gen0}).empty());
  gen0.state = NodeState::kLost;
  CHECK(watchdog.look({head, gen0}) ==
        Strings{"no longer overdue: generator 0 (gen0) waits for learner: weights"});
}

}  // namespace tracewise
