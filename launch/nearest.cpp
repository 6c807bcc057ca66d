#include "launch/nearest.hpp"

#include <algorithm>

namespace tracewise {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

std::string nearest_of(const std::string& name, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t best = std::max<size_t>(3, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t cost = edit_distance(name, candidate);
    if (cost >= best) continue;
    best = cost;
    nearest = candidate;
  }
  return nearest;
}

std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates) {
  const std::string near = nearest_of(name, candidates);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

}  // namespace tracewise
