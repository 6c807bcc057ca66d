#include "model/tokenizer/pre_tokenizer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/tokenizer/normalizer.hpp"
#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

constexpr const char* kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void cut_at_characters(std::string_view text, CharacterTest test, std::vector<Match>& cuts) {
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t next = at + utf8_length(text[at]);
    if (test(utf8_at(text, at))) {
      if (at > covered) cuts.push_back({covered, at, false});
      cuts.push_back({at, next, true});
      covered = next;
    }
    at = next;
  }
  if (covered < text.size()) cuts.push_back({covered, text.size(), false});
}

// Neighbours become one where `joins(this one's matches, the one's before)`; seen in `cuts`' order.
template <class Joins>
void merge(std::vector<Match>& cuts, Joins joins) {
  size_t kept = 0;
  bool before = false;
  for (const Match cut : cuts) {
    if (kept > 0 && joins(cut.matches, before)) {
      cuts[kept - 1].begin = std::min(cuts[kept - 1].begin, cut.begin);
      cuts[kept - 1].end = std::max(cuts[kept - 1].end, cut.end);
    } else {
      cuts[kept++] = cut;
    }
    before = cut.matches;
  }
  cuts.resize(kept);
}

void join(std::vector<Match>& cuts, SplitBehavior behavior) {
  const auto opens_match = [](bool matches, bool before) { return matches && !before; };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kRemoved:
      std::erase_if(cuts, [](const Match& cut) { return cut.matches; });
      break;
    case SplitBehavior::kContiguous:
      merge(cuts, [](bool matches, bool before) { return matches == before; });
      break;
    case SplitBehavior::kMergedWithPrevious:
      merge(cuts, opens_match);
      break;
    case SplitBehavior::kMergedWithNext:
      std::reverse(cuts.begin(), cuts.end());
      merge(cuts, opens_match);
      std::reverse(cuts.begin(), cuts.end());
      break;
  }
}

struct Apply {
  std::vector<Piece>& pieces;
  std::deque<std::string>& texts;

  Result<void> operator()(const Split& split) const {
    thread_local std::vector<Piece> out;
    thread_local std::vector<Match> cuts;
    out.clear();
    for (const Piece& piece : pieces) {
      if (piece.added_id >= 0) {
        out.push_back(piece);
        continue;
      }
      cuts.clear();
      if (const auto* pattern = std::get_if<Pattern>(&split.at)) {
        TW_TRY(pattern->cut(piece.text, cuts));
      } else {
        cut_at_characters(piece.text, std::get<CharacterTest>(split.at), cuts);
      }
      if (split.invert) {
        for (Match& cut : cuts) cut.matches = !cut.matches;
      }
      join(cuts, split.behavior);
      for (const Match& cut : cuts) {
        if (cut.begin == cut.end) continue;
        out.push_back({piece.text.substr(cut.begin, cut.end - cut.begin), -1, false});
      }
    }
    std::swap(pieces, out);
    return {};
  }

  Result<void> operator()(PrefixSpace) const {
    for (Piece& piece : pieces) {
      if (piece.added_id >= 0 || piece.text.starts_with(' ')) continue;
      piece.text = texts.emplace_back(" " + std::string(piece.text));
    }
    return {};
  }

  Result<void> operator()(const MarkBlanks& step) const {
    for (Piece& piece : pieces) {
      if (piece.added_id >= 0) continue;
      const bool may_prepend = step.prepend == MarkBlanks::Prepend::kAlways ||
                               (step.prepend == MarkBlanks::Prepend::kFirst && piece.at_start);
      const bool prepends =
          may_prepend && !piece.text.starts_with(' ') && !piece.text.starts_with(step.mark);
      std::string text = prepends ? step.mark : "";
      for (const char c : piece.text) {
        if (c == ' ') {
          text += step.mark;
        } else {
          text += c;
        }
      }
      piece.text = texts.emplace_back(std::move(text));
    }
    return {};
  }
};

Result<SplitBehavior> read_behavior(const Fields& part, const std::string& otherwise) {
  TW_ASSIGN(const std::string name, part.text("behavior", otherwise));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return part.refused("the behavior \"" + name + "\" is not supported");
}

}  // namespace

