#include "model/tokenizer/added_tokens.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

Result<AddedToken> read_token(const Fields& part) {
  if (!part.json().is_object()) return part.wrong("no object");
  TW_TRY(part.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  AddedToken token;
  if (!part.has("id")) return part.wrong("\"id\" is missing");
  TW_ASSIGN(const uint64_t id, part.count("id", 0));
  TW_ASSIGN(token.content, part.text("content"));
  TW_ASSIGN(token.special, part.flag("special"));
  TW_ASSIGN(token.normalized, part.flag("normalized"));
  TW_ASSIGN(token.left_strip, part.flag("lstrip"));
  TW_ASSIGN(token.right_strip, part.flag("rstrip"));
  TW_ASSIGN(token.single_word, part.flag("single_word"));
  if (token.content.empty()) return part.refused("an empty token is not supported");
  if (id > INT32_MAX) return part.wrong("\"id\" is too large");
  token.id = static_cast<int32_t>(id);
  return token;
}

}  // namespace

int32_t TextFinder::child(int32_t node, char byte) const {
  const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
  const auto edge = std::lower_bound(edges_.begin(), edges_.end(), std::pair(key, int32_t{-1}));
  return edge == edges_.end() || edge->first != key ? -1 : edge->second;
}

void TextFinder::add(std::string_view text, int32_t index) {
  starts_[static_cast<uint8_t>(text[0])] = true;
  int32_t node = 0;
  for (const char c : text) {
    int32_t next = child(node, c);
    if (next < 0) {
      next = static_cast<int32_t>(token_at_.size());
      token_at_.push_back(-1);
      const std::pair edge(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c), next);
      edges_.insert(std::lower_bound(edges_.begin(), edges_.end(), edge), edge);
    }
    node = next;
  }
  if (token_at_[node] < 0) token_at_[node] = index;
}

TextFinder::Found TextFinder::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
    Found found;
    int32_t node = 0;
    for (size_t at = begin; at < text.size() && (node = child(node, text[at])) >= 0; ++at) {
      if (token_at_[node] >= 0) found = {begin, at + 1, token_at_[node]};
    }
    if (found.index >= 0) return found;
  }
  return {};
}

Result<AddedTokens> AddedTokens::read(const Fields& file, const Vocabulary& vocabulary,
                                      const Normalizer& normalizer) {
  AddedTokens added;
  if (!file.has("added_tokens")) return added;
  TW_ASSIGN(const size_t size, file.size("added_tokens"));
  TextTable seen(size);
  int32_t largest = -1;
  for (size_t i = 0; i < size; ++i) {
    const Fields part = file.element("added_tokens", i);
    TW_ASSIGN(AddedToken token, read_token(part));
    const auto models = static_cast<int32_t>(vocabulary.count());
    int32_t id = vocabulary.find(token.content);
    if (id < 0) id = largest >= models ? largest + 1 : models;
    if (id != token.id) {
      return part.wrong("\"" + token.content + "\" has id " + std::to_string(token.id) +
                        ", but would get " + std::to_string(id) +
                        " behind the vocabulary and the tokens before it");
    }
    if (seen.find(token.content) >= 0)
      return part.wrong("\"" + token.content + "\" is there twice");
    seen.put(token.content, id);
    largest = std::max(largest, id);
    added.tokens_.push_back(std::move(token));
  }
  for (const bool special : {true, false}) {
    for (size_t i = 0; i < added.tokens_.size(); ++i) {
      const AddedToken& token = added.tokens_[i];
      if (token.special != special) continue;
      std::string text = token.content;
      bool at_start = true;
      if (token.normalized) TW_TRY(normalizer.apply(text, at_start));
      if (text.empty()) {
        return file.element("added_tokens", i)
            .refused("a token that the normalizer empties is not supported");
      }
      (token.normalized ? added.normalized_ : added.raw_).add(text, static_cast<int32_t>(i));
    }
  }
  return added;
}

void AddedTokens::cut(const TextFinder& finder, std::string_view text, bool at_start,
                      std::vector<Piece>& pieces) const {
  size_t covered = 0;
  const auto put = [&](size_t begin, size_t end, int32_t id) {
    if (end > begin)
      pieces.push_back({text.substr(begin, end - begin), id, at_start && begin == 0});
  };
  for (auto found = finder.find(text, 0); found.index >= 0; found = finder.find(text, found.end)) {
    const AddedToken& token = tokens_[found.index];
    size_t begin = found.begin, end = found.end;
    if (token.single_word) {
      const bool touches_left = begin > 0 && is_word(utf8_at(text, utf8_before(text, begin)));
      const bool touches_right = end < text.size() && is_word(utf8_at(text, end));
      if (touches_left || touches_right) continue;
    }
    while (token.left_strip && begin > covered &&
           is_white_space(utf8_at(text, utf8_before(text, begin)))) {
      begin = utf8_before(text, begin);
    }
    while (token.right_strip && end < text.size() && is_white_space(utf8_at(text, end))) {
      end += utf8_length(text[end]);
    }
    put(covered, begin, -1);
    put(begin, end, token.id);
    covered = end;
  }
  put(covered, text.size(), -1);
}

Result<void> AddedTokens::split(std::string_view text, const Normalizer& normalizer,
                                std::vector<Piece>& pieces, std::deque<std::string>& texts) const {
  if (raw_.empty()) {
    if (!text.empty()) pieces.push_back({text, -1, true});
  } else {
    cut(raw_, text, true, pieces);
  }
  if (normalizer.empty() && normalized_.empty()) return {};
  thread_local std::vector<Piece> before;
  before.clear();
  std::swap(before, pieces);
  for (Piece piece : before) {
    if (piece.added_id >= 0) {
      pieces.push_back(piece);
      continue;
    }
    if (!normalizer.empty()) {
      std::string& normal = texts.emplace_back(piece.text);
      TW_TRY(normalizer.apply(normal, piece.at_start));
      piece.text = normal;
    }
    cut(normalized_, piece.text, piece.at_start, pieces);
  }
  return {};
}

}  // namespace tracewise::tok
