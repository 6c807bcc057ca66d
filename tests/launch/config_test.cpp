#include "launch/config.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <set>

#include "launch/config_key.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

Config loaded(const ConfigSource& source) {
  auto config = load_config(source);
  INFO((config.ok() ? std::string() : config.error().message));
  REQUIRE(config.ok());
  return *config;
}

std::string refused(const ConfigSource& source) {
  const auto config = load_config(source);
  REQUIRE_FALSE(config.ok());
  CHECK(config.error().error_class == ErrorClass::kBadInput);
  return config.error().message;
}

// A TOML file named demo.toml in a folder of its own.
class TomlFile {
 public:
  explicit TomlFile(const std::string& text) : path_(dir_.path() / "demo.toml") {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ConfigSource source(std::vector<std::string> sets = {}) const {
    return {{path_}, std::move(sets)};
  }

  // What load_config() says to the file, from "demo.toml:" on.
  std::string refusal(std::vector<std::string> sets = {}) const {
    const std::string message = refused(source(std::move(sets)));
    const auto name = message.find("demo.toml:");
    return name == std::string::npos ? message : message.substr(name);
  }

 private:
  TempDir dir_;
  std::filesystem::path path_;
};

Row node_row(const std::string& name, int64_t generators) {
  return {{{"name", name},
           {"host", std::string("127.0.0.1")},
           {"generators", generators},
           {"devices", std::vector<Scalar>(static_cast<size_t>(generators), "cuda:1")}}};
}

// Some value that the key allows and that is not its default.
Value other_value(const Key& key) {
  std::vector<Value> candidates{
      true,
      false,
      int64_t{32},
      int64_t{1},
      int64_t{3},
      0.5,
      0.25,
      2.5,
      1e-7,
      std::string("x\n\"\\"),
      std::vector<Scalar>{0.5, 2.0},
      std::vector<Scalar>{int64_t{3}},
      std::vector<Scalar>{std::string("\n\n"), std::string("é")},
      std::string("cuda:1"),
      std::vector<Row>{node_row("gen0", 1), node_row("a.b", 3)},
      std::vector<Row>{
          {{{"kind", std::string("repetition")}, {"weight", 0.5}, {"ngram", int64_t{2}}}},
          {{{"kind", std::string("math")}}}},
      std::vector<Row>{{{{"name", std::string("quiz")},
                         {"path", std::string("/quiz.jsonl")},
                         {"samples", int64_t{2}},
                         {"max_rows", int64_t{9}},
                         {"verifier", std::string("math")}}}}};
  // The names of a choice stand in what it allows: "one of a, b or c".
  std::string word;
  for (const char c : key.allowed + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
      word += c;
    } else {
      candidates.emplace_back(word);
      word.clear();
    }
  }
  const Config defaults;
  for (const Value& candidate : candidates) {
    Config config;
    if (key.set(config, candidate) && key.get(config) != key.get(defaults)) return key.get(config);
  }
  return key.get(defaults);
}

