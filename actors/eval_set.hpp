// What an evaluation measures: prompts under a name, and the numbers of their groups.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Prompts that are measured together.
struct EvalSet {
  std::string name;  // see is_set_name(); no two sets of an evaluation have one
  std::vector<Prompt> prompts;
  uint32_t samples = 1;  // rollouts of each prompt, >= 1
};

// Groups of evaluations are told from training groups by this bit, which keeps their random numbers
// apart as well. Below 2^48, the largest group that rollout/random.hpp takes.
inline constexpr uint64_t kEvalGroup = uint64_t{1} << 47;

// Prompts that a set may have. The bits between this and kEvalGroup say which set it is.
inline constexpr uint64_t kMaxSetPrompts = uint64_t{1} << 24;

// The group of a set's first prompt; its i-th prompt has the one i further on. It depends on the
// set's name alone, so that a prompt's random numbers are the same in every evaluation: whichever
// other sets there are, and with whatever weights.
uint64_t first_eval_group(const std::string& name);

// Letters, digits, '_', '.' and '-', at most 64, the first no '.': it is a file's name and a part
// of metrics' names.
bool is_set_name(const std::string& name);

// kBadInput for a set without prompts or with too many of them.
Result<void> check(std::span<const EvalSet> sets);

// kBadInput for a name that is none, that comes twice, or whose groups another name's are too.
Result<void> check_set_names(std::span<const std::string> names);

}  // namespace tracewise
