#include <catch2/catch.hpp>

#include "tests/process.hpp"

namespace tracewise {
namespace {

const std::string kGroup =
    R"({"rewards":[1,0],"values":[[0,0.5,0.9],[0.25,0.1]],"step_tokens":[[3,4],[5]]})"
    "\n";

std::string advantages_error(const std::string& line) {
  const Finished finished = run_tracewise({"advantages"}, kGroup + line + "\n");
  CHECK(finished.exit_code == 2);
  const std::string start = "tracewise: stdin:2: ";
  CHECK(finished.err.starts_with(start));
  return finished.err.size() > start.size() ? finished.err.substr(start.size()) : "";
}

}  // namespace

TEST_CASE("advantages gives a line of step advantages for each line of groups") {
  // Gains (.5, .5) and (-.25), mu .125, base .5 and -.5; see advantage_test.cpp. V_K is ignored.
  const std::vector<std::string> words{"advantages", "--set", "advantage.base=dr_grpo", "--set",
                                       "advantage.beta=2"};
  const Finished finished = run_tracewise(words, kGroup + "\n" + kGroup);
  CHECK(finished.exit_code == 0);
  CHECK(finished.err.empty());
  const std::string line = "{\"advantages\":[[1.25,1.25],[-1.25]]}\n";
  CHECK(finished.out == line + line);
}

TEST_CASE("advantages reads a file and can spread the advantages over tokens") {
  TempDir dir;
  const auto file = dir.put("groups.jsonl", kGroup);
  const auto config = dir.put("a.toml", "[advantage]\nbase = \"dr_grpo\"\nbeta = 2\n");
  const Finished finished =
      run_tracewise({"advantages", "--in", file.string(), "--config", config.string(), "--tokens"});
  CHECK(finished.exit_code == 0);
  CHECK(finished.out ==
        "{\"advantages\":[[1.25,1.25],[-1.25]],\"token_advantages\":"
        "[[1.25,1.25,1.25,1.25,1.25,1.25,1.25],[-1.25,-1.25,-1.25,-1.25,-1.25]]}\n");
}

TEST_CASE("advantages of kind outcome needs no values") {
  const Finished finished = run_tracewise(
      {"advantages", "--set", "advantage.kind=outcome", "--set", "advantage.base=rloo"},
      R"({"rewards":[1,0],"step_tokens":[[3,4],[5]]})");
  CHECK(finished.exit_code == 0);
  CHECK(finished.out == "{\"advantages\":[[1.0,1.0],[-1.0]]}\n");
}

TEST_CASE("advantages with base reinforce_pp_baseline whitens over the tokens of all lines") {
  // A: tokens 1 and 3, advantages .5 and -.5; B: rewards equal, 4 tokens of 0.
  // Mean -.125; variance (.625^2 + 3 * .375^2 + 4 * .125^2) / 8 = .109375; std .330719.
  const Finished finished = run_tracewise(
      {"advantages", "--set", "advantage.kind=outcome", "--set",
       "advantage.base=reinforce_pp_baseline"},
      "{\"rewards\":[1,0],\"step_tokens\":[[1],[3]]}\n{\"rewards\":[1,1],\"step_tokens\":[[2],[2]]"
      "}");
  CHECK(finished.exit_code == 0);
  CHECK(finished.out.starts_with("{\"advantages\":[[1.88982"));
  CHECK(finished.out.find("],[-1.13389") != std::string::npos);
  CHECK(finished.out.find("\n{\"advantages\":[[0.37796") != std::string::npos);
}

TEST_CASE("advantages names the line that is wrong and what is wrong with it") {
  CHECK(advantages_error("{\"rewards\":[1") == "no JSON object\n");
  CHECK(advantages_error("[1]") == "no JSON object\n");
  CHECK(advantages_error("{}") == "\"rewards\" is missing\n");
  CHECK(advantages_error(R"({"rewards":3})") == "\"rewards\" is no array\n");
  CHECK(advantages_error(R"({"rewards":[],"step_tokens":[]})") == "\"rewards\" is empty\n");
  CHECK(advantages_error(R"({"rewards":[1,0],"step_tokens":[[1]],"values":[[0,1]]})") ==
        "\"step_tokens\" has 1 entries for 2 rewards\n");
  CHECK(advantages_error(R"({"rewards":[1],"step_tokens":[[1]]})") == "\"values\" is missing\n");
  CHECK(advantages_error(R"({"rewards":[1],"step_tokens":[[1]],"values":[[0.5]]})") ==
        "\"values\"[0] has 1 entries for 1 steps; V_0..V_K are K + 1\n");
  CHECK(advantages_error(R"({"rewards":["a"],"step_tokens":[[1]],"values":[[0,1]]})") ==
        "\"rewards\"[0] is \"a\", not a finite number\n");
  CHECK(advantages_error(R"({"rewards":[1],"step_tokens":[[1]],"values":[[null,1]]})") ==
        "\"values\"[0][0] is null, not a finite number\n");
  CHECK(advantages_error(R"({"rewards":[1],"step_tokens":[[1.5]],"values":[[0,1]]})") ==
        "\"step_tokens\"[0][0] is 1.5, not a whole number from 0 to 100000000\n");
  CHECK(advantages_error(R"({"rewards":[1],"step_tokens":[[-1]],"values":[[0,1]]})") ==
        "\"step_tokens\"[0][0] is -1, not a whole number from 0 to 100000000\n");
}

TEST_CASE("advantages refuses a missing file and a wrong key with exit code 2") {
  const Finished missing = run_tracewise({"advantages", "--in", "/nowhere/x.jsonl"});
  CHECK(missing.exit_code == 2);
  CHECK(missing.err == "tracewise: advantages: cannot read /nowhere/x.jsonl\n");
  const Finished key = run_tracewise({"advantages", "--set", "advantage.lamda=1"}, kGroup);
  CHECK(key.exit_code == 2);
  CHECK(key.err ==
        "tracewise: --set: unknown key advantage.lamda; did you mean advantage.lambda?\n");
}

TEST_CASE("config prints a file that config reads, with what was set") {
  const Finished printed = run_tracewise({"config", "--set", "advantage.beta=2.5"});
  CHECK(printed.exit_code == 0);
  CHECK(printed.out.find("\nbeta = 2.5\n") != std::string::npos);
  TempDir dir;
  const auto file = dir.put("printed.toml", printed.out);
  CHECK(run_tracewise({"config", "--config", file.string()}).out == printed.out);
}

TEST_CASE("config picks a group, leaves comments out and refuses an unknown prefix") {
  const Finished one = run_tracewise({"config", "advantage.beta", "--plain"});
  CHECK(one.out == "[advantage]\nbeta = 0.5\n");
  const Finished unknown = run_tracewise({"config", "advantage.betta"});
  CHECK(unknown.exit_code == 2);
  CHECK(unknown.err ==
        "tracewise: config: there is no group or key advantage.betta; did you mean "
        "advantage.beta?\n");
}

TEST_CASE("--version shows the build id that the linker wrote into the binary") {
  const std::string out = run_tracewise({"--version"}).out;
  const auto at = out.find(", build ");
  REQUIRE(at != std::string::npos);
  const std::string id = out.substr(at + 8, out.find('\n') - at - 8);
  REQUIRE(id.size() == 40);
  // The note: sizes of name and description, type 3, "GNU", and the id's 20 bytes.
  std::string note("\4\0\0\0\24\0\0\0\3\0\0\0GNU\0", 16);
  for (size_t i = 0; i < id.size(); i += 2)
    note += static_cast<char>(std::stoi(id.substr(i, 2), nullptr, 16));
  CHECK(slurp(TRACEWISE_BINARY).find(note) != std::string::npos);
}

TEST_CASE("launch reads its configs in order and shows where everything would run") {
  const TempDir dir;
  const auto nodes = dir.put("nodes.toml",
                             "[cluster]\ntopology = \"local\"\n[[cluster.nodes]]\nname = \"a\"\n"
                             "generators = 1\n");
  const auto port = dir.put("port.toml", "[cluster.head]\nport = 4000\n");
  const auto other = dir.put("other.toml", "[cluster.head]\nport = 4001\n");
  dir.put("config.json",
          R"({"architectures":["LlamaForCausalLM"],"vocab_size":24,"hidden_size":8,)"
          R"("num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":2,"head_dim":4,)"
          R"("intermediate_size":16,"max_position_embeddings":64,"rms_norm_eps":1e-5,)"
          R"("rope_theta":100.0,"hidden_act":"silu","torch_dtype":"float32"})");
  const Finished finished = run_tracewise({"launch", nodes, port, "--config", other, "--set",
                                           "model.dir=" + dir.path().string(), "--set",
                                           "advantage.kind=outcome", "--dry-run"});
  INFO(finished.err);
  CHECK(finished.exit_code == 0);
  CHECK(finished.out.find("head  127.0.0.1  4001  0           1        1") != std::string::npos);
  CHECK(finished.out.find("a     127.0.0.1  any   1           0        0") != std::string::npos);
  CHECK(finished.out.find("\na: ") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists("runs"));
  CHECK(run_tracewise({"launch"}).exit_code == 2);
  CHECK(run_tracewise({"launch", nodes, "--resume", "r"}).exit_code == 2);
}

TEST_CASE("node is for launchers: without an envelope it says so") {
  const Finished finished = run_tracewise({"node"}, "hello\n");
  CHECK(finished.exit_code == 2);
  CHECK(finished.err ==
        "tracewise: standard input does not begin with a launcher's envelope; tracewise launch "
        "writes it\n");
  CHECK(run_tracewise({"node", "--help"}).exit_code == 0);
}

TEST_CASE("docs/config.md is what config --markdown prints") {
  const std::string docs = slurp(TRACEWISE_SOURCE_DIR "/docs/config.md");
  const auto tables = docs.find("## [");
  REQUIRE(tables != std::string::npos);
  CHECK(docs.substr(tables) == run_tracewise({"config", "--markdown"}).out);
}

TEST_CASE("wrong words on the command line end with exit code 2 and one sentence") {
  CHECK(run_tracewise({}).exit_code == 2);
  CHECK(run_tracewise({"--help"}).exit_code == 0);
  CHECK(run_tracewise({"config", "--help"}).exit_code == 0);
  CHECK(run_tracewise({"--version"}).out.starts_with("tracewise "));
  const Finished command = run_tracewise({"confg"});
  CHECK(command.exit_code == 2);
  CHECK(command.err == "tracewise: there is no command confg; did you mean config?\n");
  const Finished option = run_tracewise({"config", "--plian"});
  CHECK(option.exit_code == 2);
  CHECK(option.err ==
        "tracewise config: The following argument was not expected: --plian; --help shows what it "
        "takes\n");
}

}  // namespace tracewise
