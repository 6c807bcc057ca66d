#include "rollout/step_splitter.hpp"

#include <algorithm>
#include <string_view>

#include "messages/check.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

constexpr size_t kNone = std::string_view::npos;

struct Span {
  size_t begin = 0;  // bytes; begin itself and end are allowed cuts
  size_t end = 0;
};

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_word_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         static_cast<unsigned char>(c) >= 0x80;
}

// End of the line at `at`, its newline included.
size_t line_end(std::string_view text, size_t at) {
  const size_t newline = text.find('\n', at);
  return newline == kNone ? text.size() : newline + 1;
}

// The line at `line` without its indent, if it starts with three backticks; else empty.
std::string_view fence_line(std::string_view text, size_t line) {
  size_t at = line;
  while (at < text.size() && at - line < 3 && text[at] == ' ') ++at;
  const std::string_view content = text.substr(at, line_end(text, line) - at);
  return content.starts_with("```") ? content : std::string_view();
}

// More backticks behind the first run make it inline code, as in Markdown.
bool opens_fence(std::string_view text, size_t line) {
  const std::string_view content = fence_line(text, line);
  const size_t info = std::min(content.find_first_not_of('`'), content.size());
  return !content.empty() && content.find('`', info) == kNone;
}

bool closes_fence(std::string_view text, size_t line) {
  const std::string_view content = fence_line(text, line);
  return !content.empty() && content.find_first_not_of("` \t\r\n") == kNone;
}

// A code fence that starts with the line at `begin`: up to the end of its closing line.
Span fence_at(std::string_view text, size_t begin) {
  size_t line = line_end(text, begin);
  while (line < text.size() && !closes_fence(text, line)) line = line_end(text, line);
  // The newline after the closing fence may begin a delimiter, so it is not protected.
  const size_t end = line < text.size() ? line_end(text, line) : text.size();
  const bool newline = line < text.size() && text[end - 1] == '\n';
  return {begin, newline ? end - 1 : end};
}

// \boxed{..} at `begin` with counted braces; an empty span if it is never closed.
Span box_at(std::string_view text, size_t begin, size_t open) {
  int depth = 1;
  for (size_t at = open + 1; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '{') {
      ++depth;
    } else if (text[at] == '}' && --depth == 0) {
      return {begin, at + 1};
    }
  }
  return {begin, begin};
}

// $..$ or $$..$$ at `begin`. As in Markdown, a single $ opens before a non-blank, closes after one
// and not before a digit, and does not reach over an empty line; so prices are no formulas.
Span formula_at(std::string_view text, size_t begin) {
  if (text.substr(begin).starts_with("$$")) {
    const size_t close = text.find("$$", begin + 2);
    return {begin, close == kNone ? begin : close + 2};
  }
  if (begin + 1 >= text.size() || is_blank(text[begin + 1])) return {begin, begin};
  for (size_t at = begin + 1; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '\n' && at + 1 < text.size() && text[at + 1] == '\n') {
      break;
    } else if (text[at] == '$' && !is_blank(text[at - 1]) &&
               !(at + 1 < text.size() && text[at + 1] >= '0' && text[at + 1] <= '9')) {
      return {begin, at + 1};
    }
  }
  return {begin, begin};
}

// Where nothing may be cut, in ascending order without overlap.
std::vector<Span> protected_spans(std::string_view text) {
  constexpr std::string_view kBox = "\\boxed{";
  std::vector<Span> spans;
  for (size_t at = 0; at < text.size();) {
    Span span{at, at};
    const bool line_start = at == 0 || text[at - 1] == '\n';
    if (line_start && opens_fence(text, at)) {
      span = fence_at(text, at);
    } else if (text.substr(at).starts_with(kBox)) {
      span = box_at(text, at, at + kBox.size() - 1);
    } else if (text[at] == '\\') {
      at += 2;  // \$ is a dollar
      continue;
    } else if (text[at] == '$') {
      span = formula_at(text, at);
    }
    if (span.end > span.begin) {
      spans.push_back(span);
      at = span.end;
    } else {
      at += text.substr(at).starts_with("$$") ? 2 : 1;
    }
  }
  return spans;
}

bool inside(const std::vector<Span>& spans, size_t cut) {
  const auto it = std::upper_bound(spans.begin(), spans.end(), cut,
                                   [](size_t c, const Span& span) { return c < span.end; });
  return it != spans.end() && it->begin < cut;
}

size_t longest_match(std::string_view text, const std::vector<std::string>& words) {
  size_t longest = 0;
  for (const std::string& word : words) {
    if (word.size() > longest && text.starts_with(word)) longest = word.size();
  }
  return longest;
}

size_t final_section(std::string_view text, const std::vector<std::string>& markers) {
  size_t begin = kNone;
  for (const std::string& marker : markers) {
    const size_t at = marker.empty() ? kNone : text.rfind(marker);
    if (at != kNone && (begin == kNone || at > begin)) begin = at;
  }
  return begin;
}

