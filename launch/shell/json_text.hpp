// JSON as the shell's commands answer it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tracewise {

// Over several lines, with a line end. Bytes that are no UTF-8 are replaced.
inline std::string text_of(const nlohmann::ordered_json& j) {
  return j.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tracewise