Result<MarkBlanks> read_metaspace(const Fields& part) {
  TW_TRY(part.only({"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}));
  TW_ASSIGN(const std::string mark, part.text("replacement"));
  TW_ASSIGN(std::string scheme, part.text("prepend_scheme", "always"));
  TW_ASSIGN(const bool prefix, part.flag("add_prefix_space", true));
  if (mark.empty() || mark.size() != utf8_length(mark[0])) {
    return part.wrong("\"replacement\" is not one character");
  }
  if (!prefix) {
    if (part.has("prepend_scheme") && scheme != "never") {
      return part.wrong("\"add_prefix_space\" and \"prepend_scheme\" contradict each other");
    }
    scheme = "never";
  }
  if (scheme == "never") return MarkBlanks{mark, MarkBlanks::Prepend::kNever};
  if (scheme == "first") return MarkBlanks{mark, MarkBlanks::Prepend::kFirst};
  if (scheme == "always") return MarkBlanks{mark, MarkBlanks::Prepend::kAlways};
  return part.refused("the prepend_scheme \"" + scheme + "\" is not supported");
}

Result<PreTokenizer> PreTokenizer::read(const Fields& part) {
  PreTokenizer pre_tokenizer;
  if (!part.json().is_null()) TW_TRY(pre_tokenizer.add(part));
  return pre_tokenizer;
}

Result<void> PreTokenizer::add_split(const Fields& part) {
  TW_TRY(part.only({"pattern", "behavior", "invert"}));
  TW_ASSIGN(Pattern pattern, read_pattern(part, "pattern"));
  TW_ASSIGN(const SplitBehavior behavior, read_behavior(part, ""));
  TW_ASSIGN(const bool invert, part.flag("invert"));
  steps_.emplace_back(Split{std::move(pattern), behavior, invert});
  return {};
}

Result<void> PreTokenizer::add_byte_level(const Fields& part) {
  TW_TRY(part.only({"add_prefix_space", "trim_offsets", "use_regex"}));
  TW_ASSIGN(const bool prefix, part.flag("add_prefix_space"));
  TW_ASSIGN(const bool splits, part.flag("use_regex", true));
  if (prefix) steps_.emplace_back(PrefixSpace{});
  if (splits) {
    TW_ASSIGN(Pattern regex, Pattern::regex(kGpt2Regex));
    steps_.emplace_back(Split{std::move(regex), SplitBehavior::kIsolated, false});
  }
  byte_level_ = true;
  return {};
}

Result<void> PreTokenizer::add_metaspace(const Fields& part) {
  TW_ASSIGN(MarkBlanks step, read_metaspace(part));
  TW_ASSIGN(const bool splits, part.flag("split", true));
  // Which of several pieces are the first depends on what the normalizer made of its characters.
  if (step.prepend == MarkBlanks::Prepend::kFirst && !steps_.empty()) {
    return part.refused(
        "the prepend_scheme \"first\" behind another pre_tokenizer is not supported");
  }
  const std::string mark = step.mark;
  steps_.emplace_back(std::move(step));
  if (splits) {
    steps_.emplace_back(Split{Pattern::literal(mark), SplitBehavior::kMergedWithNext, false});
  }
  return {};
}

Result<void> PreTokenizer::add(const Fields& part) {
  TW_ASSIGN(const std::string type, part.type());
  if (byte_level_) {
    return part.refused("a pre_tokenizer of type \"" + type +
                        "\" behind a ByteLevel is not supported");
  }
  if (type == "Sequence") {
    TW_TRY(part.only({"pretokenizers"}));
    TW_ASSIGN(const size_t size, part.size("pretokenizers"));
    for (size_t i = 0; i < size; ++i) TW_TRY(add(part.element("pretokenizers", i)));
    return {};
  }
  if (type == "Split") return add_split(part);
  if (type == "ByteLevel") return add_byte_level(part);
  if (type == "Metaspace") return add_metaspace(part);
  if (type == "Digits") {
    TW_TRY(part.only({"individual_digits"}));
    TW_ASSIGN(const bool each, part.flag("individual_digits"));
    steps_.emplace_back(
        Split{is_numeric, each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false});
  } else if (type == "Punctuation") {
    TW_TRY(part.only({"behavior"}));
    TW_ASSIGN(const SplitBehavior behavior, read_behavior(part, "Isolated"));
    steps_.emplace_back(Split{is_punctuation, behavior, false});
  } else if (type == "WhitespaceSplit") {
    TW_TRY(part.only({}));
    steps_.emplace_back(Split{is_white_space, SplitBehavior::kRemoved, false});
  } else if (type == "Whitespace") {
    TW_TRY(part.only({}));
    TW_ASSIGN(Pattern words, Pattern::words());
    steps_.emplace_back(Split{std::move(words), SplitBehavior::kRemoved, true});
  } else {
    return part.refused("a pre_tokenizer of type \"" + type + "\" is not supported");
  }
  return {};
}

Result<void> PreTokenizer::apply(std::vector<Piece>& pieces, std::deque<std::string>& texts) const {
  for (const PreTokenizerStep& step : steps_) TW_TRY(std::visit(Apply{pieces, texts}, step));
  return {};
}

}  // namespace tracewise::tok
