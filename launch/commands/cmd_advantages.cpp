// tracewise advantages: step advantages for somebody else's trainer, JSON lines in and out.
//
// In, a group a line:  {"rewards": [G], "values": [G][K_i + 1], "step_tokens": [G][K_i]}
// Out:                 {"advantages": [G][K_i]}
// values are V_0..V_K; V_K is ignored in favour of the reward.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/commands/cli.hpp"
#include "learner/advantage.hpp"

namespace tracewise {
namespace {

using Json = nlohmann::json;
using Group = std::vector<StepRollout>;
using GroupAdvantages = std::vector<std::vector<double>>;

// Beyond any model's context; keeps sums and --tokens in bounds.
constexpr int64_t kMaxStepTokens = 100'000'000;

// The array `name` of a line. `rows`: the length it must have; 0: any above 0.
Result<const Json*> array_of(const Json& line, const char* name, size_t rows) {
  const auto found = line.find(name);
  if (found == line.end()) return bad_input(std::string("\"") + name + "\" is missing");
  if (!found->is_array()) return bad_input(std::string("\"") + name + "\" is no array");
  if (found->empty()) return bad_input(std::string("\"") + name + "\" is empty");
  if (rows != 0 && found->size() != rows) {
    return bad_input(std::string("\"") + name + "\" has " + std::to_string(found->size()) +
                     " entries for " + std::to_string(rows) + " rewards");
  }
  return &*found;
}

Result<double> number_of(const Json& value, const std::string& place) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    return bad_input(place + " is " + value.dump() + ", not a finite number");
  }
  return value.get<double>();
}

Result<void> read_steps(const Json& tokens, const Json* values, const std::string& index,
                        StepRollout& out) {
  const std::string place = "\"step_tokens\"" + index;
  if (!tokens.is_array()) return bad_input(place + " is no array");
  for (size_t k = 0; k < tokens.size(); ++k) {
    if (!tokens[k].is_number_integer() || tokens[k] < 0 || tokens[k] > kMaxStepTokens) {
      return bad_input(place + "[" + std::to_string(k) + "] is " + tokens[k].dump() +
                       ", not a whole number from 0 to " + std::to_string(kMaxStepTokens));
    }
    out.step_tokens.push_back(tokens[k].get<int64_t>());
  }
  if (values == nullptr) return {};
  const std::string values_place = "\"values\"" + index;
  if (!values->is_array()) return bad_input(values_place + " is no array");
  if (values->size() != tokens.size() + 1) {
    return bad_input(values_place + " has " + std::to_string(values->size()) + " entries for " +
                     std::to_string(tokens.size()) + " steps; V_0..V_K are K + 1");
  }
  for (size_t k = 0; k < tokens.size(); ++k) {
    TW_ASSIGN(const double value,
              number_of((*values)[k], values_place + "[" + std::to_string(k) + "]"));
    out.values.push_back(value);
  }
  return {};
}

Result<Group> read_group(const std::string& text, bool needs_values) {
  const Json line = Json::parse(text, nullptr, false);
  if (!line.is_object()) return bad_input("no JSON object");
  TW_ASSIGN(const Json* rewards, array_of(line, "rewards", 0));
  TW_ASSIGN(const Json* tokens, array_of(line, "step_tokens", rewards->size()));
  const Json* values = nullptr;
  if (needs_values || line.contains("values")) {
    TW_ASSIGN(values, array_of(line, "values", rewards->size()));
  }
  Group group(rewards->size());
  for (size_t i = 0; i < group.size(); ++i) {
    const std::string index = "[" + std::to_string(i) + "]";
    TW_ASSIGN(group[i].reward, number_of((*rewards)[i], "\"rewards\"" + index));
    TW_TRY(read_steps((*tokens)[i], values == nullptr ? nullptr : &(*values)[i], index, group[i]));
  }
  return group;
}

struct Output {
  std::ostream& stream;
  bool tokens;  // write token advantages too

  void write(const Group& group, const GroupAdvantages& advantages) const {
    Json line = {{"advantages", advantages}};
    if (tokens) {
      GroupAdvantages per_token(group.size());
      for (size_t i = 0; i < group.size(); ++i) {
        for (size_t k = 0; k < advantages[i].size(); ++k) {
          per_token[i].insert(per_token[i].end(), static_cast<size_t>(group[i].step_tokens[k]),
                              advantages[i][k]);
        }
      }
      line["token_advantages"] = per_token;
    }
    stream << line.dump() << '\n';
  }
};

Result<void> run(std::istream& in, const std::string& name, const AdvantageOptions& options,
                 const Output& output) {
  // A base that is whitened over the batch takes all lines as the batch; others need no memory.
  std::vector<std::pair<Group, GroupAdvantages>> batch;
  BatchMoments moments;
  std::string text;
  for (size_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto group = read_group(text, options.needs_values());
    if (!group.ok()) {
      return bad_input(name + ":" + std::to_string(number) + ": " + group.error().message);
    }
    GroupAdvantages advantages = group_advantages(*group, options);
    if (!options.whitens_batch()) {
      output.write(*group, advantages);
      continue;
    }
    for (size_t i = 0; i < advantages.size(); ++i) {
      for (size_t k = 0; k < advantages[i].size(); ++k) {
        moments.add(advantages[i][k], (*group)[i].step_tokens[k]);
      }
    }
    batch.emplace_back(*group, std::move(advantages));
  }
  if (!batch.empty() && moments.empty()) {
    return bad_input(name + ": no step has a token, so there is nothing to whiten over");
  }
  for (auto& [group, advantages] : batch) {
    for (auto& steps : advantages) {
      for (double& a : steps) a = moments.whiten(a);
    }
    output.write(group, advantages);
  }
  output.stream.flush();
  if (in.bad()) return io_error("cannot read " + name);
  if (!output.stream) return io_error("cannot write the advantages: the disk may be full");
  return {};
}

}  // namespace

int cmd_advantages(const Args& args) {
  CLI::App app(
      "Step advantages of groups: JSON lines {\"rewards\": [G], \"values\": [G][K+1], "
      "\"step_tokens\": [G][K]} in, {\"advantages\": [G][K]} out. The keys advantage.* say which.",
      "tracewise advantages");
  ConfigSource source;
  std::string in_file;
  bool tokens = false;
  app.add_option("--in", in_file, "read this file instead of standard input")->type_name("FILE");
  app.add_flag("--tokens", tokens, "add \"token_advantages\": [G][T] to each line");
  add_config_options(app, source);
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  if (config->group.shuffle_values) {
    return fail(bad_input("advantages: advantage.shuffle_values is a control of training runs"));
  }
  std::ios::sync_with_stdio(false);
  const Output output{std::cout, tokens};
  const AdvantageOptions& options = config->group.advantage;
  Result<void> result;
  if (in_file.empty() || in_file == "-") {
    result = run(std::cin, "stdin", options, output);
  } else {
    std::ifstream file(in_file, std::ios::binary);
    if (!file || std::filesystem::is_directory(in_file)) {
      return fail(io_error("advantages: cannot read " + in_file));
    }
    result = run(file, in_file, options, output);
  }
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
