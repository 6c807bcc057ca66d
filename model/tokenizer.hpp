// Text <-> token ids, from Hugging Face's tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

// Immutable once made; any thread may use it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `text`. With `add_special` the post-processor's tokens (bos) are put around it.
  // Text that the vocabulary cannot spell is kBadInput and named.
  virtual Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const = 0;

  // Text of `ids`. Special tokens (pad, bos, eos) are left out when `skip_special`.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;

  // The bytes that one token adds to the text; special tokens add their name.
  virtual const std::string& piece(int32_t id) const = 0;

  virtual bool is_special(int32_t id) const = 0;
  virtual int32_t vocab_size() const = 0;
  virtual int32_t find(std::string_view piece) const = 0;  // id of a whole piece, or -1
  virtual std::string to_json() const = 0;                 // tokenizer.json that transformers loads
};

// A tokenizer of fixed symbols: the longest symbol that matches comes next.
// `symbols[i]` is the piece of id i; `special` lists the ids that no text spells.
// `bos` (or -1) is put first by encode(.., add_special).
Result<std::unique_ptr<Tokenizer>> make_symbol_tokenizer(std::vector<std::string> symbols,
                                                         std::vector<int32_t> special, int32_t bos);

// Reads a tokenizer.json. Kinds that this build does not handle are kUnsupported by name.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& file);

}  // namespace tracewise