bool same(const Config& a, const Config& b) {
  for (const Key& key : config_keys()) {
    INFO(key.name);
    CHECK(toml_text(key.get(a)) == toml_text(key.get(b)));
    if (key.get(a) != key.get(b)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("every key has a name of its own, a group, a meaning and says what it allows") {
  std::set<std::string> names;
  for (const Key& key : config_keys()) {
    INFO(key.name);
    CHECK(names.insert(key.name).second);
    CHECK(key.name.find('.') != std::string::npos);
    CHECK(key.meaning.ends_with('.'));
    CHECK_FALSE(key.allowed.empty());
    CHECK(find_key(key.name) == &key);
  }
  CHECK(find_key("advantage") == nullptr);
}

TEST_CASE("every default is a value that its own key allows") {
  for (const Key& key : config_keys()) {
    INFO(key.name);
    Config config;
    CHECK(key.set(config, key.get(config)));
    CHECK(key.get(config) == key.get(Config{}));
  }
}

TEST_CASE("a config with every key changed is written as TOML that reads back to the same") {
  Config config;
  std::set<std::string> unchanged;
  for (const Key& key : config_keys()) {
    const Value value = other_value(key);
    if (value == key.get(Config{})) unchanged.insert(key.name);
    INFO(key.name << " = " << toml_text(value));
    CHECK(key.set(config, value));
  }
  CHECK(unchanged.empty());
  // Rules between keys, which other_value() doesn't know of.
  config.run.generators = config.run.tracers = config.run.builders = 1;
  config.cluster.membership = {1, 2, 3, 4};
  config.group.advantage.kind = AdvantageKind::kOutcome;
  config.group.advantage.divide_by_std = true;
  config.group.advantage.gamma = 1;
  config.group.advantage.length_penalty = 0;
  config.group.min_good_rollouts = 2;
  config.lora.dropout = 0;
  config.lora.targets = {"v_proj", "q_proj"};
  const TomlFile plain(config_toml(config, false));
  CHECK(same(loaded(plain.source()), config));
  const TomlFile commented(config_toml(config, true));
  CHECK(same(loaded(commented.source()), config));
}

TEST_CASE("the printed defaults are a config file with the defaults") {
  const TomlFile file(config_toml(Config{}, true));
  CHECK(same(loaded(file.source()), loaded({})));
}

TEST_CASE("reals are printed in the digits a person would write") {
  const std::string text = config_toml(Config{}, false);
  CHECK(text.find("\nlr = 6e-4\n") != std::string::npos);
  CHECK(text.find("\ntop_p = 1.0\n") != std::string::npos);
  Config config;
  config.group.advantage.length_ref = 2.5e30;
  CHECK(config_toml(config, false, "advantage.length_ref") == "[advantage]\nlength_ref = 2.5e30\n");
  config.run.sampling.top_p = 0.95f;
  CHECK(config_toml(config, false, "sampling.top_p") == "[sampling]\ntop_p = 0.95\n");
}

TEST_CASE("a file sets keys in groups or dotted, and integers do for reals") {
  const TomlFile file(
      "advantage.kind = \"step_group\"\n"
      "[run]\nseed = 7\ngroup_size = 4\n"
      "[engine]\nstop_strings = [\"a\", \"\\n\\n\"]\nstop_tokens = [3, 4]\n"
      "[eval]\nat_seconds = [1, 2.5]\n"
      "[optimizer]\nlr = 1\n");
  const Config config = loaded(file.source());
  CHECK(config.group.advantage.kind == AdvantageKind::kStepGroup);
  CHECK(config.run.group_size == 4);
  CHECK(config.engine.stop_strings == std::vector<std::string>{"a", "\n\n"});
  CHECK(config.engine.stop_tokens == std::vector<int32_t>{3, 4});
  CHECK(config.run.eval.at_seconds == std::vector<double>{1.0, 2.5});
  CHECK(config.trainer.optimizer.lr == 1.0);
}

TEST_CASE("one seed reaches everything that is random") {
  const Config config = loaded({{}, {"run.seed=7"}});
  CHECK(config.seed == 7);
  CHECK(config.run.seed == 7);
  CHECK(config.engine.seed == 7);
  CHECK(config.group.seed == 7);
  CHECK(config.trainer.seed == 7);
}

TEST_CASE("--set overrides the files, and a later one an earlier one") {
  const TomlFile file("[advantage]\nbeta = 1.5\ngamma = 0.5\n");
  CHECK(loaded(file.source()).group.advantage.beta == 1.5);
  const Config config = loaded(file.source({"advantage.beta=2", "advantage.beta=3"}));
  CHECK(config.group.advantage.beta == 3);
  CHECK(config.group.advantage.gamma == 0.5);

  TempDir dir;
  const auto second = dir.path() / "second.toml";
  std::ofstream(second) << "advantage.gamma = 0.75\n";
  ConfigSource source = file.source();
  source.files.push_back(second);
  CHECK(loaded(source).group.advantage.gamma == 0.75);
}

TEST_CASE("--set takes texts with and without quotes and lists as TOML") {
  const Config config =
      loaded({{},
              {"advantage.base=rloo", "advantage.kind=\"outcome\"", "engine.device=cuda:1",
               "engine.stop_strings=[\"x=y\"]", "run.shuffle=false", "model.dir=/a=b/../c"}});
  CHECK(config.group.advantage.base == OutcomeBase::kRloo);
  CHECK(config.group.advantage.kind == AdvantageKind::kOutcome);
  CHECK(config.engine.device == "cuda:1");
  CHECK(config.engine.stop_strings == std::vector<std::string>{"x=y"});
  CHECK_FALSE(config.run.shuffle);
  CHECK(config.launch.model_dir == "/c");
}

TEST_CASE("paths become absolute from the current folder and empty ones stay empty") {
  const Config config = loaded({{}, {"model.dir=models/tiny", "run.dir="}});
  CHECK(config.launch.model_dir == (std::filesystem::current_path() / "models/tiny").string());
  CHECK(config.launch.run_dir.empty());
}

TEST_CASE("an unknown key fails with its place and the nearest known name") {
  CHECK(TomlFile("[run]\nseed = 1\n\n[advantage]\nbeta = 1.0\ngama = 1\n").refusal() ==
        "demo.toml:6: unknown key advantage.gama; did you mean advantage.gamma?");
  CHECK(TomlFile("[advantge]\nbeta = 1\n").refusal() ==
        "demo.toml:2: unknown key advantge.beta; did you mean advantage.beta?");
  CHECK(TomlFile("lambda = 1\n").refusal() ==
        "demo.toml:1: unknown key lambda; did you mean advantage.lambda?");
  CHECK(TomlFile("[trainer]\nlearning = 1\n[unrelated]\n")
            .refusal()
            .starts_with("demo.toml:2: unknown key trainer.learning"));
  CHECK(TomlFile("[xyzzy]\n").refusal() ==
        "demo.toml:1: unknown key xyzzy; `tracewise config` lists all keys");
  CHECK(refused({{}, {"advantage.lamda=1"}}) ==
        "--set: unknown key advantage.lamda; did you mean advantage.lambda?");
}

TEST_CASE("a wrong type is refused with place, value and what is allowed") {
  CHECK(TomlFile("[advantage]\nbeta = \"x\"\n").refusal() ==
        "demo.toml:2: advantage.beta = \"x\": it must be a real number of at least 0");
  CHECK(TomlFile("[run]\nsteps = 1.5\n").refusal() ==
        "demo.toml:2: run.steps = 1.5: it must be an integer of at least 0");
  CHECK(TomlFile("[run]\nshuffle = 1\n").refusal() ==
        "demo.toml:2: run.shuffle = 1: it must be true or false");
  CHECK(TomlFile("[advantage]\nkind = true\n").refusal() ==
        "demo.toml:2: advantage.kind = true: it must be one of step_group, plug_in or outcome");
  CHECK(TomlFile("[model]\ndir = 3\n").refusal() ==
        "demo.toml:2: model.dir = 3: it must be a path");
  CHECK(TomlFile("[engine]\nstop_strings = \"a\"\n").refusal() ==
        "demo.toml:2: engine.stop_strings = \"a\": it must be a list of texts");
  CHECK(TomlFile("[engine]\nstop_tokens = [1, \"a\"]\n").refusal() ==
        "demo.toml:2: engine.stop_tokens = [1, \"a\"]: it must be a list of token ids");
  CHECK(TomlFile("[run]\nsteps = 1979-05-27\n").refusal() ==
        "demo.toml:2: run.steps must be an integer of at least 0");
  CHECK(TomlFile("[run.steps]\nx = 1\n").refusal() ==
        "demo.toml:1: run.steps must be an integer of at least 0");
  CHECK(refused({{}, {"run.steps=many"}}) ==
        "--set: run.steps = many: it must be an integer of at least 0");
  CHECK(refused({{}, {"run.steps"}}) == "--set run.steps: key=value is needed");
  CHECK(refused({{}, {"run.steps=1\nrun.seed=2"}}).starts_with("--set: run.steps = 1"));
}

TEST_CASE("a value out of range is refused with place, value and range") {
  CHECK(TomlFile("[advantage]\ngamma = 1.25\n").refusal() ==
        "demo.toml:2: advantage.gamma = 1.25: it must be a real number above 0 and at most 1");
  CHECK(
      TomlFile("[advantage]\nlambda = -0.5\n").refusal() ==
      "demo.toml:2: advantage.lambda = -0.5: it must be a real number of at least 0 and at most 1");
  CHECK(TomlFile("[sampling]\nmin_p = 1\n").refusal() ==
        "demo.toml:2: sampling.min_p = 1: it must be a real number of at least 0 and below 1");
  CHECK(TomlFile("[advantage]\nbeta = inf\n").refusal() ==
        "demo.toml:2: advantage.beta = inf: it must be a real number of at least 0");
  CHECK(TomlFile("[advantage]\nbase = \"ppo\"\n").refusal() ==
        "demo.toml:2: advantage.base = \"ppo\": it must be one of grpo, dr_grpo, rloo, "
        "reinforce_pp or reinforce_pp_baseline");
  CHECK(refused({{}, {"run.group_size=4294967296"}}) ==
        "--set: run.group_size = 4294967296: it must be an integer of at least 1");
  CHECK(refused({{}, {"run.max_staleness=65"}}) ==
        "--set: run.max_staleness = 65: it must be an integer of at least 0 and at most 64");
  CHECK(refused({{}, {"engine.device=gpu"}}) ==
        "--set: engine.device = \"gpu\": it must be cpu or cuda:N");
}

TEST_CASE("keys that contradict each other are refused together") {
  CHECK(
      TomlFile("[advantage]\nkind = \"step_group\"\n[[reward.terms]]\nkind = \"repetition\"\n")
          .refusal() ==
      "demo.toml:3: reward.terms = [\n  { kind = \"repetition\" },\n], advantage.kind = "
      "\"step_group\": what shapes a reward acts on the base, which kind step_group doesn't have");
  CHECK(TomlFile("[verifier]\nkind = \"format\"\npattern = \"(\"\n").refusal() ==
        "demo.toml:2: verifier.kind = \"format\", verifier.pattern = \"(\": the pattern \"(\" is "
        "wrong at byte 1: missing closing parenthesis");
  CHECK(TomlFile("[[reward.terms]]\nkind = \"overlong\"\nmax_tokens = 4096\ncache_tokens = 8\n")
            .refusal()
            .ends_with("no response gets so long that kind overlong would act"));
  CHECK(TomlFile("[[reward.terms]]\nweight = 2\n").refusal().ends_with("a term needs its kind"));
  CHECK(TomlFile("[[eval.sets]]\nname = \"a\"\n")
            .refusal()
            .ends_with("each set has a name and a path"));
  CHECK(TomlFile("[[eval.sets]]\nname = \"a\"\npath = \"/b\"\nverifier = \"maths\"\n").refusal() ==
        "demo.toml:4: eval.sets.verifier = \"maths\": it must be one of exact, numeric, math, "
        "gsm8k, choice, format, python or http");
  CHECK(TomlFile("[[eval.sets]]\nname = \"a/b\"\n")
            .refusal()
            .starts_with("demo.toml:2: eval.sets.name = \"a/b\": it must be a name of letters"));
  CHECK(TomlFile("[[eval.sets]]\nname = \"a\"\npath = \"/b\"\n"
                 "[[eval.sets]]\nname = \"a\"\npath = \"/c\"\n")
            .refusal()
            .ends_with("two evaluation sets have the name a"));
  CHECK(TomlFile("[eval]\npass_at = [4, 4]\n").refusal().ends_with("the numbers must ascend"));
  CHECK(TomlFile("[advantage]\nkind = \"step_group\"\nlength_penalty = 0.3\n").refusal() ==
        "demo.toml:3: advantage.length_penalty = 0.3, advantage.kind = \"step_group\": a length "
        "penalty acts on the base, which kind step_group doesn't have");
  CHECK(refused({{}, {"advantage.divide_by_std=false", "advantage.base=rloo"}}) ==
        "--set: advantage.divide_by_std = false, advantage.base = \"rloo\": only base grpo divides "
        "by the group's standard deviation");
  const auto refusal = [](const std::vector<std::string>& sets) { return refused({{}, sets}); };
  CHECK(refusal({"loss.ratio=sequence"}) ==
        "--set: loss.ratio = \"sequence\", advantage.kind = \"plug_in\": a ratio of the whole "
        "rollout is clipped against one advantage of the whole rollout, and this kind gives each "
        "step its own; take kind outcome or ratio token");
  CHECK_THAT(refusal({"loss.ratio=sequence", "advantage.kind=step_group"}),
             Catch::Contains("take kind outcome or ratio token"));
  CHECK(load_config({{}, {"loss.ratio=sequence", "advantage.kind=outcome"}}).ok());
  CHECK_THAT(refusal({"advantage.kind=step_group", "advantage.base=rloo"}),
             Catch::Contains("kind step_group doesn't have a base"));
  CHECK_THAT(refusal({"advantage.kind=step_group", "advantage.divide_by_std=false"}),
             Catch::Contains("only base grpo divides"));
  CHECK_THAT(refusal({"advantage.length_aware=true", "advantage.gamma=0.9"}),
             Catch::Contains("from its length instead of gamma"));
  CHECK_THAT(refusal({"advantage.kind=outcome", "advantage.shuffle_values=true"}),
             Catch::Contains("no use for values"));
  CHECK(load_config({{},
                     {"advantage.kind=outcome", "advantage.shuffle_values=true",
                      "loss.step_dpo_weight=0.1"}})
            .ok());
  CHECK_THAT(refusal({"loss.importance_cap=0.5"}), Catch::Contains("take at least 1, or 0"));
  CHECK(load_config({{}, {"loss.importance_cap=1"}}).ok());
  CHECK_THAT(refusal({"run.max_refilled_groups=1", "advantage.uniform_groups=keep"}),
             Catch::Contains("none is left out for a new one"));
  CHECK_THAT(refusal({"probe.mode=answer", "probe.continuations=4"}),
             Catch::Contains("all continuations of a state are the same"));
  CHECK(load_config({{}, {"probe.mode=answer", "probe.continuations=4", "probe.temperature=1"}})
            .ok());
  CHECK_FALSE(refused({{}, {"run.group_size=1"}}).empty());
  CHECK_FALSE(refused({{}, {"loss.step_dpo_weight=0.1", "preference.max_pairs=0"}}).empty());
  CHECK_FALSE(refused({{}, {"engine.block_tokens=17"}}).empty());
  CHECK_FALSE(refused({{}, {"eval.at_seconds=[2, 1]"}}).empty());
}

TEST_CASE("keys of an adapter that say nothing, or ask for what is not done, are refused") {
  CHECK(refused({{}, {"lora.rank=8", "lora.dropout=0.1"}}) ==
        "--set: lora.dropout = 0.1: an adapter is trained without dropout, because the learner's "
        "log-probabilities must be those that its tokens were sampled with");
  CHECK(refused({{}, {"lora.rank=8", "lora.targets=[\"q_proj\", \"dwn_proj\"]"}})
            .ends_with("there is no module 'dwn_proj'; did you mean down_proj?"));
  CHECK(
      refused({{}, {"lora.rank=8", "lora.targets=[\"embed_tokens\"]"}})
          .ends_with("there is no module 'embed_tokens'; there are q_proj, k_proj, v_proj, o_proj, "
                     "gate_proj, up_proj, down_proj"));
  CHECK(refused({{}, {"lora.rank=8", "lora.targets=[\"q_proj\", \"q_proj\"]"}})
            .ends_with("'q_proj' is there twice"));
  for (const char* key : {"lora.alpha=8", "lora.rslora=true", "lora.targets=[\"q_proj\"]"}) {
    CHECK_THAT(refused({{}, {key}}),
               Catch::Contains("means nothing without lora.rank or lora.adapter"));
  }
}

TEST_CASE("an adapter's keys are completed, or compared with the folder that it starts from") {
  CHECK(adapter_config(loaded({{}, {}}).lora)->rank == 0);
  const auto plain = adapter_config(loaded({{}, {"lora.rank=8"}}).lora);
  REQUIRE(plain.ok());
  CHECK(plain->alpha == 8);
  CHECK(plain->scale() == 1);
  CHECK(plain->targets.size() == 7);
  // In a layer's order, whatever that of the key.
  const auto some = adapter_config(
      loaded({{}, {"lora.rank=4", "lora.alpha=16", "lora.targets=[\"up_proj\", \"q_proj\"]"}})
          .lora);
  REQUIRE(some.ok());
  CHECK(*some == AdapterConfig{4, 16, false, {"q_proj", "up_proj"}});

  const std::string folder = std::string(TRACEWISE_TEST_DATA) + "/adapters/llama_all";
  const auto from = [&](std::vector<std::string> sets) {
    sets.push_back("lora.adapter=" + folder);
    return adapter_config(loaded({{}, sets}).lora);
  };
  REQUIRE(from({}).ok());
  CHECK(from({})->rank == 3);
  CHECK(from({})->alpha == 4.5);
  CHECK(from({"lora.rank=3", "lora.alpha=4.5"}).ok());
  for (const char* other :
       {"lora.rank=4", "lora.alpha=9", "lora.rslora=true", "lora.targets=[\"q_proj\"]"}) {
    const auto refusal = from({other});
    REQUIRE_FALSE(refusal.ok());
    const std::string key(other, std::string_view(other).find('='));
    CHECK(refusal.error().message == key + " is not that of the adapter in " + folder +
                                         "; leave it out to take the adapter's");
  }
}

TEST_CASE("groups that could not be sent between nodes are refused when the config is read") {
  using Words = std::vector<std::string>;
  const Words cluster = {"cluster.topology=local", "cluster.nodes=[{name=\"gen0\",generators=1}]"};
  const auto refusal = [&](const Words& sets) {
    Words all = cluster;
    all.insert(all.end(), sets.begin(), sets.end());
    const auto config = load_config({{}, all});
    return config.ok() ? "" : config.error().message;
  };
  CHECK(refusal({"run.group_size=64", "sampling.max_new_tokens=32768"}).empty());
  // 17 bytes a token: 1000 * 32768 * 17 = 531 MiB, and 1 kB for each rollout.
  CHECK(
      refusal({"preference.max_pairs=0", "run.group_size=1000", "sampling.max_new_tokens=32768"}) ==
      "--set: run.group_size = 1000, sampling.max_new_tokens = 32768: a group may have 64 MiB as "
      "a message between nodes, this one up to 532 MiB; take run.group_size = 120 or "
      "sampling.max_new_tokens = 3887");
  CHECK_FALSE(refusal({"run.group_size=64", "sampling.max_new_tokens=32768",
                       "data.max_prompt_tokens=200000"})
                  .empty());
  CHECK_THAT(refusal({"run.group_size=2", "sampling.max_new_tokens=400000"}),
             Catch::Contains("a rollout may have 8 MiB as a message between nodes"));
  // In one process nothing is sent.
  CHECK(load_config({{}, {"run.group_size=1000", "sampling.max_new_tokens=32768"}}).ok());
}

TEST_CASE("training with step advantages or step preferences needs a probe") {
  const Config silent = loaded({{}, {"probe.mode=none"}});
  REQUIRE_FALSE(check_training(silent).ok());
  CHECK(
      check_training(silent).error().message ==
      "probe.mode = \"none\", advantage.kind = \"plug_in\": step advantages need values; probe, or "
      "take kind outcome");
  const Config pairs = loaded({{}, {"advantage.kind=outcome", "loss.step_dpo_weight=0.5"}});
  CHECK_FALSE(check_training(pairs).ok());
  CHECK(check_training(loaded({{}, {"advantage.kind=outcome"}})).ok());
  CHECK(check_training(loaded({{}, {"probe.mode=likelihood"}})).ok());
}

TEST_CASE("training needs rollouts of a group that differ, and more than one") {
  const auto refusal = [](std::vector<std::string> sets) {
    sets.insert(sets.end(), {"advantage.kind=outcome", "probe.mode=none"});
    const auto checked = check_training(loaded({{}, sets}));
    return checked.ok() ? std::string() : checked.error().message;
  };
  CHECK(refusal({}).empty());
  CHECK(refusal({"sampling.temperature=0"}) ==
        "sampling.temperature = 0.0, run.group_size = 8: at temperature 0 all rollouts of a group "
        "are the same, so none is better than another");
  const std::vector<std::string> alone = {"run.group_size=1", "advantage.min_good_rollouts=1"};
  CHECK_THAT(refusal(alone), Catch::Contains("a group of one has no other rollout"));
  // Against the whole batch one is enough.
  CHECK(refusal({alone[0], alone[1], "advantage.base=reinforce_pp"}).empty());
}

TEST_CASE("threads that compute at the same time are counted against the cores") {
  Config config;
  config.run.generators = 2, config.engine.threads = 1, config.trainer.threads = 2;
  CHECK(thread_warning(config, 2).empty());  // synchronous: sampling and training take turns
  CHECK(thread_warning(config, 0).empty());
  CHECK(thread_warning(config, 1).find("2 compute threads on 1 cores") == 0);
  config.run.max_staleness = 1;
  CHECK(thread_warning(config, 2).find("4 compute threads on 2 cores") == 0);
  CHECK(thread_warning(config, 4).empty());
  config.engine.device = "cuda:0";
  CHECK(thread_warning(config, 2).empty());
  // Beside it the trainer's two threads.
  CHECK(thread_warning(config, 1).find("2 compute threads on 1 cores") == 0);
}

TEST_CASE("threads of all processes on this machine are counted together") {
  Config config = loaded({{},
                          {"cluster.topology=local", "cluster.head.generators=1",
                           "cluster.nodes=[{name=\"a\",generators=2},{name=\"b\",generators=2,"
                           "threads=3,devices=[\"cpu\",\"cuda:0\"]},{name=\"r\",ranks=1}]"}});
  config.engine.threads = 2, config.trainer.threads = 4, config.run.max_staleness = 0;
  // Sampling 1 * 2 + 2 * 2 + 1 * 3 = 9, training 2 * 4 = 8, in turns.
  CHECK(thread_warning(config, 9).empty());
  CHECK(thread_warning(config, 8) ==
        "9 compute threads on 8 cores starve each other: lower the generators of cluster.nodes, "
        "their threads, engine.threads (2) or trainer.threads (4)");
  config.run.max_staleness = 1;
  CHECK(thread_warning(config, 16).find("17 compute threads on 16 cores") == 0);
  config.trainer.device = "cuda:1";
  CHECK(thread_warning(config, 9).empty());
  // Elsewhere the cores are those of other hosts.
  config.cluster.topology = Topology::kSsh;
  CHECK(thread_warning(config, 1).empty());
}

TEST_CASE("the evaluation prompts are read with the training prompts' columns") {
  const Config config = loaded({{},
                                {"data.prompts=/a", "data.eval_prompts=/b",
                                 "data.prompt_column=question", "data.max_prompt_tokens=9"}});
  CHECK(config.data.path == "/a");
  CHECK(config.eval_data.path == "/b");
  CHECK(config.eval_data.prompt_column == "question");
  CHECK(config.eval_data.max_prompt_tokens == 9);
}

TEST_CASE("a file that isn't TOML is refused with its line, a missing one by name") {
  CHECK(TomlFile("[run]\nseed = \n").refusal().starts_with("demo.toml:2: "));
  CHECK(TomlFile("[run]\nseed = 1\nseed = 2\n").refusal().starts_with("demo.toml:3: "));
  const auto missing = load_config({{"/nowhere/x.toml"}, {}});
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().error_class == ErrorClass::kIo);
  CHECK(missing.error().message == "cannot read the config file /nowhere/x.toml");
  CHECK_FALSE(load_config({{"/tmp"}, {}}).ok());
}

TEST_CASE("a prefix picks a group or one key") {
  CHECK(
      config_toml(Config{}, true, "preference.max_pairs") ==
      "[preference]\n"
      "# Step preference pairs of a group, largest margins first; 0: none. (an integer of at least "
      "0)\nmax_pairs = 8\n");
  const std::string group = config_toml(Config{}, false, "loss");
  CHECK(group.starts_with("[loss]\naggregation = \"token_mean\"\n"));
  CHECK(group.find('[', 1) == std::string::npos);
  CHECK(config_toml(Config{}, false, "los").empty());
}

TEST_CASE("the markdown has a table for each group and a row for each key") {
  const std::string text = config_markdown();
  CHECK(text.find("## [advantage]\n\n| key | default | allowed | meaning |\n") !=
        std::string::npos);
  CHECK(text.find("| `beta` | `0.5` | a real number of at least 0 | Weight of the step part, for "
                  "plug_in. |\n") != std::string::npos);
  size_t rows = 0;
  for (size_t i = text.find("\n| `"); i != std::string::npos; i = text.find("\n| `", i + 1)) ++rows;
  CHECK(rows == config_keys().size());
}

}  // namespace tracewise
