#include "model/tokenizer/bpe.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/tokenizer/byte_alphabet.hpp"
#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

constexpr size_t kShort = 32;  // symbols up to which looking at all of them beats a heap

std::string in_quotes(std::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// "a b", or ["a", "b"] as newer files have it.
Result<std::pair<std::string, std::string>> read_merge(const nlohmann::json& entry) {
  if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
    return std::pair(entry[0].get<std::string>(), entry[1].get<std::string>());
  }
  if (!entry.is_string()) return bad_input("is neither \"a b\" nor [\"a\", \"b\"]");
  const auto& text = entry.get_ref<const std::string&>();
  const size_t blank = text.find(' ');
  if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
    return bad_input("has not one blank: " + in_quotes(text));
  }
  return std::pair(text.substr(0, blank), text.substr(blank + 1));
}

}  // namespace

// The symbols of a word, first its characters.
struct Bpe::Word {
  std::vector<int32_t> ids;
  std::vector<size_t> begins;  // byte of the word at which each begins
  // For merge_long, of the symbols from its begin:
  std::vector<uint32_t> next, previous;
  std::vector<Merge> merges;   // of a symbol and the next
  std::vector<uint64_t> heap;  // rank << 32 | symbol, the smallest first; some out of date

  void clear() { ids.clear(), begins.clear(); }
  void add(int32_t id, size_t begin) { ids.push_back(id), begins.push_back(begin); }
};

Result<Bpe> Bpe::read(const Fields& model, const Vocabulary& vocabulary, bool byte_level) {
  TW_TRY(model.only({"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    TW_ASSIGN(const std::string text, model.text(name, ""));
    if (!text.empty()) return model.refused(std::string("\"") + name + "\" is not supported");
  }
  if (model.has("dropout") && model.json()["dropout"] != 0.0) {
    return model.refused("\"dropout\" is not supported");
  }
  Bpe bpe;
  bpe.vocabulary_ = &vocabulary;
  bpe.byte_level_ = byte_level;
  TW_ASSIGN(bpe.fuse_unknown_, model.flag("fuse_unk", false));
  TW_ASSIGN(bpe.ignore_merges_, model.flag("ignore_merges", false));
  TW_ASSIGN(const bool byte_fallback, model.flag("byte_fallback", false));
  if (model.has("unk_token")) {
    TW_ASSIGN(const std::string unknown, model.text("unk_token"));
    bpe.unknown_ = vocabulary.find(unknown);
    if (bpe.unknown_ < 0)
      return model.wrong("the unk_token " + in_quotes(unknown) + " is not in vocab");
  }
  bpe.byte_tokens_.fill(-1);
  for (int byte = 0; byte < 256 && byte_fallback; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    bpe.byte_tokens_[byte] = vocabulary.find(name);
  }
  bpe.whole_ = TextTable(vocabulary.count());
  for (int32_t id = 0; id < vocabulary.end(); ++id) {
    const std::string& text = vocabulary.text(id);
    if (text.empty() || utf8_length(text[0]) != text.size()) continue;
    char32_t character = utf8_at(text, 0);
    if (byte_level) {
      const auto bytes = bytes_of_alphabet(text);
      if (!bytes) continue;
      character = static_cast<uint8_t>((*bytes)[0]);
    }
    if (character >= bpe.characters_.size()) bpe.characters_.resize(character + 1, -1);
    bpe.characters_[character] = id;
  }
  TW_TRY(bpe.read_merges(model));
  bpe.find_whole_words();
  return bpe;
}

Result<void> Bpe::read_merges(const Fields& model) {
  TW_ASSIGN(const size_t size, model.size("merges"));
  merges_ = PairTable<Merge>(2 * size);
  cuts_words_ = true;
  for (size_t rank = 0; rank < size; ++rank) {
    const auto wrong = [&](const std::string& what) {
      return model.wrong("merges[" + std::to_string(rank) + "] " + what);
    };
    const auto pair = read_merge(model.json()["merges"][rank]);
    if (!pair.ok()) return wrong(pair.error().message);
    const auto& [left, right] = *pair;
    const int32_t ids[] = {vocabulary_->find(left), vocabulary_->find(right),
                           vocabulary_->find(left + right)};
    for (const int32_t id : ids) {
      if (id < 0)
        return wrong("of " + in_quotes(left) + " and " + in_quotes(right) + " is not all in vocab");
    }
    merges_.put(ids[0], ids[1]) = {static_cast<uint32_t>(rank), ids[2]};
    if (byte_of_token(left) >= 0 || byte_of_token(right) >= 0) cuts_words_ = false;
    // The characters where the two meet.
    const auto before = byte_level_ ? bytes_of_alphabet(left) : left;
    const auto after = byte_level_ ? bytes_of_alphabet(right) : right;
    if (!before || !after) continue;  // no bytes spell them
    const int32_t last = byte_level_
                             ? character_id(static_cast<uint8_t>(before->back()))
                             : character_id(utf8_at(*before, utf8_before(*before, before->size())));
    const int32_t first = byte_level_ ? character_id(static_cast<uint8_t>(after->front()))
                                      : character_id(utf8_at(*after, 0));
    if (last >= 0 && first >= 0) merges_.put(last, first);
  }
  return {};
}

void Bpe::find_whole_words() {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_->end(); ++id) {
    const std::string& text = vocabulary_->text(id);
    if (text.empty()) continue;
    const auto word = byte_level_ ? bytes_of_alphabet(text) : text;
    if (!word) continue;
    ids.clear();
    if (ignore_merges_ || (encode(*word, ids).ok() && ids.size() == 1 && ids[0] == id)) {
      whole_.put(*word, id);
    }
  }
}

// Whether each symbol stands for its own bytes: no unknown token is among them.
Result<bool> Bpe::read_symbols(std::string_view word, Word& symbols) const {
  symbols.clear();
  bool waits =
      false;  // an unknown token comes behind what is added next; so it does in the package
  bool known = true;
  for (size_t at = 0; at < word.size();) {
    const size_t length = byte_level_ ? 1 : utf8_length(word[at]);
    const auto bytes = word.substr(at, length);
    const int32_t id =
        character_id(byte_level_ ? static_cast<uint8_t>(word[at]) : utf8_at(word, at));
    const bool by_bytes = id < 0 && std::all_of(bytes.begin(), bytes.end(), [&](char c) {
                            return byte_tokens_[static_cast<uint8_t>(c)] >= 0;
                          });
    if (id >= 0) {
      if (waits) symbols.add(unknown_, at);
      waits = false;
      symbols.add(id, at);
    } else if (by_bytes) {
      for (size_t i = 0; i < length; ++i) {
        symbols.add(byte_tokens_[static_cast<uint8_t>(bytes[i])], at + i);
      }
    } else if (unknown_ >= 0) {
      if (waits && !fuse_unknown_) symbols.add(unknown_, at);
      waits = true;
      known = false;
    } else {
      return bad_input("the vocabulary cannot spell " + in_quotes(bytes));
    }
    at += length;
  }
  if (waits) symbols.add(unknown_, word.size());
  return known;
}

Result<void> Bpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (const int32_t id = whole_.find(word); id >= 0) {
    ids.push_back(id);
    return {};
  }
  thread_local Word symbols;
  TW_ASSIGN(const bool known, read_symbols(word, symbols));
  const size_t count = symbols.ids.size();
  if (!known || !cuts_words_) {
    merge(symbols, 0, count, ids);
    return {};
  }
  for (size_t begin = 0, end = 0; begin < count; begin = end) {
    end = begin + 1;
    while (end < count && merges_.find(symbols.ids[end - 1], symbols.ids[end]) != nullptr) ++end;
    const bool all = begin == 0 && end == count;
    if (end - begin > 1 && !all && !ignore_merges_) {
      const size_t stop = end < count ? symbols.begins[end] : word.size();
      const auto part = word.substr(symbols.begins[begin], stop - symbols.begins[begin]);
      if (const int32_t id = whole_.find(part); id >= 0) {
        ids.push_back(id);
        continue;
      }
    }
    merge(symbols, begin, end, ids);
  }
  return {};
}

