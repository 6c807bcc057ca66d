#include "launch/config.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <vector>

#include "actors/eval_set.hpp"
#include "launch/config_key.hpp"
#include "launch/config_rules.hpp"
#include "launch/nearest.hpp"
#include "messages/codec.hpp"
#include "messages/group_size.hpp"

namespace tracewise {
namespace {

// Where a key was last set: "demo.toml:12" or "--set".
using Places = std::map<std::string, std::string>;

std::string leaf_of(const std::string& name) {
  const auto dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

Error unknown_key(const std::string& place, const std::string& name) {
  const std::string near = nearest_key(name);
  return bad_input(
      place + ": unknown key " + name +
      (near.empty() ? "; `tracewise config` lists all keys" : "; did you mean " + near + "?"));
}

Result<Value> value_of(const toml::node& node, const std::string& place, const std::string& name,
                       const std::string& allowed) {
  const auto scalar = [](const toml::node& n) -> std::optional<Scalar> {
    if (n.is_boolean()) return Scalar(**n.as_boolean());
    if (n.is_integer()) return Scalar(**n.as_integer());
    if (n.is_floating_point()) return Scalar(**n.as_floating_point());
    if (n.is_string()) return Scalar(**n.as_string());
    return std::nullopt;
  };
  if (const auto value = scalar(node)) {
    return std::visit([](const auto& x) { return Value(x); }, *value);
  }
  const Error refused = bad_input(place + ": " + name + " must be " + allowed);
  if (!node.is_array()) return refused;
  std::vector<Scalar> list;
  for (const toml::node& entry : *node.as_array()) {
    auto value = scalar(entry);
    if (!value) return refused;
    list.push_back(std::move(*value));
  }
  return Value(std::move(list));
}

// The entries of a table in the order of the file, so that the first mistake is the one that is
// named.
std::vector<std::pair<std::string, const toml::node*>> in_file_order(const toml::table& table) {
  std::vector<std::pair<std::string, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(std::string(key.str()), &node);
  std::ranges::stable_sort(entries, {}, [](const auto& e) {
    const auto begin = e.second->source().begin;
    return std::pair(begin.line, begin.column);
  });
  return entries;
}

// "demo.toml:12"; without a file there is nothing but its name.
std::string place_of(const std::string& file, const toml::node& node) {
  return file == "--set" ? file : file + ":" + std::to_string(node.source().begin.line);
}

Result<Row> row_of(const toml::table& table, const std::string& file, const Key& key) {
  Row row;
  for (const auto& [entry, node] : in_file_order(table)) {
    const std::string place = place_of(file, *node);
    const auto field = std::ranges::find(key.fields, entry, &Field::name);
    if (field == key.fields.end()) {
      std::vector<std::string> names;
      for (const Field& known : key.fields) names.push_back(known.name);
      const std::string near = nearest_of(entry, names);
      return bad_input(place + ": unknown key " + key.name + "." + entry +
                       (near.empty() ? "; it is " + key.allowed
                                     : "; did you mean " + key.name + "." + near + "?"));
    }
    const std::string name = key.name + "." + entry;
    TW_ASSIGN(Value value, value_of(*node, place, name, field->allowed));
    if (!field->allows(value)) {
      return bad_input(place + ": " + name + " = " + toml_text(value) + ": it must be " +
                       field->allowed);
    }
    row.fields.emplace_back(entry, std::move(value));
  }
  return row;
}

Result<Value> key_value(const toml::node& node, const std::string& file, const Key& key) {
  if (key.fields.empty() || !node.is_array() || node.as_array()->empty())
    return value_of(node, place_of(file, node), key.name, key.allowed);
  std::vector<Row> rows;
  for (const toml::node& entry : *node.as_array()) {
    if (!entry.is_table())
      return bad_input(place_of(file, entry) + ": " + key.name + " must be " + key.allowed);
    TW_ASSIGN(Row row, row_of(*entry.as_table(), file, key));
    rows.push_back(std::move(row));
  }
  return Value(std::move(rows));
}

Result<void> set_key(Config& config, Places& places, const std::string& place,
                     const std::string& name, const Value& value) {
  const Key* key = find_key(name);
  if (key == nullptr) return unknown_key(place, name);
  if (!key->set(config, value)) {
    return bad_input(place + ": " + name + " = " + toml_text(value) + ": it must be " +
                     key->allowed);
  }
  places[name] = place;
  return {};
}

Result<void> apply_table(Config& config, Places& places, const std::string& file,
                         const std::string& prefix, const toml::table& table) {
  for (const auto& [key, node] : in_file_order(table)) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    const std::string place = place_of(file, *node);
    if (node->is_table() && find_key(name) == nullptr) {
      const bool group = std::ranges::any_of(
          config_keys(), [&](const Key& k) { return k.name.starts_with(name + "."); });
      if (!group && node->as_table()->empty()) return unknown_key(place, name);
      TW_TRY(apply_table(config, places, file, name, *node->as_table()));
      continue;
    }
    const Key* known = find_key(name);
    if (known == nullptr) return unknown_key(place, name);
    TW_ASSIGN(const Value value, key_value(*node, file, *known));
    TW_TRY(set_key(config, places, place, name, value));
  }
  return {};
}

Result<void> apply_text(Config& config, Places& places, const std::string& name,
                        std::string_view text) {
  toml::table table;
  try {
    table = toml::parse(text, name);
  } catch (const toml::parse_error& e) {
    return bad_input(name + ":" + std::to_string(e.source().begin.line) + ": " +
                     std::string(e.description()));
  }
  return apply_table(config, places, name, "", table);
}

Result<void> apply_file(Config& config, Places& places, const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream || std::filesystem::is_directory(file)) {
    return io_error("cannot read the config file " + file.string());
  }
  return apply_text(config, places, file.string(), text.view());
}

Result<void> apply_set(Config& config, Places& places, const std::string& set) {
  const auto equals = set.find('=');
  if (equals == std::string::npos) {
    return bad_input("--set " + set + ": key=value is needed");
  }
  const std::string name = set.substr(0, equals);
  const std::string text = set.substr(equals + 1);
  const std::string place = "--set";
  const Key* key = find_key(name);
  if (key == nullptr) return unknown_key(place, name);
  const bool quotes = text.starts_with('"') || text.starts_with('\'');
  if (key->bare && !quotes) return set_key(config, places, place, name, Value(text));
  toml::table table;
  try {
    table = toml::parse("value = " + text);
  } catch (const toml::parse_error&) {
    table.clear();
  }
  if (table.size() != 1) {
    return bad_input(place + ": " + name + " = " + text + ": it must be " + key->allowed);
  }
  TW_ASSIGN(const Value value, key_value(*table.get("value"), place, *key));
  return set_key(config, places, place, name, value);
}

std::optional<Conflict> find_cluster_conflict(const Config& c) {
  const std::string conflict = cluster_conflict(c.cluster);
  if (!conflict.empty()) return Conflict{{"cluster.topology"}, conflict};
  const RunOptions none;
  if (c.cluster.topology != Topology::kInProcess &&
      (c.run.generators != none.generators || c.run.tracers != none.tracers ||
       c.run.builders != none.builders)) {
    return Conflict{{"cluster.topology", "run.generators", "run.tracers", "run.builders"},
                    "run.* counts the seats of one process; those of several are counted in "
                    "cluster.head and cluster.nodes"};
  }
  return std::nullopt;
}

// Between processes a rollout and a group of them are messages, whose size is limited.
std::optional<Conflict> find_size_conflict(const Config& c) {
  if (c.cluster.topology == Topology::kInProcess) return std::nullopt;
  const GroupShape shape{int64_t{c.run.group_size}, c.data.max_prompt_tokens,
                         int64_t{c.run.sampling.max_new_tokens}, c.group.preference.max_pairs};
  const int64_t rollouts = rollouts_that_fit(shape), tokens = response_tokens_that_fit(shape);
  if (rollouts < shape.rollouts) {
    const std::string either =
        rollouts == 0 ? "" : "run.group_size = " + std::to_string(rollouts) + " or ";
    return Conflict{
        {"run.group_size", "sampling.max_new_tokens"},
        "a group may have " + std::to_string(kMaxGroupBytes >> 20) +
            " MiB as a message between nodes, this one up to " +
            std::to_string(
                static_cast<int64_t>(std::min(largest_group_bytes(shape), 1e18) / (1 << 20))) +
            " MiB; take " + either + "sampling.max_new_tokens = " + std::to_string(tokens)};
  }
  if (largest_rollout_bytes(shape) > static_cast<double>(kMaxMessageBytes)) {
    return Conflict{{"sampling.max_new_tokens"},
                    "a rollout may have " + std::to_string(kMaxMessageBytes >> 20) +
                        " MiB as a message between nodes; take fewer tokens"};
  }
  return std::nullopt;
}

std::optional<Conflict> find_reward_conflict(const Config& c) {
  if (const auto good = check_verifier_options(c.verifier); !good.ok())
    return Conflict{{"verifier.kind", "verifier.pattern"}, good.error().message};
  for (const RewardTerm& term : c.reward_terms) {
    if (const auto good = check_reward_term(term); !good.ok())
      return Conflict{{"reward.terms"}, good.error().message};
    if (term.kind == RewardTermKind::kOverlong &&
        term.max_tokens - term.cache_tokens >= int64_t{c.run.sampling.max_new_tokens}) {
      return Conflict{{"reward.terms", "sampling.max_new_tokens"},
                      "no response gets so long that kind overlong would act"};
    }
  }
  if (!c.reward_terms.empty() && c.group.advantage.kind == AdvantageKind::kStepGroup) {
    return Conflict{{"reward.terms", "advantage.kind"},
                    "what shapes a reward acts on the base, which kind step_group doesn't have"};
  }
  return std::nullopt;
}

std::optional<Conflict> find_eval_conflict(const Config& c) {
  const auto& ks = c.run.eval.pass_at;
  if (std::ranges::adjacent_find(ks, std::ranges::greater_equal()) != ks.end())
    return Conflict{{"eval.pass_at"}, "the numbers must ascend"};
  std::vector<std::string> names;
  for (const EvalSetOptions& set : c.eval_sets) {
    if (set.name.empty() || set.path.empty())
      return Conflict{{"eval.sets"}, "each set has a name and a path"};
    names.push_back(set.name);
  }
  if (const auto good = check_set_names(names); !good.ok())
    return Conflict{{"eval.sets"}, good.error().message};
  return std::nullopt;
}

std::optional<Conflict> find_conflict(const Config& c) {
  if (auto conflict = find_reward_conflict(c)) return conflict;
  if (auto conflict = find_algorithm_conflict(c)) return conflict;
  if (c.group.min_good_rollouts > c.run.group_size) {
    return Conflict{{"advantage.min_good_rollouts", "run.group_size"},
                    "a group can't have more good rollouts than rollouts"};
  }
  if (auto conflict = lora_conflict(c.lora)) return Conflict{{conflict->first}, conflict->second};
  if (c.engine.block_tokens % 16 != 0) {
    return Conflict{{"engine.block_tokens"}, "a block is a multiple of 16 tokens"};
  }
  if (!std::ranges::is_sorted(c.run.eval.at_seconds)) {
    return Conflict{{"eval.at_seconds"}, "the times must ascend"};
  }
  if (auto conflict = find_eval_conflict(c)) return conflict;
  if (auto conflict = find_cluster_conflict(c)) return conflict;
  return find_size_conflict(c);
}

Result<void> refuse(const std::optional<Conflict>& conflict, const Config& config,
                    const Places& places) {
  if (!conflict) return {};
  std::string place;
  std::string keys;
  for (const std::string& name : conflict->keys) {
    const auto found = places.find(name);
    if (found != places.end() && place.empty()) place = found->second + ": ";
    keys += (keys.empty() ? "" : ", ") + name + " = " + toml_text(find_key(name)->get(config));
  }
  return bad_input(place + keys + ": " + conflict->message);
}

}  // namespace

