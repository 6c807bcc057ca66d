#include "model/tokenizer/flat_table.hpp"

#include <xxhash.h>

namespace tracewise::tok {

TextTable::TextTable(size_t texts) : slots_(std::bit_ceil(std::max<size_t>(2 * texts, 2))) {}

size_t TextTable::place(std::string_view text, uint32_t& hash) const {
  const uint64_t all = XXH3_64bits(text.data(), text.size());
  hash = static_cast<uint32_t>(all >> 32);
  size_t at = all & (slots_.size() - 1);
  for (;; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.id < 0) return at;
    if (slot.hash == hash && slot.size == text.size() &&
        std::string_view(bytes_).substr(slot.begin, slot.size) == text) {
      return at;
    }
  }
}

void TextTable::put(std::string_view text, int32_t id, bool replace) {
  uint32_t hash = 0;
  Slot& slot = slots_[place(text, hash)];
  if (slot.id >= 0) {
    if (replace) slot.id = id;
    return;
  }
  slot = {hash, id, bytes_.size(), static_cast<uint32_t>(text.size())};
  bytes_ += text;
}

int32_t TextTable::find(std::string_view text) const {
  uint32_t hash = 0;
  return slots_[place(text, hash)].id;
}

}  // namespace tracewise::tok
