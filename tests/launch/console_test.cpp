// The commands of tracewise shell, with a head that answers as it is told.
#include "launch/shell/console.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace tracewise {
namespace {

using Strings = std::vector<std::string>;
using Kind = ControlRequest::Kind;

std::vector<NodeStatus> two_nodes(Kind kind) {
  std::vector<NodeStatus> nodes(3);
  nodes[0].node = "head";
  nodes[0].host = "h";
  nodes[1].node = "gen0";
  nodes[1].host = "g";
  nodes[1].seats = {{{Role::kGenerator, 1}, 3, 7}};
  nodes[2].node = "gen1";
  nodes[2].state = NodeState::kSuspect;
  if (kind != Kind::kActors) return nodes;
  nodes[0].actors = {
      {"coordinator", "coordinator", "idle", 0.5, 0, 12, {{"generator 1", "groups", 4, -0.5}}},
      {"inspector", "inspector", "idle", 9, 0, 1, {}}};
  nodes[1].actors = {{"generator 1", "generator", "in an engine step", 4, 2, 30, {}},
                     {"inspector", "inspector", "idle", 9, 0, 1, {}}};
  nodes[2].unheard = "it did not answer within 2 s";
  return nodes;
}

struct Head {
  std::vector<ControlRequest> asked;
  Console console(Console::Format format) {
    return Console(
        [this](const ControlRequest& request) -> ControlAnswer {
          asked.push_back(request);
          if (request.kind == Kind::kDrain && request.node != "gen0")
            return bad_input("no node " + request.node + " works for the run");
          return two_nodes(request.kind);
        },
        RunView("/nowhere"), format);
  }
  Result<std::string> run(const std::string& line,
                          Console::Format format = Console::Format::kText) {
    return console(format).run(line);
  }
};

std::string refusal(const Result<std::string>& answer) {
  REQUIRE_FALSE(answer.ok());
  CHECK(answer.error().error_class == ErrorClass::kBadInput);
  return answer.error().message;
}

}  // namespace

TEST_CASE("a line is cut into words at blanks outside quotes") {
  CHECK(shell_words("  why\t'generator 1' \"\" a'b'c \n").value() ==
        Strings{"why", "generator 1", "", "abc"});
  CHECK(shell_words("").value().empty());
  CHECK(shell_words("why 'generator").error().message == "the quote ' has no end");
}

TEST_CASE("ps has a line for every actor, and one for a node that does not answer") {
  Head head;
  CHECK(head.run("ps").value() ==
        "node  actor        state              for    mailbox  handled  waits for\n"
        "head  coordinator  idle               0.5 s  0        12       generator 1: groups\n"
        "head  inspector    idle               9.0 s  0        1\n"
        "gen0  generator 1  in an engine step  4.0 s  2        30\n"
        "gen0  inspector    idle               9.0 s  0        1\n"
        "gen1               suspect                                     it did not answer within 2 "
        "s\n");
  REQUIRE(head.asked.size() == 1);
  CHECK(head.asked[0].kind == Kind::kActors);
  const auto json = nlohmann::json::parse(head.run("ps", Console::Format::kJson).value());
  CHECK(json["nodes"][0]["actors"][0]["waits"][0]["left_seconds"] == -0.5);
  CHECK(json["nodes"][2]["unheard"] == "it did not answer within 2 s");
}

TEST_CASE("what is overdue stands out in colours and nowhere else") {
  Head head;
  const std::string colours = head.run("ps", Console::Format::kColours).value();
  CHECK(colours.find("\x1b[31mhead  coordinator") != std::string::npos);
  CHECK(colours.find("\x1b[31mgen1 ") != std::string::npos);
  CHECK(head.run("waits").value() ==
        "left    node  actor        waits for    what    for\n"
        "-0.5 s  head  coordinator  generator 1  groups  4.0 s\n");
}

