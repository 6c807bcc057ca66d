// The tokenizer of fixed symbols that make_symbol_tokenizer() makes, from its own tokenizer.json.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "messages/result.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {

// `object`: the file at `place`, a WordLevel model in it. Anything but what to_json() writes for
// symbols is kUnsupported by name.
Result<std::unique_ptr<Tokenizer>> read_symbol_tokenizer(const nlohmann::json& object,
                                                         const std::string& place);

}  // namespace tracewise
