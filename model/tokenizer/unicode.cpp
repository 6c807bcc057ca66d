#include "model/tokenizer/unicode.hpp"

#include <unicode/uchar.h>

#include <algorithm>

namespace tracewise::tok {
namespace {

struct Decoded {
  size_t length = 0;  // bytes of the character, or of the maximal part of one that is no UTF-8
  bool valid = false;
  bool cut_off = false;  // the bytes end within a character
};

// As in Unicode's table of well-formed byte sequences.
Decoded decode_one(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xc2 || lead > 0xf4) return {1, false, false};
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  uint8_t low = 0x80, high = 0xbf;  // of the second byte
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80, high = 0xbf;
  }
  return {length, true, false};
}

size_t ascii_end(std::string_view bytes, size_t at) {
  while (at < bytes.size() && static_cast<uint8_t>(bytes[at]) < 0x80) ++at;
  return at;
}

bool has_new(char32_t c, char category) {
  if (c < new_characters().front().first) return false;
  for (const NewCharacters& range : new_characters()) {
    if (c >= range.first && c <= range.last) return range.category[0] == category;
  }
  return false;
}

// The package's tables of this kind are of an old Unicode.
bool assigned_in(char32_t c, uint8_t major) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= major;
}

}  // namespace

const std::vector<NewCharacters>& new_characters() {
  static const std::vector<NewCharacters> kRanges = {
#include "model/tokenizer/unicode_16.inc"
  };
  return kRanges;
}

char32_t utf8_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<uint8_t>(text[at + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return lead;
  if (lead < 0xe0) return (lead & 0x1f) << 6 | (byte(1) & 0x3f);
  if (lead < 0xf0) return (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
  return (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
}

size_t utf8_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

void append_utf8(std::string& text, char32_t c) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

std::optional<size_t> first_invalid_utf8(std::string_view bytes) {
  for (size_t at = ascii_end(bytes, 0); at < bytes.size(); at = ascii_end(bytes, at)) {
    const Decoded one = decode_one(bytes.substr(at));
    if (!one.valid) return at;
    at += one.length;
  }
  return {};
}

size_t append_lossy(std::string_view bytes, std::string& out) {
  size_t copied = 0;
  for (size_t at = ascii_end(bytes, 0); at < bytes.size(); at = ascii_end(bytes, at)) {
    const Decoded one = decode_one(bytes.substr(at));
    if (!one.valid) {
      out += bytes.substr(copied, at - copied);
      if (one.cut_off) return bytes.size() - at;
      out += kReplacement;
      copied = at + one.length;
    }
    at += one.length;
  }
  out += bytes.substr(copied);
  return 0;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(static_cast<UChar32>(c));
}

bool is_word(char32_t c) {
  if (c < 0x80) return u_isalnum(static_cast<UChar32>(c)) || c == '_';
  const auto point = static_cast<UChar32>(c);
  return u_isUAlphabetic(point) || u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         has_new(c, 'L') || has_new(c, 'M');
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0 || has_new(c, 'N') ||
         (c >= 0x11de0 && c <= 0x11de9) || (c >= 0x16ff4 && c <= 0x16ff6);  // of Unicode 17.0
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > ' ' && c < 0x7f && !u_isalnum(static_cast<UChar32>(c));
  if (c == 0x166d || c == 0x111c9) return true;  // were punctuation at that time
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0 && assigned_in(c, 8);
}

bool is_combining_mark(char32_t c) {
  if (c < 0x300) return false;
  // What they were at that time.
  if (c == 0x1cf2 || c == 0x1cf3) return true;
  if (c == 0x111c9) return false;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0 && assigned_in(c, 9);
}

void append_lowercase(std::string& text, char32_t c) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the only one whose lower case has two characters
  if (c == kCapitalIWithDot) {
    text += "i\xcc\x87";
  } else {
    append_utf8(text, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  }
}

}  // namespace tracewise::tok
