// Spelling distance, for errors that name what was probably meant.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tracewise {

// Insertions, deletions and replacements of bytes that turn `a` into `b` (Levenshtein).
size_t edit_distance(const std::string& a, const std::string& b);

// The candidate with the smallest distance to `name`, if it is at most 3 or a third of the name;
// else empty. The first of equally near ones.
std::string nearest_of(const std::string& name, const std::vector<std::string>& candidates);

// That candidate as a question at the end of a refusal: "; did you mean beta?".
std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace tracewise
