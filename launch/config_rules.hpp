// Rules between keys, beside what each key allows by itself. See load_config() and
// check_training().
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config.hpp"

namespace tracewise {

// A rule that a config breaks.
struct Conflict {
  std::vector<std::string> keys;  // the most telling one first
  std::string message;            // why they don't go together
};

// Of advantages and loss: keys that contradict each other, or that would have no effect.
std::optional<Conflict> find_algorithm_conflict(const Config& config);

// What only training needs: values where they are used, and rollouts that differ.
std::optional<Conflict> find_training_conflict(const Config& config);

}  // namespace tracewise
