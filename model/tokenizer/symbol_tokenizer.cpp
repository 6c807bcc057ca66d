#include "model/tokenizer/symbol_tokenizer.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace tracewise {
namespace {

using nlohmann::json;

// Escapes what Oniguruma, the regex engine of Hugging Face's tokenizers, reads as syntax.
std::string regex_escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}-/&~#").find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string in_quotes(std::string_view text) {
  return json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_utf8(const std::string& text) {
  try {
    json(text).dump();  // the library's own check
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

class SymbolTokenizer final : public Tokenizer {
 public:
  SymbolTokenizer(std::vector<std::string> symbols, std::vector<bool> special, int32_t bos)
      : symbols_(std::move(symbols)), special_(std::move(special)), bos_(bos) {
    for (size_t id = 0; id < symbols_.size(); ++id) {
      ids_.emplace(symbols_[id], static_cast<int32_t>(id));
      if (special_[id]) continue;
      by_first_byte_[static_cast<uint8_t>(symbols_[id][0])].push_back(static_cast<int32_t>(id));
    }
    for (auto& ids : by_first_byte_) {
      std::stable_sort(ids.begin(), ids.end(), [this](int32_t a, int32_t b) {
        return symbols_[a].size() > symbols_[b].size();
      });
    }
  }

  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const override {
    std::vector<int32_t> ids;
    if (add_special && bos_ >= 0) ids.push_back(bos_);
    for (size_t at = 0; at < text.size();) {
      const int32_t id = longest_at(text.substr(at));
      if (id < 0) {
        return bad_input("the vocabulary has no symbol for " + in_quotes(text.substr(at, 16)) +
                         " at byte " + std::to_string(at) + " of the text");
      }
      ids.push_back(id);
      at += symbols_[id].size();
    }
    return ids;
  }

  std::unique_ptr<TextStream> stream(bool skip_special) const override {
    return std::make_unique<Stream>(*this, skip_special);
  }

  const std::string& piece(int32_t id) const override {
    static const std::string kNothing;
    return holds(id) ? symbols_[id] : kNothing;
  }
  bool is_special(int32_t id) const override { return holds(id) && special_[id]; }
  int32_t vocab_size() const override { return static_cast<int32_t>(symbols_.size()); }
  int32_t find(std::string_view piece) const override {
    const auto it = ids_.find(std::string(piece));
    return it == ids_.end() ? -1 : it->second;
  }
  std::string to_json() const override;

  json pre_tokenizer_json() const;
  json post_processor_json() const;

 private:
  // Symbols are whole characters, so nothing is held back.
  class Stream final : public TextStream {
   public:
    Stream(const SymbolTokenizer& tokenizer, bool skip_special)
        : tokenizer_(tokenizer), skip_special_(skip_special) {}
    void push(std::span<const int32_t> ids, std::string& out) override {
      for (const int32_t id : ids) {
        if (!(skip_special_ && tokenizer_.is_special(id))) out += tokenizer_.piece(id);
      }
    }
    void finish(std::string& /*out*/) override {}

   private:
    const SymbolTokenizer& tokenizer_;
    bool skip_special_;
  };

  bool holds(int32_t id) const { return id >= 0 && id < vocab_size(); }

  int32_t longest_at(std::string_view text) const {
    for (const int32_t id : by_first_byte_[static_cast<uint8_t>(text[0])]) {
      if (text.starts_with(symbols_[id])) return id;
    }
    return -1;
  }

  std::vector<std::string> symbols_;  // [vocab]
  std::vector<bool> special_;         // [vocab]
  int32_t bos_;
  std::unordered_map<std::string, int32_t> ids_;
  std::array<std::vector<int32_t>, 256> by_first_byte_;  // spellable ids, longest first
};

json SymbolTokenizer::pre_tokenizer_json() const {
  std::vector<std::string> spellable;
  for (size_t id = 0; id < symbols_.size(); ++id) {
    if (!special_[id]) spellable.push_back(symbols_[id]);
  }
  // An alternation takes the first branch that matches, so the longest symbol comes first.
  std::stable_sort(spellable.begin(), spellable.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  std::string regex;
  for (const auto& symbol : spellable) regex += (regex.empty() ? "" : "|") + regex_escape(symbol);
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json SymbolTokenizer::post_processor_json() const {
  if (bos_ < 0) return nullptr;
  const auto special = [&](int type) {
    return json{{"SpecialToken", {{"id", symbols_[bos_]}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* id, int type) {
    return json{{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  const json bos = {{"id", symbols_[bos_]}, {"ids", {bos_}}, {"tokens", {symbols_[bos_]}}};
  return {{"type", "TemplateProcessing"},
          {"single", {special(0), sequence("A", 0)}},
          {"pair", {special(0), sequence("A", 0), special(1), sequence("B", 1)}},
          {"special_tokens", {{symbols_[bos_], bos}}}};
}

std::string SymbolTokenizer::to_json() const {
  json added = json::array();
  json vocab = json::object();
  for (int32_t id = 0; id < vocab_size(); ++id) {
    vocab[symbols_[id]] = id;
    if (!special_[id]) continue;
    added.push_back({{"id", id},
                     {"content", symbols_[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  // The unknown token is not in the vocabulary: text that it cannot spell is an error there too.
  const json model = {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "<unk>"}};
  const json object = {{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", added},
                       {"normalizer", nullptr},
                       {"pre_tokenizer", pre_tokenizer_json()},
                       {"post_processor", post_processor_json()},
                       {"decoder", {{"type", "Fuse"}}},
                       {"model", model}};
  return object.dump(2) + "\n";
}

Result<std::unique_ptr<SymbolTokenizer>> make(std::vector<std::string> symbols,
                                              const std::vector<int32_t>& special_ids,
                                              int32_t bos) {
  const auto size = static_cast<int32_t>(symbols.size());
  if (size == 0) return bad_input("a tokenizer needs at least one symbol");
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < symbols.size(); ++id) {
    const std::string name = "symbol " + std::to_string(id);
    if (symbols[id].empty()) return bad_input(name + " is empty");
    if (!is_utf8(symbols[id])) {
      return bad_input(name + " " + in_quotes(symbols[id]) + " is not valid UTF-8");
    }
    const auto [first, is_new] = seen.emplace(symbols[id], id);
    if (!is_new) {
      return bad_input(name + " " + in_quotes(symbols[id]) + " is symbol " +
                       std::to_string(first->second) + " already");
    }
  }
  std::vector<bool> special(symbols.size(), false);
  for (const int32_t id : special_ids) {
    if (id < 0 || id >= size) {
      return bad_input("special id " + std::to_string(id) + " is outside the vocabulary of " +
                       std::to_string(size));
    }
    special[id] = true;
  }
  if (bos >= size || (bos >= 0 && !special[bos])) {
    return bad_input("bos " + std::to_string(bos) + " is not a special id");
  }
  auto tokenizer = std::make_unique<SymbolTokenizer>(std::move(symbols), special, bos);
  for (int32_t id = 0; id < size; ++id) {
    // transformers would read such a text as the special token, we as symbols.
    if (special[id] && tokenizer->encode(tokenizer->piece(id), false).ok()) {
      return bad_input("special symbol " + in_quotes(tokenizer->piece(id)) +
                       " can be spelled by other symbols");
    }
  }
  return tokenizer;
}

// What a symbol tokenizer's JSON says besides the fixed parts.
struct SymbolParts {
  std::vector<std::string> symbols;
  std::vector<int32_t> special;
  int32_t bos = -1;
};

Result<SymbolParts> read_parts(const json& object, const std::string& place) {
  SymbolParts parts;
  const json& vocab = object["model"]["vocab"];
  parts.symbols.resize(vocab.size());
  for (const auto& [symbol, id] : vocab.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocab.size() ||
        !parts.symbols[id.get<size_t>()].empty() || symbol.empty()) {
      return bad_input(place + ": symbol " + in_quotes(symbol) + " has id " + id.dump() +
                       ", but ids must count from 0 to " + std::to_string(vocab.size() - 1));
    }
    parts.symbols[id.get<size_t>()] = symbol;
  }
  for (const json& token : object.value("added_tokens", json::array())) {
    const json id = token.is_object() ? token.value("id", json()) : json();
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= parts.symbols.size() ||
        token.value("content", json()) != parts.symbols[id.get<size_t>()] ||
        token.value("special", json()) != true) {
      return unsupported(place + ": added token " + token.dump() +
                         " is not a special symbol of the vocabulary, which is not supported");
    }
    parts.special.push_back(id.get<int32_t>());
  }
  const json post = object.value("post_processor", json());
  if (!post.is_object()) return parts;
  const json& tokens = post.value("special_tokens", json::object());
  for (size_t id = 0; id < parts.symbols.size(); ++id) {
    if (tokens.is_object() && tokens.size() == 1 && tokens.contains(parts.symbols[id])) {
      parts.bos = static_cast<int32_t>(id);
    }
  }
  return parts;
}

std::string type_of(const json& part) {
  return part.is_object() ? part.value("type", json()).dump() : part.dump();
}

// Kinds of tokenizers that are not ours, by the first part that differs.
Result<void> refuse_other_kinds(const json& object, const std::string& place) {
  const json& model = object["model"];
  if (!model.contains("vocab") || !model["vocab"].is_object() || model["vocab"].empty()) {
    return bad_input(place + ": model.vocab is not an object with at least one symbol");
  }
  for (const char* key : {"normalizer", "truncation", "padding"}) {
    const json part = object.value(key, json());
    if (!part.is_null()) {
      return unsupported(place + ": " + key + " " + type_of(part) + " is not supported");
    }
  }
  const json decoder = object.value("decoder", json());
  if (decoder != json{{"type", "Fuse"}}) {
    return unsupported(place + ": a decoder of type " + type_of(decoder) +
                       " is not supported; \"Fuse\" is");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_symbol_tokenizer(std::vector<std::string> symbols,
                                                         std::vector<int32_t> special,
                                                         int32_t bos) {
  TW_ASSIGN(std::unique_ptr<Tokenizer> tokenizer, make(std::move(symbols), special, bos));
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> read_symbol_tokenizer(const json& object,
                                                         const std::string& place) {
  TW_TRY(refuse_other_kinds(object, place));
  TW_ASSIGN(SymbolParts parts, read_parts(object, place));
  auto made = make(std::move(parts.symbols), parts.special, parts.bos);
  if (!made.ok()) return bad_input(place + ": " + made.error().message);
  for (const auto& [key, ours] : {std::pair("pre_tokenizer", (*made)->pre_tokenizer_json()),
                                  std::pair("post_processor", (*made)->post_processor_json())}) {
    const json theirs = object.value(key, json());
    if (theirs != ours) {
      return unsupported(place + ": this " + key + " of type " + type_of(theirs) +
                         " is not supported; a split into the vocabulary's symbols with bos put "
                         "first is");
    }
  }
  return std::unique_ptr<Tokenizer>(std::move(*made));
}

}  // namespace tracewise
