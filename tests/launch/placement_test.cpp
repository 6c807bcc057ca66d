#include "launch/placement.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "launch/placement_print.hpp"
#include "launch/weights_placement.hpp"
#include "transport/nccl_api.hpp"

namespace tracewise {
namespace {

const LaunchHost kHere{"/opt/trace wise", "front.example"};

Config loaded(const std::vector<std::string>& sets) {
  const auto config = load_config({{}, sets});
  INFO((config.ok() ? std::string() : config.error().message));
  REQUIRE(config.ok());
  return *config;
}

Placement placed(const std::vector<std::string>& sets) {
  const auto placement = place(loaded(sets), kHere);
  REQUIRE(placement.ok());
  return *placement;
}

using Words = std::vector<std::string>;

TEST_CASE("topology local starts every process with the same words and reaches it by loopback") {
  const Placement placement =
      placed({"cluster.topology=local", "cluster.head.port=4000",
              "cluster.nodes=[{name=\"gen0\",generators=1,devices=[\"cuda:1\"],threads=3}]"});
  REQUIRE(placement.nodes.size() == 2);
  const PlacedNode& head = placement.nodes[0];
  const PlacedNode& gen0 = placement.nodes[1];
  CHECK(head.name == "head");
  CHECK(head.argv == Words{"/opt/trace wise", "node"});
  CHECK(head.seats == Seats{0, 1, 1});
  CHECK(head.door.address == "127.0.0.1");
  CHECK(head.door.port == 4000);
  CHECK(head.door.fixed_port);
  CHECK(head.reached_as == "127.0.0.1");
  CHECK(gen0.argv == head.argv);
  CHECK(gen0.reached_as == "127.0.0.1");
  CHECK_FALSE(gen0.door.fixed_port);
  CHECK(gen0.devices == Words{"cuda:1"});
  CHECK(gen0.threads == 3);
}

TEST_CASE("topology ssh reaches hosts without asking anybody, and quotes for their shells") {
  const Placement placement =
      placed({"cluster.topology=ssh", "cluster.ssh.user=me", "cluster.ssh.port=2222",
              "cluster.ssh.options=[\"-i\", \"/k\"]",
              "cluster.nodes=[{name=\"gen0\",host=\"a.example\",port=5000,generators=1}]"});
  const PlacedNode& head = placement.nodes[0];
  const PlacedNode& gen0 = placement.nodes[1];
  CHECK(head.argv == Words{"/opt/trace wise", "node"});
  CHECK(head.reached_as == "front.example");
  CHECK(head.door.address == "0.0.0.0");
  CHECK(gen0.reached_as == "a.example");
  CHECK(gen0.door.port == 5000);
  CHECK(gen0.argv ==
        Words{"ssh",
              "-T",
              "-o",
              "BatchMode=yes",
              "-o",
              "ConnectTimeout=10",
              "-o",
              "ServerAliveInterval=5",
              "-o",
              "ServerAliveCountMax=3",
              "-o",
              "ControlMaster=no",
              "-o",
              "ControlPath=none",
              "-i",
              "/k",
              "-l",
              "me",
              "-p",
              "2222",
              "--",
              "a.example",
              "exec env OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=10000 '/opt/trace wise' node"});
}

TEST_CASE("the binary of other hosts and the head's name can be given") {
  const Placement placement = placed({"cluster.topology=ssh", "cluster.binary=/usr/bin/tracewise",
                                      "cluster.head.host=10.0.0.1", "cluster.address=10.0.0.1",
                                      "cluster.nodes=[{name=\"gen0\",host=\"a\",generators=1}]"});
  CHECK(placement.nodes[0].reached_as == "10.0.0.1");
  CHECK(placement.nodes[0].door.address == "10.0.0.1");
  CHECK(placement.nodes[1].argv.back().ends_with(" /usr/bin/tracewise node"));
}

TEST_CASE("topology slurm has a step for each node, on the host that is named or any") {
  const Placement placement =
      placed({"cluster.topology=slurm", "cluster.slurm.options=[\"--gres=gpu:1\"]",
              "cluster.nodes=[{name=\"gen0\",host=\"n7\",generators=1},"
              "{name=\"trace0\",tracers=1}]"});
  CHECK(placement.nodes[1].argv == Words{"srun", "--nodes=1", "--ntasks=1", "--overlap",
                                         "--unbuffered", "--nodelist=n7", "--gres=gpu:1",
                                         "/opt/trace wise", "node"});
  CHECK(placement.nodes[2].argv == Words{"srun", "--nodes=1", "--ntasks=1", "--overlap",
                                         "--unbuffered", "--gres=gpu:1", "/opt/trace wise",
                                         "node"});
  CHECK(placement.nodes[2].reached_as.empty());
}

TEST_CASE("one process has nothing to place") {
  const auto placement = place(Config{}, kHere);
  REQUIRE_FALSE(placement.ok());
  CHECK(placement.error().error_class == ErrorClass::kBadInput);
  CHECK(placement.error().message.find("tracewise train") != std::string::npos);
}

TEST_CASE("a word is quoted where a shell would take it apart") {
  CHECK(shell_word("/usr/bin/x-1.2_a=b:c,d@e%f+g") == "/usr/bin/x-1.2_a=b:c,d@e%f+g");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("a b") == "'a b'");
  CHECK(shell_word("it's $HOME") == "'it'\\''s $HOME'");
}

// 2 layers of width 4 with 2 heads of 2 and 1 KV head, MLP 8, 10 tokens, tied: embedding 40, final
// norm 4; a layer: q 16, k 8, v 8, o 16, MLP 3 * 32, norms 8 = 152. In all 40 + 4 + 304 = 348.
ModelConfig tiny_model(const std::string& dtype) {
  ModelConfig model;
  model.vocab_size = 10;
  model.width = 4;
  model.layers = 2;
  model.heads = 2;
  model.kv_heads = 1;
  model.head_dim = 2;
  model.mlp_width = 8;
  model.max_context = 40;
  model.tied_head = true;
  model.dtype = dtype;
  return model;
}

TEST_CASE("memory counts weights, cache and what the learner keeps") {
  Config config;
  config.engine.block_tokens = 16;
  config.engine.kv_blocks = 5;
  const ModelConfig model = tiny_model("BF16");
  const MemoryEstimate node = estimate_memory(config, model, {2, 0, 0}, false);
  // The folder's, and for each generator two, both in the kernels' layout too.
  CHECK(node.weights == 348 * 2 * 9);
  CHECK(estimate_memory(config, tiny_model("F32"), {2, 0, 0}, false).weights == 348 * 4 * 9);
  CHECK(node.kv_cache == 2 * 5 * 16 * 2 * 2 * 2 * 2);  // keys and values, layers, width 2, bf16
  CHECK(node.optimizer == 0);
  const MemoryEstimate head = estimate_memory(config, model, {0, 1, 1}, true);
  CHECK(head.weights == 348 * 2);
  CHECK(head.kv_cache == 0);
  CHECK(head.optimizer == 3 * 348 * 2 + 3 * 348 * 4);
  CHECK(head.total() == 348 * (2 + 6 + 12));
  // fp32 weights are their own master copy; a KL term keeps the start weights.
  config.trainer.loss.kl_beta = 0.1f;
  CHECK(estimate_memory(config, tiny_model("F32"), {}, true).optimizer ==
        4 * 348 * 4 + 2 * 348 * 4);
  // Of two ranks each keeps half of the moments; the version that is sent is the head's alone.
  NodeSpec other;
  other.seats.ranks = 1;
  config.cluster.nodes = {other};
  CHECK(estimate_memory(config, tiny_model("F32"), {}, true).optimizer ==
        4 * 348 * 4 + 2 * 348 * 4 / 2);
  CHECK(estimate_memory(config, tiny_model("F32"), other.seats, false).optimizer ==
        3 * 348 * 4 + 2 * 348 * 4 / 2);
  // Without a number of blocks: whole contexts, 3 blocks of 16 for 40 tokens.
  config.engine.kv_blocks = 0;
  config.engine.max_sequences = 7;
  CHECK(estimate_memory(config, model, {1, 0, 0}, false).kv_cache == 7 * 3 * 16 * 16);
}

TEST_CASE("memory of an adapter counts the base once, the sums, and A and B with their states") {
  Config config;
  config.engine.block_tokens = 16;
  config.engine.kv_blocks = 5;
  config.trainer.loss.kl_beta = 0.1f;  // needs no weights of its own
  ModelConfig model = tiny_model("BF16");
  model.adapter = {3, 3, false, {"q_proj", "up_proj"}};
  const int64_t base = 348 * 2, sums = 2 * (16 + 32) * 2;
  const int64_t factors = 2 * 3 * ((4 + 4) + (4 + 8)) * 4;
  const MemoryEstimate node = estimate_memory(config, model, {2, 0, 0}, false);
  CHECK(node.weights == base + 2 * 2 * (factors + sums + base));  // in the kernels' layout all
  const MemoryEstimate head = estimate_memory(config, model, {0, 1, 1}, true);
  CHECK(head.weights == base);
  // A and B, their gradient, the version that is sent; both moments.
  CHECK(head.optimizer == sums + 3 * factors + 2 * factors);
  // On a GPU the base is there too.
  config.engine.device = config.trainer.device = "cuda:0";
  CHECK(estimate_memory(config, model, {2, 0, 0}, false).weights ==
        base + 2 * (base + 2 * (factors + sums)));
  CHECK(estimate_memory(config, model, {}, true).optimizer == base + sums + 5 * factors);
  CHECK(checkpoint_bytes(model) == 3 * factors);
}

TEST_CASE("a placement is shown as a table with the commands, and as JSON") {
  const Placement placement =
      placed({"cluster.topology=local", "cluster.head.port=4000",
              "cluster.nodes=[{name=\"gen0\",generators=2,devices=[\"cuda:0\",\"cuda:1\"]}]"});
  const std::vector<MemoryEstimate> memory = {{1 << 20, 0, 3 << 20},
                                              {1 << 20, int64_t{5} << 30, 0}};
  CHECK(
      placement_table(placement, memory) ==
      "node  host       port  generators  tracers  builders  ranks  devices        weights  cache "
      "   learner  memory\n"
      "head  127.0.0.1  4000  0           1        1         0      -              1 MiB    0 MiB "
      "   3 MiB    4 MiB\n"
      "gen0  127.0.0.1  any   2           0        0         0      cuda:0 cuda:1  1 MiB    5.0 "
      "GiB  0 MiB    5.0 GiB\n"
      "\n"
      "head: '/opt/trace wise' node\n"
      "gen0: '/opt/trace wise' node\n");
  const auto json = nlohmann::json::parse(placement_json(placement, memory));
  REQUIRE(json["nodes"].size() == 2);
  CHECK(json["nodes"][0]["port"] == 4000);
  CHECK(json["nodes"][1]["name"] == "gen0");
  CHECK(json["nodes"][1]["command"] == nlohmann::json({"/opt/trace wise", "node"}));
  CHECK(json["nodes"][1]["seats"]["generators"] == 2);
  CHECK(json["nodes"][1]["memory"]["kv_cache"] == int64_t{5} << 30);
}

TEST_CASE("ranks serve weights where a generator takes them over connections") {
  const auto serve = [](const std::string& topology, const Words& more, const std::string& gen0) {
    Words sets = {"cluster.topology=" + topology, "cluster.head.host=h0",
                  "cluster.nodes=[{name=\"gen0\",generators=1," + gen0 +
                      "},{name=\"rank1\",host=\"h1\",ranks=1}]"};
    sets.insert(sets.end(), more.begin(), more.end());
    return placed(sets).ranks_serve_weights;
  };
  CHECK(serve("ssh", {}, "host=\"h2\""));
  CHECK(serve("ssh", {"cluster.weights=tcp"}, "host=\"h0\""));
  CHECK_FALSE(serve("ssh", {}, "host=\"h0\""));  // shared memory
  CHECK(serve("ssh", {"cluster.weights=nccl", "trainer.device=cuda:0"},
              "host=\"h2\",devices=[\"cpu\"]"));
  CHECK_FALSE(serve("ssh", {"cluster.weights=nccl", "trainer.device=cuda:0"},
                    "host=\"h2\",devices=[\"cuda:0\"]"));
  // Without another rank there is nobody.
  CHECK_FALSE(placed({"cluster.topology=ssh", "cluster.head.host=h0",
                      "cluster.nodes=[{name=\"gen0\",host=\"h2\",generators=1}]"})
                  .ranks_serve_weights);
  const Placement local = placed({"cluster.topology=local", "cluster.weights=tcp",
                                  "cluster.nodes=[{name=\"gen0\",generators=1},"
                                  "{name=\"rank1\",ranks=1}]"});
  CHECK(local.ranks_serve_weights);
  const std::vector<MemoryEstimate> memory(3);
  CHECK_THAT(placement_table(local, memory),
             Catch::Contains("\nweights over connections: from the head and from each node with a "
                             "rank\n\nhead: "));
  CHECK(nlohmann::json::parse(placement_json(local, memory))["ranks_serve_weights"] == true);
}

TEST_CASE("nodes whose generators are on GPUs take part in NCCL where the learner is on one") {
  const std::string nodes =
      "cluster.nodes=[{name=\"gen0\",generators=2,devices=[\"cpu\",\"cuda:1\"]},"
      "{name=\"gen1\",generators=1},{name=\"tr0\",tracers=1}]";
  const auto devices = [&](const std::string& weights, const std::string& learner) {
    Words devices;
    for (const PlacedNode& node :
         placed({"cluster.topology=local", "cluster.weights=" + weights,
                 "trainer.device=" + learner, "engine.device=cuda:3", nodes})
             .nodes) {
      devices.push_back(node.weights.nccl_device);
    }
    return devices;
  };
  CHECK(devices("nccl", "cuda:0") == Words{"cuda:0", "cuda:1", "cuda:3", ""});
  CHECK(devices("nccl", "cpu") == Words{"", "", "", ""});
  CHECK(devices("tcp", "cuda:0") == Words{"", "", "", ""});
  // Left open, it is a matter of what this build can.
  CHECK(devices("auto", "cuda:0") ==
        (has_nccl() ? Words{"cuda:0", "cuda:1", "cuda:3", ""} : Words{"", "", "", ""}));
}

TEST_CASE("weights by NCCL that cannot be are refused by a sentence that says why") {
  const auto refusal = [](const std::string& learner, const std::string& devices) -> std::string {
    const Config config =
        loaded({"cluster.topology=local", "cluster.weights=nccl", "trainer.device=" + learner,
                "cluster.nodes=[{name=\"gen0\",generators=1,devices=[\"" + devices + "\"]}]"});
    const auto placement = place(config, kHere);
    REQUIRE(placement.ok());
    const auto checked = check_weights(config, *placement);
    return checked.ok() ? "" : checked.error().message;
  };
  CHECK(refusal("cpu", "cuda:0") ==
        "cluster.weights = \"nccl\" needs the learner on a GPU, but trainer.device is cpu; take "
        "auto or tcp");
  CHECK(refusal("cuda:0", "cpu") ==
        "cluster.weights = \"nccl\" needs a GPU on every node with generators, but node gen0 has "
        "none of them on one; take auto or tcp");
  CHECK(refusal("cuda:0", "cuda:1") ==
        (has_nccl() ? ""
                    : "cluster.weights = \"nccl\" is for builds with CUDA, which this one is not; "
                      "take auto or tcp"));
}

}  // namespace
}  // namespace tracewise