TEST_CASE("why tells the chain of an actor, of the coordinator where none is named") {
  Head head;
  const std::string chain =
      "coordinator (head) waits for generator 1: groups; for 4.0 s, overdue by 0.5 s\n"
      "generator 1 (gen0) waits for nobody: in an engine step for 4.0 s, 2 messages waiting\n";
  CHECK(head.run("why").value() == chain);
  CHECK(head.run("why coordinator").value() == chain);
  CHECK(head.run("why generator 1").value() == chain.substr(chain.find('\n') + 1));
  const auto json = nlohmann::json::parse(head.run("why", Console::Format::kJson).value());
  CHECK(json["chains"][0]["end"] == "works");
  CHECK(json["chains"][0]["links"][1]["actor"] == "generator 1");

  CHECK(refusal(head.run("why generatr 1")) ==
        "there is no actor generatr 1; did you mean generator 1?");
  CHECK(refusal(head.run("why inspector")) ==
        "several actors are called inspector: head/inspector, gen0/inspector");
}

TEST_CASE("nodes and drain ask the head, and its refusals are told") {
  Head head;
  CHECK(head.run("nodes").value().find("gen0  ready    g     generator 1  3          7") !=
        std::string::npos);
  CHECK(head.run("drain gen0").value() == "gen0 gets no new work; nodes shows when it has left\n");
  CHECK(head.asked.back() == ControlRequest{Kind::kDrain, "gen0", {}});
  CHECK(refusal(head.run("drain gen9")) == "no node gen9 works for the run");
  CHECK(refusal(head.run("drain")) == "drain needs the name of a node");
}

TEST_CASE("stop asks the head, and is dangerous as nothing else is") {
  Head head;
  CHECK(head.run("stop").value() == "the run writes a checkpoint and ends\n");
  CHECK(head.asked.back().kind == Kind::kStop);
  CHECK(Console::is_dangerous(" stop"));
  for (const char* line : {"", "ps", "help stop", "stopp", "drain gen0", "'stop"})
    CHECK_FALSE(Console::is_dangerous(line));
}

TEST_CASE("commands are explained, and what is none is refused with the nearest one") {
  Head head;
  const std::string help = head.run("help").value();
  for (const char* command :
       {"ps", "why", "waits", "nodes", "drain", "stop", "help", "watch", "exit"}) {
    INFO(command);
    CHECK(("\n" + help).find("\n" + std::string(command) + " ") != std::string::npos);
  }
  CHECK(head.run("help why").value().starts_with("why [ACTOR]: what an actor waits for"));
  CHECK(head.run("   ").value().empty());
  CHECK(refusal(head.run("wiats")) == "there is no command wiats; did you mean waits?");
  CHECK(refusal(head.run("frobnicate")) == "there is no command frobnicate; help lists them");
  CHECK(refusal(head.run("help wh")) == "there is no command wh; did you mean why?");
  CHECK(refusal(head.run("ps gen0")) == "ps takes nothing behind it, but there is 'gen0'");
}

TEST_CASE("watch is taken apart into its interval and its command") {
  CHECK_FALSE(watch_of("why watch").value().has_value());
  CHECK(watch_of("watch ps").value()->seconds == 2);
  CHECK(watch_of(" watch 0.5  why generator 1").value()->seconds == 0.5);
  CHECK(watch_of(" watch 0.5  why generator 1").value()->line == "why generator 1");
  CHECK(watch_of("watch").error().message == "watch needs a command: watch 2 ps");
  CHECK(watch_of("watch 3").error().message == "watch needs a command: watch 2 ps");
  CHECK(watch_of("watch 0 ps").error().message ==
        "watch: 0 is no interval; 0.1 to 86400 seconds are");
}

TEST_CASE("commands, actors and nodes are completed") {
  Head head;
  const Console console = head.console(Console::Format::kText);
  CHECK(console.complete("w").words == Strings{"why", "waits", "watch"});
  CHECK(console.complete("watch 0.5 wh").words == Strings{"why"});
  CHECK(console.complete("watch why gene").words == Strings{"generator 1"});
  CHECK(console.complete("").words.size() == 20);
  CHECK(console.complete("config optimizer.lr").words == Strings{"optimizer.lr"});
  const auto actors = console.complete("why generator");
  CHECK(actors.begun == "generator");
  CHECK(actors.words == Strings{"generator 1"});
  CHECK(console.complete("why generator 1").begun == "generator 1");
  CHECK(console.complete("drain gen").words == Strings{"gen0", "gen1"});
  CHECK(console.complete("help d").words == Strings{"drain"});
  CHECK(console.complete("ps ").words.empty());
  CHECK(console.complete("why 'gen").words.empty());
}

}  // namespace tracewise
