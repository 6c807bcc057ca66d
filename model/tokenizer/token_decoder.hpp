// The `decoder` of a tokenizer.json: tokens to text, as a chain of stages that text flows through.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/pattern.hpp"

namespace tracewise::tok {

// Of tokens by themselves:
struct ReplaceInToken {
  Pattern pattern;
  std::string content;
};
struct StripToken {
  std::string character;
  uint64_t start;  // at most so many
  uint64_t stop;
};
struct AlphabetToBytes {};  // tokens spelled by GPT-2's table become bytes
// Of tokens by their neighbours:
struct MarksToBlanks {
  std::string mark;
  bool first_goes;  // those of the text's first token are left out
};
struct BytesOfRuns {};   // a run of <0x..> becomes its bytes, or U+FFFD for each
struct BlankBetween {};  // tokens are words; so it is where a file has no decoder
// Of the text:
struct LossyText {};  // bytes that are no UTF-8 become U+FFFD
struct StripText {
  std::string character;
  uint64_t start;
  uint64_t stop;
};

using DecoderStage = std::variant<ReplaceInToken, StripToken, AlphabetToBytes, MarksToBlanks,
                                  BytesOfRuns, BlankBetween, LossyText, StripText>;

// Immutable; any thread may use it.
class TokenDecoder {
 public:
  // From the part of the file, which may be null. Unknown kinds are kUnsupported by name and place,
  // and so is an order of kinds whose text could change behind what was shown already.
  static Result<TokenDecoder> read(const Fields& part);

  // `token` after the stages at the begin that look at nothing else: what a Flow is fed with.
  std::string prepared(std::string token) const;
  // The bytes that a prepared token adds to a text in which others are before it.
  std::string piece(const std::string& prepared) const;

  // The other stages with what they hold back. One thread at a time; the decoder must outlive it.
  class Flow {
   public:
    explicit Flow(const TokenDecoder& decoder);
    void feed(std::string_view prepared, std::string& out) {
      feed(decoder_->stateless_, prepared, out);
    }
    // Appends all that is held back and starts anew.
    void finish(std::string& out);

   private:
    struct State {
      uint64_t count = 0;  // of tokens, or of characters that were stripped
      std::string held;
      std::string made;
    };
    void feed(size_t stage, std::string_view text, std::string& out);
    void flush(size_t stage, std::string& out);
    void flush_run(size_t stage, std::string& out);

    const TokenDecoder* decoder_;
    std::vector<State> states_;  // [stages]
  };

 private:
  Result<void> add(const Fields& part);
  Result<void> add_strip(const Fields& part);
  Result<void> check_token_stage(const Fields& part, const std::string& type) const;

  std::vector<DecoderStage> stages_;
  size_t stateless_ = 0;  // stages at the begin that prepared() applies
  bool joined_ = false;   // the last stage's text is one, not that of a token
};

}  // namespace tracewise::tok
