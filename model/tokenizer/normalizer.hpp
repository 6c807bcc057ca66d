// The `normalizer` of a tokenizer.json: rewrites text before it is cut.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/charsmap.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/pattern.hpp"

namespace tracewise::tok {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

struct ReplaceAll {
  Pattern pattern;
  std::string content;
};
struct PrependText {
  std::string text;
};
struct StripEnds {
  bool left;
  bool right;
};
struct LowercaseAll {};
struct StripAccentMarks {};

using NormalizerStep = std::variant<UnicodeForm, ReplaceAll, PrependText, StripEnds, LowercaseAll,
                                    StripAccentMarks, Charsmap>;

// Immutable; any thread may use it.
class Normalizer {
 public:
  // From the part of the file, which may be null. Unknown kinds are kUnsupported by name and place.
  static Result<Normalizer> read(const Fields& part);

  bool empty() const { return steps_.empty(); }

  // Rewrites `text`. `at_start` stays true if its first character still stands for the first of the
  // text before; where that was cut off it becomes false.
  Result<void> apply(std::string& text, bool& at_start) const;

 private:
  Result<void> add(const Fields& part);

  std::vector<NormalizerStep> steps_;
};

// {"String": ..} or {"Regex": ..} in field `name`; shared with pre-tokenizers and decoders.
Result<Pattern> read_pattern(const Fields& part, const char* name);

}  // namespace tracewise::tok
