// Text of token ids as they come.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace tracewise {

// What it appends, put together, is exactly Tokenizer::decode() of all ids: nothing that was
// appended is ever taken back. So it holds back what later ids may change: bytes of a character
// that is not complete; with byte fallback (Llama 2) the whole run of byte tokens, because one byte
// that is no UTF-8 makes every byte of its run U+FFFD. What is appended by one call is valid UTF-8
// by itself. One thread at a time; the tokenizer must outlive it.
class TextStream {
 public:
  virtual ~TextStream() = default;

  // Appends to `out` what `ids` add. Ids outside the vocabulary add nothing.
  virtual void push(std::span<const int32_t> ids, std::string& out) = 0;

  // Appends what was held back; what never became a character is U+FFFD. The next push() begins a
  // new text.
  virtual void finish(std::string& out) = 0;
};

}  // namespace tracewise
