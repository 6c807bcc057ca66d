// UTF-8 and the character classes of Rust's standard library, which Hugging Face's tokenizers use.
// Text is valid UTF-8 wherever nothing else is said.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tracewise::tok {

// U+FFFD, which stands for bytes that are no UTF-8.
inline constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Bytes of the character whose first byte is `lead`.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// The character at `at`, which must begin one.
char32_t utf8_at(std::string_view text, size_t at);

// Begin of the character that ends before `end` > 0.
size_t utf8_before(std::string_view text, size_t end);

void append_utf8(std::string& text, char32_t c);

// Where `bytes` stop being UTF-8; nothing if they are.
std::optional<size_t> first_invalid_utf8(std::string_view bytes);

// Appends `bytes` to `out` with U+FFFD for each maximal part that is no UTF-8, as Rust's
// from_utf8_lossy does. Returns the bytes at the end that further ones may complete: those are not
// appended.
size_t append_lossy(std::string_view bytes, std::string& out);

bool is_white_space(char32_t c);     // White_Space
bool is_word(char32_t c);            // \w of Rust's regex
bool is_numeric(char32_t c);         // Nd, Nl, No
bool is_punctuation(char32_t c);     // P*, and all of ASCII's
bool is_combining_mark(char32_t c);  // M*
void append_lowercase(std::string& text, char32_t c);

// A range of characters that Unicode 15.0 to 16.0 assigned, which PCRE2 and ICU of Debian 12 do not
// know. Made by scripts/make_unicode_table.
struct NewCharacters {
  char32_t first;
  char32_t last;
  char category[3];  // "Lu"
};
const std::vector<NewCharacters>& new_characters();

}  // namespace tracewise::tok
