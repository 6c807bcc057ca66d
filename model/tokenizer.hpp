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
#include "model/tokenizer/text_stream.hpp"

namespace tracewise {

// Immutable once made; any thread may use it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `text`, in time about linear in its length. With `add_special` the post-processor's
  // tokens (bos) are put around it. Text that is no UTF-8 or that the vocabulary cannot spell is
  // kBadInput and named.
  virtual Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const = 0;

  // For the text of ids as they come. Special tokens (pad, bos, eos) are left out when
  // `skip_special`.
  virtual std::unique_ptr<TextStream> stream(bool skip_special) const = 0;

  // Text of `ids`: valid UTF-8, U+FFFD for bytes that are none. As stream(), at once.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  // The bytes that one token adds to a text with others before it; special tokens add their name.
  // It may be a part of a character. Where decode() leaves out the blank before the text's first
  // token (Metaspace and its kin), the piece has that blank: "▁Hi" is " Hi".
  virtual const std::string& piece(int32_t id) const = 0;

  virtual bool is_special(int32_t id) const = 0;
  // The largest id and one, added tokens included. A hole between ids has an empty piece.
  virtual int32_t vocab_size() const = 0;
  virtual int32_t find(std::string_view piece) const = 0;  // id of a whole piece, or -1
  // tokenizer.json that transformers loads; of a loaded tokenizer that is not of symbols the file's
  // bytes.
  virtual std::string to_json() const = 0;
};

// A tokenizer of fixed symbols: the longest symbol that matches comes next.
// `symbols[i]` is the piece of id i; `special` lists the ids that no text spells.
// `bos` (or -1) is put first by encode(.., add_special).
Result<std::unique_ptr<Tokenizer>> make_symbol_tokenizer(std::vector<std::string> symbols,
                                                         std::vector<int32_t> special, int32_t bos);

// Reads a tokenizer.json: BPE, Unigram, and what make_symbol_tokenizer()'s to_json() wrote. What
// this build does not handle is kUnsupported by name and place; docs/tokenizers.md lists what it
// does.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& file);

}  // namespace tracewise
