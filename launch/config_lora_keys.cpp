// The rows of `lora`: an adapter instead of all weights. See launch/config_keys.cpp.
#include <algorithm>
#include <string>
#include <utility>

#include "launch/config_key.hpp"
#include "launch/nearest.hpp"
#include "model/adapter.hpp"
#include "model/adapter_folder.hpp"

namespace tracewise {

#define AT(path) \
  [](Config & c) -> auto& { return c.path; }

void add_lora_keys(std::vector<Key>& k) {
  k.push_back(integer_key("lora.rank", AT(lora.rank), between(0, 65536),
                          "Rank of the adapter that is trained instead of all weights; 0: that of "
                          "lora.adapter, or without one all weights are trained."));
  k.push_back(real_key("lora.alpha", AT(lora.alpha), at_least(0),
                       "The adapter is scaled by alpha / rank; 0: alpha is that of lora.adapter, "
                       "or the rank."));
  k.push_back(flag_key("lora.rslora", AT(lora.rank_stabilized),
                       "Scale a new adapter by alpha / sqrt(rank) instead."));
  k.push_back(list_key("lora.targets", AT(lora.targets),
                       "a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj",
                       {},
                       "Modules that the adapter changes; empty: those of lora.adapter, or all."));
  k.push_back(real_key("lora.dropout", AT(lora.dropout), between(0, 1),
                       "Must be 0: with dropout the learner's log-probabilities would not be "
                       "those that its tokens were sampled with."));
  k.push_back(path_key("lora.adapter", AT(lora.adapter_dir),
                       "Folder of an adapter in PEFT's format: training starts from it, and eval, "
                       "generate and trace add it to the model; empty: a new adapter, if there is "
                       "one."));
}

#undef AT

std::optional<std::pair<std::string, std::string>> lora_conflict(const LoraOptions& lora) {
  using Conflict = std::pair<std::string, std::string>;
  if (lora.dropout != 0) {
    return Conflict{"lora.dropout",
                    "an adapter is trained without dropout, because the learner's "
                    "log-probabilities must be those that its tokens were sampled with"};
  }
  const auto& modules = adapter_modules();
  for (const std::string& target : lora.targets) {
    if (std::ranges::count(lora.targets, target) > 1)
      return Conflict{"lora.targets", "'" + target + "' is there twice"};
    if (std::ranges::find(modules, target) != modules.end()) continue;
    const std::string near = nearest_of(target, modules);
    std::string all;
    for (const std::string& module : modules) all += (all.empty() ? "" : ", ") + module;
    return Conflict{"lora.targets",
                    "there is no module '" + target + "'; " +
                        (near.empty() ? "there are " + all : "did you mean " + near + "?")};
  }
  if (lora.on()) return {};
  const char* without = "means nothing without lora.rank or lora.adapter: all weights are trained";
  if (lora.alpha != 0) return Conflict{"lora.alpha", without};
  if (lora.rank_stabilized) return Conflict{"lora.rslora", without};
  if (!lora.targets.empty()) return Conflict{"lora.targets", without};
  return {};
}

Result<AdapterConfig> adapter_config(const LoraOptions& lora) {
  if (!lora.on()) return AdapterConfig{};
  AdapterConfig stated{lora.rank, lora.alpha, lora.rank_stabilized, {}};
  for (const std::string& module : adapter_modules()) {
    if (lora.targets.empty() || std::ranges::count(lora.targets, module) > 0)
      stated.targets.push_back(module);
  }
  if (stated.alpha == 0) stated.alpha = static_cast<double>(stated.rank);
  if (lora.adapter_dir.empty()) return stated;
  TW_ASSIGN(const AdapterConfig stored, read_adapter_config(lora.adapter_dir));
  const auto differs = [&](const std::string& key) {
    return bad_input(key + " is not that of the adapter in " + lora.adapter_dir +
                     "; leave it out to take the adapter's");
  };
  if (lora.rank != 0 && lora.rank != stored.rank) return differs("lora.rank");
  if (lora.alpha != 0 && lora.alpha != stored.alpha) return differs("lora.alpha");
  if (lora.rank_stabilized && !stored.rank_stabilized) return differs("lora.rslora");
  if (!lora.targets.empty() && stated.targets != stored.targets) return differs("lora.targets");
  return stored;
}

}  // namespace tracewise