bool opens_episode(std::string_view step, const std::vector<std::string>& words) {
  while (!step.empty() && is_blank(step.front())) step.remove_prefix(1);
  for (const std::string& word : words) {
    if (word.empty() || !step.starts_with(word)) continue;
    const bool ends = step.size() == word.size() || !is_word_byte(word.back()) ||
                      !is_word_byte(step[word.size()]);
    if (ends) return true;
  }
  return false;
}

// A step while steps are merged.
struct Piece {
  int32_t begin = 0;  // tokens
  int32_t end = 0;
  bool episode = false;
  int32_t tokens() const { return end - begin; }
};

// Ends of the tokens in the text.
struct Layout {
  std::string text;
  std::vector<size_t> ends;  // [T] bytes

  Layout(std::span<const int32_t> tokens, const Tokenizer& tokenizer) {
    for (const int32_t token : tokens) {
      text += tokenizer.piece(token);
      ends.push_back(text.size());
    }
  }
  std::string_view of(const Piece& piece) const {
    const size_t begin = piece.begin == 0 ? 0 : ends[piece.begin - 1];
    return std::string_view(text).substr(begin, ends[piece.end - 1] - begin);
  }
};

// Token ends at which delimiters allow a cut; T is always the last.
std::vector<int32_t> allowed_cuts(const Layout& layout, const StepOptions& options) {
  const std::string_view text = layout.text;
  const auto spans = protected_spans(text);
  const size_t last = std::min(final_section(text, options.final_markers), text.size());
  std::vector<int32_t> cuts;
  for (size_t at = 0; at < last;) {
    const size_t length = longest_match(text.substr(at), options.delimiters);
    if (length == 0) {
      ++at;
      continue;
    }
    at += length;
    const auto token = std::lower_bound(layout.ends.begin(), layout.ends.end(), at);
    const auto end = static_cast<int32_t>(token - layout.ends.begin()) + 1;
    if (at > last || *token > last || inside(spans, at) || inside(spans, *token)) continue;
    if (cuts.empty() || cuts.back() < end) cuts.push_back(end);
  }
  const auto total = static_cast<int32_t>(layout.ends.size());
  if (cuts.empty() || cuts.back() < total) cuts.push_back(total);
  return cuts;
}

bool is_invisible(const Piece& piece, std::span<const int32_t> tokens, const Tokenizer& tokenizer) {
  for (int32_t i = piece.begin; i < piece.end; ++i) {
    if (tokenizer.is_special(tokens[i])) continue;
    if (!std::ranges::all_of(tokenizer.piece(tokens[i]), is_blank)) return false;
  }
  return true;
}

// Steps shorter than min_tokens join the next one; one that ends its episode joins the one before.
std::vector<Piece> merge_short(const std::vector<Piece>& pieces, int32_t min_tokens) {
  std::vector<Piece> merged;
  for (const Piece& piece : pieces) {
    if (!merged.empty() && merged.back().tokens() < min_tokens) {
      const bool crosses = piece.episode && merged.size() > 1;
      if (crosses) {
        merged[merged.size() - 2].end = merged.back().end;
        merged.back() = piece;
      } else {
        merged.back().end = piece.end;
      }
    } else {
      merged.push_back(piece);
    }
  }
  if (merged.size() > 1 && merged.back().tokens() < min_tokens) {
    merged[merged.size() - 2].end = merged.back().end;
    merged.pop_back();
  }
  return merged;
}

void cap(std::vector<Piece>& pieces, int32_t max_steps) {
  while (max_steps > 0 && pieces.size() > static_cast<size_t>(max_steps)) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < pieces.size(); ++i) {
      if (pieces[i + 1].end - pieces[i].begin < pieces[best + 1].end - pieces[best].begin) best = i;
    }
    pieces[best].end = pieces[best + 1].end;
    pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

}  // namespace

Steps split_steps(std::span<const int32_t> tokens, const Tokenizer& tokenizer,
                  const StepOptions& options) {
  TW_CHECK(options.min_step_tokens >= 1 && options.max_steps >= 0, "step options out of range");
  if (tokens.empty()) return {};
  const Layout layout(tokens, tokenizer);
  std::vector<Piece> pieces;
  for (const int32_t end : allowed_cuts(layout, options)) {
    Piece piece{pieces.empty() ? 0 : pieces.back().end, end, pieces.empty()};
    if (opens_episode(layout.of(piece), options.restart_words)) piece.episode = true;
    pieces.push_back(piece);
  }
  if (pieces.size() > 1 && is_invisible(pieces.back(), tokens, tokenizer)) {
    pieces[pieces.size() - 2].end = pieces.back().end;
    pieces.pop_back();
  }
  pieces = merge_short(pieces, options.min_step_tokens);
  cap(pieces, options.max_steps);
  Steps steps;
  for (const Piece& piece : pieces) {
    if (piece.episode) steps.episodes.push_back(static_cast<int32_t>(steps.ends.size()));
    steps.ends.push_back(piece.end);
  }
  return steps;
}

}  // namespace tracewise
