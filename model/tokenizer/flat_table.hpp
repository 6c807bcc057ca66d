// Open-addressing hash tables that are filled once and then read by any thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tracewise::tok {

// (left id, right id) -> Value, which is default-made for pairs that are not there.
template <class Value>
class PairTable {
 public:
  PairTable() : PairTable(0) {}
  explicit PairTable(size_t pairs)
      : shift_(64 - std::bit_width(std::max<size_t>(2 * pairs, 2))),
        slots_(size_t{1} << (64 - shift_)) {}

  // At most as many as the constructor was told. A pair that is there already is found again.
  Value& put(int32_t left, int32_t right) {
    Slot& slot = slots_[place(key_of(left, right))];
    slot.key = key_of(left, right);
    return slot.value;
  }
  const Value* find(int32_t left, int32_t right) const {
    const Slot& slot = slots_[place(key_of(left, right))];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // ids are not negative
  struct Slot {
    uint64_t key = kEmpty;
    Value value;
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t place(uint64_t key) const {
    size_t at = (key * 0x9e3779b97f4a7c15u) >> shift_;
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  int shift_;
  std::vector<Slot> slots_;
};

// Text -> id.
class TextTable {
 public:
  TextTable() : TextTable(0) {}
  explicit TextTable(size_t texts);

  // At most as many texts as the constructor was told. The first id of a text stays, unless
  // `replace`.
  void put(std::string_view text, int32_t id, bool replace = false);
  int32_t find(std::string_view text) const;  // -1: not there

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
    uint64_t begin = 0;  // in bytes_
    uint32_t size = 0;
  };
  size_t place(std::string_view text, uint32_t& hash) const;

  std::string bytes_;
  std::vector<Slot> slots_;
};

}  // namespace tracewise::tok