std::string nearest_key(const std::string& name) {
  std::string nearest;
  size_t best = std::max<size_t>(3, name.size() / 3) + 1;
  for (const Key& key : config_keys()) {
    // A key in the wrong group is still the key that was meant.
    const size_t cost = std::min(edit_distance(name, key.name),
                                 edit_distance(leaf_of(name), leaf_of(key.name)) + 2);
    if (cost < best) {
      best = cost;
      nearest = key.name;
    }
  }
  return nearest;
}

Result<Config> load_config(const ConfigSource& source) {
  Config config;
  Places places;
  TW_TRY(apply_text(config, places, "config", source.text));
  for (const auto& file : source.files) TW_TRY(apply_file(config, places, file));
  for (const auto& set : source.sets) TW_TRY(apply_set(config, places, set));
  TW_TRY(refuse(find_conflict(config), config, places));
  config.run.seed = config.seed;
  config.engine.seed = config.seed;
  config.group.seed = config.seed;
  config.trainer.seed = config.seed;
  // Both prompt files have the same columns.
  const auto eval_path = std::move(config.eval_data.path);
  config.eval_data = config.data;
  config.eval_data.path = eval_path;
  return config;
}

Result<void> check_training(const Config& config) {
  return refuse(find_training_conflict(config), config, {});
}

