// GPT-2's table: a visible character for each byte. Vocabularies of byte-level BPE are spelled in
// it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tracewise::tok {

// The bytes that `text` (UTF-8) spells; nothing if one of its characters stands for no byte.
std::optional<std::string> bytes_of_alphabet(std::string_view text);

}  // namespace tracewise::tok
