#include "model/tokenizer/charsmap.hpp"

#include <algorithm>
#include <cstring>

#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

// A unit of the double array: a label, an offset to the children, and whether one of them is a
// leaf.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7fffffff; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000ff; }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

Result<std::string> decode_base64(const std::string& text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  const size_t end = std::min(text.find('='), text.size());
  for (size_t i = 0; i < end; ++i) {
    const int digit = digit_of(text[i]);
    if (digit < 0) return bad_input("character " + std::to_string(i) + " is not Base64");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8));
  }
  return bytes;
}

}  // namespace

Result<Charsmap> Charsmap::read(const std::string& base64) {
  TW_ASSIGN(const std::string bytes, decode_base64(base64));
  uint32_t trie_bytes = 0;
  if (bytes.size() >= sizeof trie_bytes) std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
    return bad_input("the table of replacements is cut off");
  }
  TW_ASSIGN(Pattern graphemes, Pattern::grapheme());
  Charsmap map(std::move(graphemes));
  map.units_.resize(trie_bytes / 4);
  std::memcpy(map.units_.data(), bytes.data() + 4, trie_bytes);
  map.replacements_ = bytes.substr(4 + trie_bytes);
  if (first_invalid_utf8(map.replacements_)) return bad_input("a replacement is not UTF-8");
  return map;
}

const char* Charsmap::replacement(std::string_view part) const {
  // The shortest entry that `part` begins with stands for all of it; so do the package and its
  // models.
  uint32_t node = offset_of(units_[0]);
  for (const char c : part) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte == 0) return nullptr;
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) return nullptr;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size() || value_of(units_[node]) >= replacements_.size()) return nullptr;
    return replacements_.c_str() + value_of(units_[node]);
  }
  return nullptr;
}

Result<void> Charsmap::apply(std::string& text) const {
  constexpr size_t kShort = 6;  // bytes; longer clusters are replaced character by character
  thread_local std::vector<Match> clusters;
  clusters.clear();
  TW_TRY(graphemes_.cut(text, clusters));
  std::string out;
  out.reserve(text.size());
  const auto put = [&](std::string_view part) {
    const char* other = replacement(part);
    if (other != nullptr) out += other;
    return other != nullptr;
  };
  for (const Match& match : clusters) {
    const auto cluster = std::string_view(text).substr(match.begin, match.end - match.begin);
    if (cluster.size() < kShort && put(cluster)) continue;
    for (size_t at = 0; at < cluster.size();) {
      const auto character = cluster.substr(at, utf8_length(cluster[at]));
      if (!put(character)) out += character;
      at += character.size();
    }
  }
  text = std::move(out);
  return {};
}

}  // namespace tracewise::tok
