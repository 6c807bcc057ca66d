// The doctor with hosts that are shell scripts, and its judgement of made-up facts.
#include "launch/doctor/doctor.hpp"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/doctor/judge.hpp"
#include "tests/process_tree.hpp"

namespace tracewise {
namespace {

// A host on which nothing is wrong.
HostReport fine(const std::string& node) {
  HostReport report;
  report.host = "real-name";
  report.cores = 8;
  report.open_files = 1024;
  report.memory_bytes = int64_t{8} << 30;
  report.available_bytes = int64_t{4} << 30;
  report.disks = {{"run folder", "/runs/a", int64_t{1} << 30},
                  {"temporary files", "/tmp", int64_t{1} << 30}};
  report.doors[node] = "";
  report.door_port = 4000;
  report.devices["cpu"] = "";
  report.all_reduce_found = "CPU build: not checked";
  return report;
}

PlacedNode placed(const std::string& name, const std::string& script) {
  PlacedNode node;
  node.name = name;
  node.host = node.reached_as = name + ".example";
  node.argv = {"/bin/sh", "-c", script};
  node.seats.generators = 2;
  node.door.address = "0.0.0.0";
  return node;
}

// Speaks as a host would; `time` is a shell word that gives its clock.
std::string host_script(const HostReport& report, const std::string& time) {
  const auto quoted = [](const HostAnswer& answer) {
    return "printf '%s' '" + to_line(answer) + "';";
  };
  return quoted(HostHello{"b1", 1}) + "read -r ping; echo '{\"time\":'\"" + time +
         "\"'}'; read -r request;" + quoted(report) + "read -r peers; echo \"$peers\" >&2;" +
         quoted(HostReached{}) + "read -r end";
}

Needs needs() {
  Needs needs;
  needs.build = "b1";
  needs.protocol = 1;
  needs.nodes = 2;
  for (const char* node : {"gen0", "head", "behind"}) needs.memory[node] = int64_t{1} << 30;
  needs.checkpoint_bytes = int64_t{100} << 20;
  needs.checkpoints = 3;
  needs.ssh = true;
  return needs;
}

// What is found of a host with these facts, by check.
std::map<std::string, Finding> judged(HostVisit host, const Needs& needs) {
  std::map<std::string, Finding> found;
  for (Finding& finding : judge({std::move(host)}, needs))
    found[finding.check] = std::move(finding);
  return found;
}

HostVisit visited(const HostReport& report) {
  HostVisit host;
  host.host = "gen0.example";
  host.name = "host0";
  host.nodes = {placed("gen0", "")};
  host.hello = HostHello{"b1", 1};
  host.clock = ClockSkew{-0.01, 0.02};
  host.report = report;
  host.reached = HostReached{};
  return host;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("all hosts are asked at once, and what fails on one hides nothing of the others") {
  Placement placement;
  placement.nodes = {
      placed("head", host_script(fine("head"), "$(date +%s.%N)")),
      placed("behind", host_script(fine("behind"), "$(($(date +%s) - 100))")),
      placed("refused", "echo 'ssh: Connection refused' >&2; exit 255"),
      placed("silent", "sleep 100"),
      placed("early", "printf '%s' '" + to_line(HostHello{"b1", 1}) + "'; echo oops; exit 3")};
  std::vector<HostVisit> hosts = hosts_of(placement);
  REQUIRE(hosts.size() == 5);
  CHECK(hosts[0].is_here);
  DoctorSetup setup;
  setup.limit = std::chrono::seconds(3);
  const auto begun = std::chrono::steady_clock::now();
  REQUIRE(visit(hosts, setup).ok());
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(8));
  CHECK(descendants(::getpid()).empty());

  CHECK(hosts[0].failure.empty());
  CHECK(hosts[0].report->host == "real-name");
  CHECK(hosts[0].reached.has_value());
  // Its clock was read between the two looks at ours: equal is within the bounds.
  CHECK(hosts[0].clock->least <= 0);
  CHECK(hosts[0].clock->most >= 0);
  CHECK(hosts[1].clock->most < -99);
  CHECK(hosts[1].clock->least > -110);
  CHECK(hosts[2].failure == "it cannot be reached: ssh: Connection refused");
  CHECK(hosts[3].failure == "it did not report within 3 s");
  CHECK(hosts[4].failure == "its process ended early: oops");

  const std::vector<Finding> findings = judge(hosts, needs());
  std::set<std::string> unreachable;
  for (const Finding& f : findings) {
    if (f.check == "reachable" && f.level == Level::kFail) unreachable.insert(f.host);
  }
  CHECK(unreachable == std::set<std::string>{"refused.example", "silent.example", "early.example"});
}

TEST_CASE("hosts that are started by the same words are one host") {
  Placement placement;
  placement.nodes = {placed("head", "a"), placed("gen0", "b"), placed("gen1", "a"),
                     placed("gen2", "b")};
  const std::vector<HostVisit> hosts = hosts_of(placement);
  REQUIRE(hosts.size() == 2);
  CHECK(hosts[0].nodes[1].name == "gen1");
  CHECK(hosts[1].host == "gen0.example");
  CHECK(hosts[1].nodes.size() == 2);
}

TEST_CASE("a host on which all is fine has no failure, and no advice") {
  const auto found = judged(visited(fine("gen0")), needs());
  for (const auto& [check, finding] : found) {
    INFO(check << ": " << finding.found);
    CHECK(finding.level == Level::kOk);
    CHECK(finding.fix.empty());
  }
  CHECK(found.at("clock").found == "within 0.02 s");
  CHECK(found.at("memory").found == "4.0 GiB of 8.0 GiB free for about 1.0 GiB");
  CHECK(found.at("run folder").found == "/runs/a: 1.0 GiB free, checkpoints take 300 MiB");
  CHECK(found.at("all-reduce").found == "CPU build: not checked");
}

TEST_CASE("each fact that would break the run fails with its advice") {
  struct Case {
    std::string check;
    Level level;
    std::function<void(HostVisit&)> change;
    std::string found, fix;
  };
  const auto gib = [](double n) { return static_cast<int64_t>(n * (int64_t{1} << 30)); };
  for (const Case& c : std::vector<Case>{
           {"same build", Level::kFail, [](auto& h) { h.hello->build = "b2"; }, "build b2",
            "cluster.binary"},
           {"same build", Level::kFail, [](auto& h) { h.hello->protocol = 2; }, "protocol 2",
            "cluster.binary"},
           {"clock", Level::kWarn,
            [](auto& h) {
              h.clock = ClockSkew{3, 4};
            },
            "3.00 s ahead", "NTP"},
           {"clock", Level::kOk,
            [](auto& h) {
              h.clock = ClockSkew{-1, 9};
            },
            "9.00 s", ""},
           {"clock", Level::kFail,
            [](auto& h) {
              h.clock = ClockSkew{-90'001, -90'000};
            },
            "90000.00 s behind", "certificates"},
           {"door of gen0", Level::kFail,
            [](auto& h) { h.report->doors["gen0"] = "port 4100 is in use"; }, "4100 is in use",
            "cluster.address"},
           {"way to gen0.example", Level::kFail,
            [](auto& h) { h.reached->doors["host0"] = "Connection refused"; }, "Connection refused",
            "firewall"},
           {"open files", Level::kFail, [](auto& h) { h.report->open_files = 287; }, "287", "288"},
           {"cores", Level::kWarn, [](auto& h) { h.nodes[0].threads = 5; }, "8 for 10 threads",
            "threads"},
           {"memory", Level::kWarn, [&](auto& h) { h.report->available_bytes = gib(0.5); },
            "512 MiB", "End what else"},
           {"memory", Level::kFail, [&](auto& h) { h.report->memory_bytes = gib(0.5); }, "512 MiB",
            "fewer generators"},
           {"run folder", Level::kFail, [&](auto& h) { h.report->disks[0].free_bytes = gib(0.09); },
            "92 MiB free", "checkpoint.keep_last"},
           {"run folder", Level::kWarn, [&](auto& h) { h.report->disks[0].free_bytes = gib(0.2); },
            "205 MiB free", "checkpoint.keep_last"},
           {"run folder", Level::kFail, [](auto& h) { h.report->disks[0].free_bytes = -1; },
            "cannot be written", "run.dir"},
           {"temporary files", Level::kWarn,
            [](auto& h) { h.report->disks[1].free_bytes = 5 << 20; }, "5 MiB free", "64 MiB"},
           {"model folder", Level::kFail, [](auto& h) { h.report->model = "no config.json"; },
            "no config.json", "model.dir"},
           {"device cuda:0", Level::kFail,
            [](auto& h) { h.report->devices["cuda:0"] = "not usable"; }, "not usable", "CPU build"},
           {"all-reduce", Level::kFail, [](auto& h) { h.report->all_reduce = "rank 1 waited"; },
            "rank 1 waited", "NCCL_DEBUG"},
           {"reachable", Level::kFail, [](auto& h) { h.failure = "it cannot be reached"; },
            "it cannot be reached", "`ssh gen0.example true`"},
       }) {
    HostVisit host = visited(fine("gen0"));
    c.change(host);
    const auto found = judged(std::move(host), needs());
    INFO(c.check << " " << c.found);
    REQUIRE(found.count(c.check) == 1);
    const Finding& finding = found.at(c.check);
    INFO(finding.found << " | " << finding.fix);
    CHECK(finding.level == c.level);
    CHECK(has(finding.found, c.found));
    CHECK(has(finding.fix, c.fix));
  }
}

TEST_CASE("findings are shown with their advice, and as JSON") {
  const std::vector<Finding> findings = {{"a", "clock", Level::kOk, "fine", ""},
                                         {"b", "cores", Level::kFail, "none", "Add some."}};
  CHECK(findings_table(findings) ==
        "host  check        found\n"
        "a     clock  ok    fine\n"
        "b     cores  FAIL  none\n"
        "\n"
        "FAIL b, cores: Add some.\n");
  const auto json = nlohmann::json::parse(findings_json(findings));
  CHECK(json["ok"] == false);
  CHECK(json["findings"][1]["fix"] == "Add some.");
  CHECK(nlohmann::json::parse(findings_json({findings[0]}))["ok"] == true);
}

TEST_CASE("what the doctor and a host say to each other is a line that reads back to the same") {
  HostReport report = fine("gen0");
  report.all_reduce = "late";
  const auto read = host_answer(to_line(report));
  REQUIRE(read);
  const auto& back = std::get<HostReport>(*read);
  CHECK(to_line(back) == to_line(report));
  CHECK(back.all_reduce == "late");
  CHECK(back.disks[1].free_bytes == int64_t{1} << 30);
  CHECK(std::get<HostTime>(*host_answer(to_line(HostTime{12.5}))).seconds == 12.5);
  CHECK(std::get<HostReached>(*host_answer(to_line(HostReached{{{"a", "no"}}}))).doors.at("a") ==
        "no");

  HostRequest request;
  request.identity = RunAuthority::create(1)->issue("host0", 1).value();
  request.config = "[run]\n";
  request.head = true;
  request.nodes = {{"gen0", {1, 2, 3, 4}, {"cuda:1"}, "cuda:2", {}}};
  request.nodes[0].door.port = 4100;
  const auto order = doctor_order(to_line(request));
  REQUIRE(order.ok());
  CHECK(to_line(*order) == to_line(request));
  CHECK(std::get<HostRequest>(*order).nodes[0].seats == Seats{1, 2, 3, 4});
  CHECK(std::get<HostDoors>(*doctor_order(to_line(HostDoors{{"a", "h", 5}})))[0].port == 5);
  CHECK_FALSE(host_answer("plain words"));
  CHECK_FALSE(doctor_order("{}").ok());
}

}  // namespace
}  // namespace tracewise
