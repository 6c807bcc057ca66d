#include "model/tokenizer/pipeline_tokenizer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <variant>

#include "model/tokenizer/added_tokens.hpp"
#include "model/tokenizer/bpe.hpp"
#include "model/tokenizer/normalizer.hpp"
#include "model/tokenizer/post_processor.hpp"
#include "model/tokenizer/pre_tokenizer.hpp"
#include "model/tokenizer/token_decoder.hpp"
#include "model/tokenizer/unicode.hpp"
#include "model/tokenizer/unigram.hpp"

namespace tracewise::tok {
namespace {

struct Parts {
  Vocabulary vocabulary;
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  std::variant<Bpe, Unigram> model;
  PostProcessor post_processor;
  TokenDecoder decoder;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(std::unique_ptr<const Parts> parts, std::string text)
      : parts_(std::move(parts)), text_(std::move(text)) {
    const Vocabulary& vocabulary = parts_->vocabulary;
    int32_t end = vocabulary.end();
    for (const AddedToken& token : parts_->added.tokens()) end = std::max(end, token.id + 1);
    std::vector<std::string> tokens(end);
    special_.resize(end);
    for (int32_t id = 0; id < vocabulary.end(); ++id) tokens[id] = vocabulary.text(id);
    for (const AddedToken& token : parts_->added.tokens()) {
      tokens[token.id] = token.content;
      special_[token.id] = token.special;
    }
    holds_.resize(end);
    prepared_.reserve(end);
    pieces_.reserve(end);
    for (int32_t id = 0; id < end; ++id) {
      holds_[id] = !tokens[id].empty();
      prepared_.push_back(parts_->decoder.prepared(std::move(tokens[id])));
      pieces_.push_back(holds_[id] ? parts_->decoder.piece(prepared_[id]) : "");
    }
    by_piece_ = TextTable(end);
    // "A" is rather the letter's token than that of byte 0x41.
    for (const bool of_bytes : {false, true}) {
      for (int32_t id = 0; id < end; ++id) {
        const bool is_byte = id < vocabulary.end() && byte_of_token(vocabulary.text(id)) >= 0;
        if (holds_[id] && is_byte == of_bytes) by_piece_.put(pieces_[id], id);
      }
    }
  }

  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const override {
    if (const auto at = first_invalid_utf8(text)) {
      return bad_input("the text is not UTF-8 at byte " + std::to_string(*at));
    }
    thread_local std::vector<Piece> pieces;
    std::deque<std::string> texts;
    pieces.clear();
    TW_TRY(parts_->added.split(text, parts_->normalizer, pieces, texts));
    TW_TRY(parts_->pre_tokenizer.apply(pieces, texts));
    std::vector<int32_t> ids;
    ids.reserve(pieces.size() + 8);
    const PostProcessor& post = parts_->post_processor;
    if (add_special) ids = post.before;
    for (const Piece& piece : pieces) {
      if (piece.added_id >= 0) {
        ids.push_back(piece.added_id);
      } else if (const auto* bpe = std::get_if<Bpe>(&parts_->model)) {
        TW_TRY(bpe->encode(piece.text, ids));
      } else {
        TW_TRY(std::get<Unigram>(parts_->model).encode(piece.text, ids));
      }
    }
    if (add_special) ids.insert(ids.end(), post.behind.begin(), post.behind.end());
    return ids;
  }

  std::unique_ptr<TextStream> stream(bool skip_special) const override {
    return std::make_unique<Stream>(*this, skip_special);
  }

  const std::string& piece(int32_t id) const override {
    static const std::string kNothing;
    return in_range(id) ? pieces_[id] : kNothing;
  }
  bool is_special(int32_t id) const override { return in_range(id) && special_[id]; }
  int32_t vocab_size() const override { return static_cast<int32_t>(pieces_.size()); }
  int32_t find(std::string_view piece) const override { return by_piece_.find(piece); }
  std::string to_json() const override { return text_; }

 private:
  class Stream final : public TextStream {
   public:
    Stream(const PipelineTokenizer& tokenizer, bool skip_special)
        : tokenizer_(tokenizer), skip_special_(skip_special), flow_(tokenizer.parts_->decoder) {}

    void push(std::span<const int32_t> ids, std::string& out) override {
      for (const int32_t id : ids) {
        if (!tokenizer_.in_range(id) || !tokenizer_.holds_[id]) continue;
        if (skip_special_ && tokenizer_.special_[id]) continue;
        flow_.feed(tokenizer_.prepared_[id], out);
      }
    }
    void finish(std::string& out) override { flow_.finish(out); }

   private:
    const PipelineTokenizer& tokenizer_;
    bool skip_special_;
    TokenDecoder::Flow flow_;
  };

  bool in_range(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < pieces_.size(); }

  std::unique_ptr<const Parts> parts_;
  std::string text_;
  std::vector<std::string> prepared_;  // [vocab] what the decoder is fed with
  std::vector<std::string> pieces_;    // [vocab]
  std::vector<bool> special_;          // [vocab]
  std::vector<bool> holds_;            // [vocab] whether there is such a token
  TextTable by_piece_;
};

Result<void> read_model(const Fields& model, Parts& parts) {
  TW_ASSIGN(const std::string type, model.type());
  const bool byte_level = parts.pre_tokenizer.byte_level();
  if (type == "BPE") {
    TW_ASSIGN(parts.vocabulary, Vocabulary::read_map(model));
    TW_ASSIGN(parts.model, Bpe::read(model, parts.vocabulary, byte_level));
    return {};
  }
  if (byte_level)
    return model.refused("a Unigram model behind a ByteLevel pre_tokenizer is not supported");
  std::vector<double> scores;
  TW_ASSIGN(parts.vocabulary, Vocabulary::read_list(model, scores));
  TW_ASSIGN(parts.model, Unigram::read(model, parts.vocabulary, std::move(scores)));
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_pipeline_tokenizer(const Fields& file, std::string text) {
  TW_TRY(file.only({"version", "truncation", "padding", "added_tokens", "normalizer",
                    "pre_tokenizer", "post_processor", "decoder", "model"}));
  TW_ASSIGN(const std::string version, file.text("version", "1.0"));
  if (version != "1.0") return file.refused("version \"" + version + "\" is not supported");
  for (const char* name : {"truncation", "padding"}) {
    if (file.has(name)) return file.part(name).refused("it is not supported");
  }
  auto parts = std::make_unique<Parts>();
  TW_ASSIGN(parts->normalizer, Normalizer::read(file.part("normalizer")));
  TW_ASSIGN(parts->pre_tokenizer, PreTokenizer::read(file.part("pre_tokenizer")));
  TW_TRY(read_model(file.part("model"), *parts));
  TW_ASSIGN(parts->added, AddedTokens::read(file, parts->vocabulary, parts->normalizer));
  TW_ASSIGN(parts->post_processor, PostProcessor::read(file.part("post_processor")));
  TW_ASSIGN(parts->decoder, TokenDecoder::read(file.part("decoder")));
  return std::unique_ptr<Tokenizer>(
      std::make_unique<PipelineTokenizer>(std::move(parts), std::move(text)));
}

}  // namespace tracewise::tok
