// The `pre_tokenizer` of a tokenizer.json: cuts text into the words that the model encodes one by
// one.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/pattern.hpp"

namespace tracewise::tok {

// A part of the text while it is encoded.
struct Piece {
  std::string_view text;
  int32_t added_id = -1;  // of the added token that it is; -1: the model encodes it
  bool at_start = false;  // it begins where the text begins; not known behind a split
};

// What becomes of the matches of a split.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

using CharacterTest = bool (*)(char32_t);

// Cuts at the matches of a pattern, or at each character of a kind.
struct Split {
  std::variant<Pattern, CharacterTest> at;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what lies between the matches counts as them
};
// Puts a blank before a piece that has none.
struct PrefixSpace {};
// Blanks become `mark`, which is also put before pieces that do not begin with it.
struct MarkBlanks {
  enum class Prepend { kNever, kFirst, kAlways };
  std::string mark;
  Prepend prepend = Prepend::kAlways;
};

using PreTokenizerStep = std::variant<Split, PrefixSpace, MarkBlanks>;

// Immutable; any thread may use it.
class PreTokenizer {
 public:
  // From the part of the file, which may be null. Unknown kinds are kUnsupported by name and place.
  static Result<PreTokenizer> read(const Fields& part);

  // Whether the model's vocabulary spells bytes by the characters of GPT-2's table: the words go to
  // it as bytes, without the detour through these characters.
  bool byte_level() const { return byte_level_; }

  // Cuts those of `pieces` that are no added tokens; none comes out empty. New text lives in
  // `texts`.
  Result<void> apply(std::vector<Piece>& pieces, std::deque<std::string>& texts) const;

 private:
  Result<void> add(const Fields& part);
  Result<void> add_split(const Fields& part);
  Result<void> add_byte_level(const Fields& part);
  Result<void> add_metaspace(const Fields& part);

  std::vector<PreTokenizerStep> steps_;
  bool byte_level_ = false;
};

// "replacement" of a Metaspace, and whether it puts one first; shared with the decoder.
Result<MarkBlanks> read_metaspace(const Fields& part);

}  // namespace tracewise::tok
