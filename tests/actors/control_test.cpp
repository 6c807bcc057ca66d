#include "actors/control.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

TEST_CASE("what an operator asks and is told survives its way as text") {
  const ControlRequest drain{ControlRequest::Kind::kDrain, "gen0", {}};
  CHECK(control_request(to_text(drain)).value() == drain);
  CHECK(control_request(to_text(ControlRequest{})).value() == ControlRequest{});
  const ControlRequest stop{ControlRequest::Kind::kStop, "", {}};
  CHECK(control_request(to_text(stop)).value() == stop);
  const ControlRequest actors{ControlRequest::Kind::kActors, "", {}};
  CHECK(control_request(to_text(actors)).value() == actors);

  for (const RunOrder& order : {RunOrder{RunOrder::Kind::kPause, 0},
                                {RunOrder::Kind::kResume, 0},
                                {RunOrder::Kind::kCheckpoint, 0},
                                {RunOrder::Kind::kEvaluate, 0},
                                {RunOrder::Kind::kStopAfter, 12}}) {
    const ControlRequest request{ControlRequest::Kind::kOrder, "", order};
    CHECK(control_request(to_text(request)).value() == request);
  }

  std::vector<NodeStatus> nodes(3);
  nodes[0] = {"head", "h", NodeState::kReady, false, "", {{{Role::kBuilder, 0}, 2, 40}}, {}, ""};
  nodes[1] = {"gen0", "a.b", NodeState::kSuspect, true, "it is silent", {}, {}, ""};
  nodes[1].seats = {{{Role::kGenerator, 1}, 3, 7}, {{Role::kTracer, 4}, 0, 1}};
  nodes[1].actors = {{"generator 1", "generator", "idle", 1.5, 2, 90, {{"learner", "x", 3, -1}}},
                     {"inspector", "inspector", "idle", 0.25, 0, 4, {}}};
  nodes[2].node = "gen1";
  nodes[2].state = NodeState::kLeft;
  nodes[2].reason = "it was drained";
  nodes[2].unheard = "it did not answer";
  CHECK(control_answer(to_text(ControlAnswer(nodes))).value() == nodes);

  const auto refused = control_answer(to_text(ControlAnswer(bad_input("no node \"x\""))));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(refused.error().message == "no node \"x\"");
}

TEST_CASE("a text that is no request or answer is refused") {
  for (const char* text : {"", "{}", "nodes", R"({"ask":"halt"})", R"({"ask":"drain"})",
                           R"({"ask":"order","order":{"kind":"fly","step":1}})"}) {
    CHECK(control_request(text).error().message == "the head does not know this request");
  }
  for (const char* text : {"", "{}", R"({"nodes":[{}]})",
                           R"({"nodes":[{"node":"a","host":"","state":"asleep","draining":false,)"
                           R"("reason":"","seats":[]}]})"}) {
    CHECK(control_answer(text).error().message == "the head's answer cannot be read");
  }
}

}  // namespace
}  // namespace tracewise