Bpe::Merge Bpe::merge_of(int32_t left, int32_t right) const {
  const Merge* merge = merges_.find(left, right);
  return merge == nullptr ? Merge{} : *merge;
}

void Bpe::merge(Word& symbols, size_t begin, size_t end, std::vector<int32_t>& ids) const {
  if (end - begin < 2) {
    ids.insert(ids.end(), symbols.ids.begin() + begin, symbols.ids.begin() + end);
  } else if (end - begin <= kShort) {
    merge_short(symbols, begin, end, ids);
  } else {
    merge_long(symbols, begin, end, ids);
  }
}

void Bpe::merge_short(Word& symbols, size_t begin, size_t end, std::vector<int32_t>& ids) const {
  int32_t* symbol = symbols.ids.data() + begin;
  size_t count = end - begin;
  Merge merges[kShort];  // of a symbol and the next
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merge_of(symbol[i], symbol[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) break;
    symbol[best] = merges[best].id;
    std::copy(symbol + best + 2, symbol + count, symbol + best + 1);
    std::copy(merges + best + 1, merges + count - 1, merges + best);
    --count;
    if (best + 1 < count) merges[best] = merge_of(symbol[best], symbol[best + 1]);
    if (best > 0) merges[best - 1] = merge_of(symbol[best - 1], symbol[best]);
  }
  ids.insert(ids.end(), symbol, symbol + count);
}

void Bpe::merge_long(Word& symbols, size_t begin, size_t end, std::vector<int32_t>& ids) const {
  int32_t* symbol = symbols.ids.data() + begin;
  const auto count = static_cast<uint32_t>(end - begin);
  auto& [all, begins, next, previous, merges, heap] = symbols;
  next.resize(count), previous.resize(count), merges.assign(count, {});
  heap.clear();
  const auto offer = [&](uint32_t at) {
    if (merges[at].rank == kNoRank) return;
    heap.push_back(uint64_t{merges[at].rank} << 32 | at);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;  // of the first: none
    if (i + 1 < count) merges[i] = merge_of(symbol[i], symbol[i + 1]);
    offer(i);
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto at = static_cast<uint32_t>(heap.back());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    if (merges[at].rank != rank) continue;  // out of date
    symbol[at] = merges[at].id;
    merges[next[at]] = {};
    next[at] = next[next[at]];
    merges[at] = {};
    if (next[at] < count) {
      previous[next[at]] = at;
      merges[at] = merge_of(symbol[at], symbol[next[at]]);
      offer(at);
    }
    if (at > 0) {
      merges[previous[at]] = merge_of(symbol[previous[at]], symbol[at]);
      offer(previous[at]);
    }
  }
  for (uint32_t i = 0; i < count; i = next[i]) ids.push_back(symbol[i]);
}

}  // namespace tracewise::tok
