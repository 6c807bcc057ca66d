#include "actors/eval_set.hpp"

#include <algorithm>
#include <map>

namespace tracewise {

uint64_t first_eval_group(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  const uint64_t sets = kEvalGroup / kMaxSetPrompts;
  return kEvalGroup | (((hash ^ (hash >> 32)) & (sets - 1)) * kMaxSetPrompts);
}

bool is_set_name(const std::string& name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && name[0] != '.' && std::ranges::all_of(name, fits);
}

Result<void> check(std::span<const EvalSet> sets) {
  for (const EvalSet& set : sets) {
    if (set.prompts.empty())
      return bad_input("the evaluation set " + set.name + " has no prompts to evaluate on");
    if (set.prompts.size() > kMaxSetPrompts) {
      return bad_input("the evaluation set " + set.name + " has " +
                       std::to_string(set.prompts.size()) + " prompts, at most " +
                       std::to_string(kMaxSetPrompts) + " are possible");
    }
  }
  return {};
}

Result<void> check_set_names(std::span<const std::string> names) {
  std::map<uint64_t, std::string> taken;  // by first group
  for (const std::string& name : names) {
    if (!is_set_name(name)) {
      return bad_input("\"" + name +
                       "\" is no name of an evaluation set: it takes letters, digits, '_', '.' and "
                       "'-', at most 64, the first no '.'");
    }
    const auto [found, fresh] = taken.emplace(first_eval_group(name), name);
    if (fresh) continue;
    return bad_input(found->second == name
                         ? "two evaluation sets have the name " + name
                         : "the evaluation sets " + found->second + " and " + name +
                               " would get the same random numbers; give one of "
                               "them another name");
  }
  return {};
}

}  // namespace tracewise
