#include "model/tokenizer/unigram.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/tokenizer/pattern.hpp"
#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

constexpr double kUnknownPenalty = 10;  // nats below the least likely token

// The best way to a place of the word.
struct Best {
  double score = 0;
  int64_t begin = -1;  // of the last token on it; -1: no way yet
  int32_t id = -1;
};

}  // namespace

Result<Unigram> Unigram::read(const Fields& model, const Vocabulary& vocabulary,
                              std::vector<double> scores) {
  TW_TRY(model.only({"unk_id", "vocab", "byte_fallback"}));
  Unigram unigram;
  unigram.vocabulary_ = &vocabulary;
  unigram.scores_ = std::move(scores);
  unigram.unknown_score_ =
      *std::min_element(unigram.scores_.begin(), unigram.scores_.end()) - kUnknownPenalty;
  if (model.has("unk_id")) {
    TW_ASSIGN(const uint64_t unknown, model.count("unk_id", 0));
    if (unknown >= vocabulary.count()) return model.wrong("\"unk_id\" is outside the vocabulary");
    unigram.unknown_ = static_cast<int32_t>(unknown);
  }
  TW_ASSIGN(const bool byte_fallback, model.flag("byte_fallback", false));
  unigram.byte_tokens_.fill(-1);
  for (int byte = 0; byte < 256 && byte_fallback; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    unigram.byte_tokens_[byte] = vocabulary.find(name);
  }
  size_t bytes = 0;
  for (int32_t id = 0; id < vocabulary.end(); ++id) bytes += vocabulary.text(id).size();
  unigram.children_ = PairTable<Node>(bytes);
  unigram.token_at_.assign(1, -1);
  for (int32_t id = 0; id < vocabulary.end(); ++id) {
    int32_t node = 0;
    for (const char c : vocabulary.text(id)) {
      int32_t& child = unigram.children_.put(node, static_cast<uint8_t>(c)).child;
      if (child < 0) {
        child = static_cast<int32_t>(unigram.token_at_.size());
        unigram.token_at_.push_back(-1);
      }
      node = child;
    }
    unigram.token_at_[node] = vocabulary.find(vocabulary.text(id));
  }
  return unigram;
}

int32_t Unigram::step(int32_t node, char byte) const {
  const Node* found = children_.find(node, static_cast<uint8_t>(byte));
  return found == nullptr ? -1 : found->child;
}

// A run of unknown characters: as bytes if all have tokens, else as one unknown token.
void Unigram::put_spelled(std::string_view part, std::vector<int32_t>& ids) const {
  if (const int32_t id = vocabulary_->find(part); id >= 0) {
    ids.push_back(id);
    return;
  }
  const auto byte_token = [&](char c) { return byte_tokens_[static_cast<uint8_t>(c)]; };
  if (std::all_of(part.begin(), part.end(), [&](char c) { return byte_token(c) >= 0; })) {
    for (const char c : part) ids.push_back(byte_token(c));
  } else {
    ids.push_back(unknown_);
  }
}

Result<void> Unigram::encode(std::string_view word, std::vector<int32_t>& ids) const {
  thread_local std::vector<Best> best;
  best.assign(word.size() + 1, {});
  for (size_t begin = 0; begin < word.size();) {
    const double score = best[begin].score;
    const size_t length = utf8_length(word[begin]);
    const auto offer = [&](size_t end, double more, int32_t id) {
      if (best[end].begin < 0 || score + more > best[end].score) {
        best[end] = {score + more, static_cast<int64_t>(begin), id};
      }
    };
    bool has_character = false;
    int32_t node = 0;
    for (size_t end = begin; end < word.size() && (node = step(node, word[end])) >= 0;) {
      ++end;
      const int32_t id = token_at_[node];
      if (id < 0) continue;
      offer(end, scores_[id], id);
      if (end - begin == length) has_character = true;
    }
    if (!has_character) {
      if (unknown_ < 0)
        return bad_input("the vocabulary cannot spell a character and has no unknown token");
      offer(begin + length, unknown_score_, unknown_);
    }
    begin += length;
  }
  // Back along the best way; unknown characters side by side count as one.
  thread_local std::vector<Match> parts;
  parts.clear();
  for (size_t end = word.size(); end > 0;) {
    const auto begin = static_cast<size_t>(best[end].begin);
    const bool unknown = best[end].id == unknown_;
    if (unknown && !parts.empty() && parts.back().matches) {
      parts.back().begin = begin;
    } else {
      parts.push_back({begin, end, unknown});
    }
    end = begin;
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    put_spelled(word.substr(part->begin, part->end - part->begin), ids);
  }
  return {};
}

}  // namespace tracewise::tok
