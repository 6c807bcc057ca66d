#include "model/tokenizer/byte_alphabet.hpp"

#include <array>

#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

constexpr size_t kCharacters = 0x144;  // the last of the table and one

// Byte of each character; -1: none. Visible bytes stand for themselves, the others count on from
// U+0100.
std::array<int16_t, kCharacters> make_table() {
  std::array<int16_t, kCharacters> bytes{};
  bytes.fill(-1);
  size_t next = 0x100;
  for (int16_t byte = 0; byte < 256; ++byte) {
    const bool visible =
        (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    bytes[visible ? static_cast<size_t>(byte) : next++] = byte;
  }
  return bytes;
}

}  // namespace

std::optional<std::string> bytes_of_alphabet(std::string_view text) {
  static const auto kTable = make_table();
  std::string bytes;
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    const char32_t c = utf8_at(text, at);
    if (c >= kCharacters || kTable[c] < 0) return {};
    bytes += static_cast<char>(kTable[c]);
  }
  return bytes;
}

}  // namespace tracewise::tok