namespace {

// Threads on this machine's cores.
struct CpuThreads {
  int64_t sampling = 0;
  int64_t training = 0;
};

// All of one process, or of all processes that topology local places here.
CpuThreads cpu_threads(const Config& config) {
  const auto on_cpu = [](const std::string& device) { return device == "cpu"; };
  const int64_t engine = on_cpu(config.engine.device) ? config.engine.threads : 0;
  const int64_t trainer = on_cpu(config.trainer.device) ? config.trainer.threads : 0;
  if (config.cluster.topology == Topology::kInProcess)
    return {int64_t{config.run.generators} * engine, trainer};
  if (config.cluster.topology != Topology::kLocal) return {};
  CpuThreads all{int64_t{config.cluster.head.seats.generators} * engine, trainer};
  for (const NodeSpec& node : config.cluster.nodes) {
    const int64_t threads = node.threads > 0 ? node.threads : config.engine.threads;
    int64_t generators = on_cpu(config.engine.device) ? node.seats.generators : 0;
    if (!node.devices.empty()) generators = std::ranges::count_if(node.devices, on_cpu);
    all.sampling += generators * threads;
    const std::string& rank = node.rank_device.empty() ? config.trainer.device : node.rank_device;
    all.training += on_cpu(rank) ? int64_t{node.seats.ranks} * config.trainer.threads : 0;
  }
  return all;
}

}  // namespace

std::string thread_warning(const Config& config, unsigned cores) {
  const auto [sampling, training] = cpu_threads(config);
  const bool in_turns = config.run.max_staleness == 0;  // never both at once
  const int64_t busy = in_turns ? std::max(sampling, training) : sampling + training;
  if (cores == 0 || busy <= cores) return {};
  const std::string generators =
      config.cluster.topology == Topology::kLocal
          ? "the generators of cluster.nodes, their threads"
          : "run.generators (" + std::to_string(config.run.generators) + ")";
  return std::to_string(busy) + " compute threads on " + std::to_string(cores) +
         " cores starve each other: lower " + generators + ", engine.threads (" +
         std::to_string(config.engine.threads) + ") or trainer.threads (" +
         std::to_string(config.trainer.threads) + ")";
}

}  // namespace tracewise
