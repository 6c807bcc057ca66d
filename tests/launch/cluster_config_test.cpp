#include <catch2/catch.hpp>

#include "launch/config.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

Result<Config> load(const std::string& text, std::vector<std::string> sets = {}) {
  return load_config({{}, std::move(sets), text});
}

Config loaded(const std::string& text, std::vector<std::string> sets = {}) {
  const auto config = load(text, std::move(sets));
  INFO((config.ok() ? std::string() : config.error().message));
  REQUIRE(config.ok());
  return *config;
}

std::string refusal(const std::string& text, std::vector<std::string> sets = {}) {
  const auto config = load(text, std::move(sets));
  REQUIRE_FALSE(config.ok());
  CHECK(config.error().error_class == ErrorClass::kBadInput);
  return config.error().message;
}

const std::string kTwoNodes = R"(
[cluster]
topology = "ssh"
lost_ms = 5000
[cluster.head]
tracers = 0
[cluster.ssh]
user = "me"
[[cluster.nodes]]
name = "gen0"
host = "a.example"
generators = 2
devices = ["cuda:0", "cuda:1"]
[[cluster.nodes]]
name = "trace0"
host = "b.example"
port = 4000
tracers = 3
)";

TEST_CASE("nodes are tables of a config, and are written as one that reads back to the same") {
  const Config config = loaded(kTwoNodes);
  for (const Config& c : {config, loaded(config_toml(config, true))}) {
    CHECK(c.cluster.topology == Topology::kSsh);
    CHECK(c.cluster.membership.lost_ms == 5000);
    CHECK(c.cluster.ssh.user == "me");
    REQUIRE(c.cluster.nodes.size() == 2);
    CHECK(c.cluster.nodes[0].name == "gen0");
    CHECK(c.cluster.nodes[0].seats == Seats{2, 0, 0});
    CHECK(c.cluster.nodes[0].devices == std::vector<std::string>{"cuda:0", "cuda:1"});
    CHECK(c.cluster.nodes[1].host == "b.example");
    CHECK(c.cluster.nodes[1].port == 4000);
    CHECK(all_seats(c.cluster) == Seats{2, 3, 1});
  }
}

TEST_CASE("nodes can be set with --set, over the file's") {
  const Config config =
      loaded(kTwoNodes, {R"(cluster.nodes=[{name="all",host="c",generators=1,tracers=1}])"});
  REQUIRE(config.cluster.nodes.size() == 1);
  CHECK(config.cluster.nodes[0].name == "all");
  CHECK(refusal(kTwoNodes, {R"(cluster.nodes=[{name="all",hots="c"}])"}) ==
        "--set: unknown key cluster.nodes.hots; did you mean cluster.nodes.host?");
}

TEST_CASE("what is wrong in a node's table is named with its line") {
  const auto with = [](const std::string& line) {
    return refusal("[[cluster.nodes]]\nname = \"gen0\"\n" + line + "\n");
  };
  CHECK(with("generator = 1") ==
        "config:3: unknown key cluster.nodes.generator; did you mean cluster.nodes.generators?");
  CHECK(with("generators = -1") ==
        "config:3: cluster.nodes.generators = -1: it must be an integer of at least 0");
  CHECK(with("devices = [\"gpu\"]") ==
        "config:3: cluster.nodes.devices = [\"gpu\"]: it must be a list of cpu and cuda:N");
  CHECK(refusal("[[cluster.nodes]]\nname = \"../x\"\n")
            .starts_with("config:2: cluster.nodes.name = \"../x\": it must be 1 to 64 letters"));
  CHECK(refusal("[cluster]\nnodes = [1]\n")
            .starts_with("config:2: cluster.nodes must be a list of tables with name, host"));
  CHECK(refusal("[cluster.nodes]\nname = \"a\"\n").starts_with("config:1: cluster.nodes must be"));
}

TEST_CASE("a cluster that contradicts itself is refused in one sentence") {
  const auto with = [](const std::string& sets) {
    const std::string message = refusal(kTwoNodes, {sets});
    return message.substr(message.find(": ", message.find("cluster.topology")) + 2);
  };
  CHECK(with(R"(cluster.nodes=[{name="a",host="h",generators=1}])") ==
        "no node and not the head has a tracer");
  CHECK(with("cluster.nodes=[]") == "no node and not the head has a generator");
  CHECK(with(R"(cluster.nodes=[{name="a",host="h",generators=1},{name="a",host="i",tracers=1}])") ==
        "two nodes are called a");
  CHECK(with(R"(cluster.nodes=[{name="head",host="h",generators=1}])") ==
        "node head needs another name");
  CHECK(with(R"(cluster.nodes=[{name="a",host="h"}])") ==
        "node a has no generators, tracers, builders or ranks");
  CHECK(with(R"(cluster.nodes=[{name="a",host="h",generators=1,rank_device="cuda:1"}])") ==
        "node a has rank_device cuda:1 but no ranks");
  CHECK(with(R"(cluster.nodes=[{name="a",generators=1}])") == "node a has no host");
  CHECK(with(R"(cluster.nodes=[{name="a",host="h",generators=2,devices=["cpu"]}])") ==
        "node a has 1 devices for 2 generators");
  CHECK(with("cluster.suspect_ms=5000") == "heartbeat_ms < suspect_ms < lost_ms must hold");
  CHECK(with("cluster.topology=local") ==
        "node gen0 has host a.example, but topology local starts all nodes on this machine; "
        "topology ssh reaches others");
  CHECK(with("cluster.topology=in_process") ==
        "in_process has no other nodes; take local, ssh or slurm");
  CHECK(with(R"(cluster.nodes=[{name="a",host="h",port=7,generators=1},)"
             R"({name="b",host="h",port=7,tracers=1}])") ==
        "node b has port 7 of host h, which is another node's");
  CHECK(refusal(kTwoNodes, {"run.generators=2"}) ==
        "config:3: cluster.topology = \"ssh\", run.generators = 2, run.tracers = 1, run.builders = "
        "1: run.* counts the seats of one process; those of several are counted in cluster.head "
        "and cluster.nodes");
}

}  // namespace
}  // namespace tracewise
