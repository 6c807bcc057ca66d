#include "actors/membership.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

using std::chrono::milliseconds;
using TimePoint = Membership::TimePoint;

constexpr MembershipOptions kOptions{100, 300, 1000, 5000};

TEST_CASE("a node is joining until it says that it is ready") {
  Membership m(kOptions);
  const TimePoint t{};
  CHECK(m.join("gen0", t));
  CHECK(m.state("gen0") == NodeState::kJoining);
  CHECK(m.join("gen0", t));  // its process was started again
  CHECK(m.ready("gen0", t));
  CHECK_FALSE(m.join("gen0", t));  // the name is taken
  CHECK(m.state("gen0") == NodeState::kReady);
  CHECK_FALSE(m.ready("gen0", t));
  CHECK_FALSE(m.ready("gen1", t));
}

TEST_CASE("a silent node is suspect, is ready again when heard of, and lost when silent for long") {
  Membership m(kOptions);
  const TimePoint t{};
  m.join("gen0", t);
  m.ready("gen0", t);
  CHECK(m.tick(t + milliseconds(299)).empty());
  auto changes = m.tick(t + milliseconds(300));
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].state == NodeState::kSuspect);
  CHECK(changes[0].reason == "it is silent for 300 ms");
  CHECK(m.tick(t + milliseconds(999)).empty());  // told once
  const auto back = m.heard("gen0", t + milliseconds(999));
  REQUIRE(back);
  CHECK(back->state == NodeState::kReady);
  CHECK_FALSE(m.heard("gen0", t + milliseconds(999)));
  CHECK(m.tick(t + milliseconds(1998)).size() == 1);  // suspect
  changes = m.tick(t + milliseconds(1999));
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].state == NodeState::kLost);
  CHECK(changes[0].reason == "it was silent for 1000 ms (cluster.lost_ms is 1000)");
  CHECK_FALSE(m.state("gen0"));
  CHECK_FALSE(m.heard("gen0", t + milliseconds(2000)));  // its last words come too late
  CHECK(m.join("gen0", t + milliseconds(2000)));         // it starts anew
}

TEST_CASE("a node that joins may be silent, but is lost if it never gets ready") {
  Membership m(kOptions);
  const TimePoint t{};
  m.join("gen0", t);
  CHECK(m.tick(t + milliseconds(4999)).empty());
  const auto changes = m.tick(t + milliseconds(5000));
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].reason == "it was not ready within 5000 ms (cluster.join_ms)");
}

TEST_CASE("a broken link and a goodbye end a membership at once, and once") {
  Membership m(kOptions);
  const TimePoint t{};
  m.join("a", t);
  m.join("b", t);
  CHECK(m.nodes() == std::vector<std::string>{"a", "b"});
  const auto lost = m.lose("a", "its connection broke");
  REQUIRE(lost);
  CHECK(lost->state == NodeState::kLost);
  CHECK(lost->reason == "its connection broke");
  CHECK_FALSE(m.lose("a", "again"));
  REQUIRE(m.leave("b"));
  CHECK_FALSE(m.leave("b"));
  CHECK(m.nodes().empty());
}

TEST_CASE("who is gone is remembered with its reason, until it comes back") {
  Membership m(kOptions);
  const TimePoint t{};
  for (const char* node : {"a", "b", "c"}) m.join(node, t);
  m.lose("a", "its connection broke");
  m.leave("b", "it was drained");
  m.tick(t + milliseconds(5000));  // c was never ready
  REQUIRE(m.gone().size() == 3);
  CHECK(m.gone().at("a").state == NodeState::kLost);
  CHECK(m.gone().at("a").reason == "its connection broke");
  CHECK(m.gone().at("b").state == NodeState::kLeft);
  CHECK(m.gone().at("b").reason == "it was drained");
  CHECK(m.gone().at("c").state == NodeState::kLost);
  m.join("b", t);
  CHECK(m.gone().count("b") == 0);
}

TEST_CASE("of nodes that have no link with each other the one that lacks most is lost") {
  Membership m(kOptions);
  const TimePoint t{};
  for (const char* name : {"a", "b", "c"}) {
    m.join(name, t);
    m.ready(name, t);
  }
  const auto say = [&](int ms) {
    m.heard("a", t + milliseconds(ms), {"b"});
    m.heard("b", t + milliseconds(ms), {"c"});
    m.heard("c", t + milliseconds(ms));  // it has not noticed yet
    return m.tick(t + milliseconds(ms));
  };
  CHECK(say(100).empty());
  CHECK(say(399).empty());
  const auto changes = say(400);
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].node == "b");
  CHECK(changes[0].state == NodeState::kLost);
  CHECK(changes[0].reason == "its connection with node a broke");
  CHECK(say(450).empty());  // it is gone, so nobody lacks it
  CHECK(say(800).empty());
  m.join("b", t + milliseconds(800));
  m.ready("b", t + milliseconds(800));
  CHECK(m.tick(t + milliseconds(800)).empty());  // what a lacked for long was the one before
  m.heard("a", t + milliseconds(900), {"b"});    // a word from before the new link
  m.heard("a", t + milliseconds(1000));
  for (const char* name : {"b", "c"}) m.heard(name, t + milliseconds(1200));
  CHECK(m.tick(t + milliseconds(1200)).empty());
}

TEST_CASE("a node with a rank stays as long as another can be given up") {
  Membership m(kOptions);
  const TimePoint t{};
  for (const char* name : {"gen0", "gen1", "rank1", "rank2"}) {
    m.join(name, t);
    m.ready(name, t, std::string(name).starts_with("rank"));
  }
  const auto say = [&](int ms) {
    m.heard("rank1", t + milliseconds(ms), {"gen0", "gen1", "rank2"});
    for (const char* name : {"gen0", "gen1", "rank2"}) m.heard(name, t + milliseconds(ms));
    std::vector<std::string> lost;
    for (const auto& change : m.tick(t + milliseconds(ms))) lost.push_back(change.node);
    return lost;
  };
  CHECK(say(100).empty());
  CHECK(say(400) == std::vector<std::string>{"gen0"});
  CHECK(say(450) == std::vector<std::string>{"gen1"});
  CHECK(say(500) == std::vector<std::string>{"rank1"});
}

TEST_CASE("a link is made again, or was with a node that is lost: nobody else is") {
  Membership m(kOptions);
  const TimePoint t{};
  for (const char* name : {"a", "b"}) {
    m.join(name, t);
    m.ready(name, t);
  }
  m.heard("a", t, {"b"});
  m.heard("a", t + milliseconds(200), {});
  m.heard("a", t + milliseconds(250), {"b"});
  m.heard("b", t + milliseconds(250));
  CHECK(m.tick(t + milliseconds(540)).empty());
  REQUIRE(m.lose("b", "its connection broke"));
  m.heard("a", t + milliseconds(600), {"b"});
  CHECK(m.tick(t + milliseconds(800)).empty());
}

TEST_CASE("deadlines that contradict each other are refused by name") {
  CHECK(check(kOptions).ok());
  CHECK(check(MembershipOptions{}).ok());
  CHECK(check(MembershipOptions{0, 300, 1000, 5000}).error().message ==
        "cluster.heartbeat_ms = 0 is out of range: more than 0 is needed");
  CHECK(check(MembershipOptions{100, 300, 300, 5000}).error().message ==
        "cluster.lost_ms = 300 is out of range: more than cluster.suspect_ms = 300 is needed");
}

}  // namespace
}  // namespace tracewise
