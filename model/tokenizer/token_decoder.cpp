#include "model/tokenizer/token_decoder.hpp"

#include <nlohmann/json.hpp>

#include "model/tokenizer/byte_alphabet.hpp"
#include "model/tokenizer/normalizer.hpp"
#include "model/tokenizer/pre_tokenizer.hpp"
#include "model/tokenizer/unicode.hpp"
#include "model/tokenizer/vocabulary.hpp"

namespace tracewise::tok {
namespace {

std::string with_blanks(std::string_view text, const std::string& mark, const char* blank) {
  std::string out;
  size_t from = 0;
  for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, from)) {
    out.append(text, from, at - from).append(blank);
    from = at + mark.size();
  }
  return out.append(text, from);
}

std::string stripped(std::string_view text, const StripToken& strip) {
  for (uint64_t i = 0; i < strip.start && text.starts_with(strip.character); ++i) {
    text.remove_prefix(strip.character.size());
  }
  for (uint64_t i = 0; i < strip.stop && text.ends_with(strip.character); ++i) {
    text.remove_suffix(strip.character.size());
  }
  return std::string(text);
}

std::string replaced(const std::string& text, const ReplaceInToken& replace) {
  std::vector<Match> cuts;
  // Only a regular expression gives up, and not on something as short as a token.
  const auto cut = replace.pattern.cut(text, cuts);
  TW_CHECK(cut.ok(), cut.error().message);
  std::string out;
  for (const Match& match : cuts) {
    if (match.matches) {
      out += replace.content;
    } else {
      out.append(text, match.begin, match.end - match.begin);
    }
  }
  return out;
}

bool is_stateless(const DecoderStage& stage) {
  return std::holds_alternative<ReplaceInToken>(stage) ||
         std::holds_alternative<StripToken>(stage) ||
         std::holds_alternative<AlphabetToBytes>(stage);
}

std::string apply_stateless(const DecoderStage& stage, std::string token) {
  if (const auto* replace = std::get_if<ReplaceInToken>(&stage)) return replaced(token, *replace);
  if (const auto* strip = std::get_if<StripToken>(&stage)) return stripped(token, *strip);
  if (auto bytes = bytes_of_alphabet(token)) return std::move(*bytes);
  return token;
}

}  // namespace

Result<TokenDecoder> TokenDecoder::read(const Fields& part) {
  TokenDecoder decoder;
  if (part.json().is_null()) {
    decoder.stages_.emplace_back(BlankBetween{});
  } else {
    TW_TRY(decoder.add(part));
  }
  while (decoder.stateless_ < decoder.stages_.size() &&
         is_stateless(decoder.stages_[decoder.stateless_])) {
    ++decoder.stateless_;
  }
  return decoder;
}

Result<void> TokenDecoder::check_token_stage(const Fields& part, const std::string& type) const {
  if (joined_)
    return part.refused("a decoder of type \"" + type +
                        "\" behind a Fuse or ByteLevel is not supported");
  return {};
}

Result<void> TokenDecoder::add_strip(const Fields& part) {
  TW_TRY(part.only({"content", "start", "stop"}));
  TW_ASSIGN(const std::string content, part.text("content"));
  TW_ASSIGN(const uint64_t start, part.count("start", 0));
  TW_ASSIGN(const uint64_t stop, part.count("stop", 0));
  if (content.empty() || content.size() != utf8_length(content[0])) {
    return part.wrong("\"content\" is not one character");
  }
  if (joined_) {
    stages_.emplace_back(StripText{content, start, stop});
  } else {
    stages_.emplace_back(StripToken{content, start, stop});
  }
  return {};
}

Result<void> TokenDecoder::add(const Fields& part) {
  TW_ASSIGN(const std::string type, part.type());
  if (type == "Sequence") {
    TW_TRY(part.only({"decoders"}));
    TW_ASSIGN(const size_t size, part.size("decoders"));
    for (size_t i = 0; i < size; ++i) TW_TRY(add(part.element("decoders", i)));
    return {};
  }
  if (type == "Strip") return add_strip(part);
  if (type == "Fuse") {
    TW_TRY(part.only({}));
    joined_ = true;
    return {};
  }
  if (type == "ByteLevel") {
    TW_TRY(part.only({"add_prefix_space", "trim_offsets", "use_regex"}));
    TW_TRY(check_token_stage(part, type));
    stages_.emplace_back(AlphabetToBytes{});
    stages_.emplace_back(LossyText{});
    joined_ = true;
  } else if (type == "Metaspace") {
    TW_TRY(check_token_stage(part, type));
    TW_ASSIGN(const MarkBlanks marks, read_metaspace(part));
    stages_.emplace_back(MarksToBlanks{marks.mark, marks.prepend != MarkBlanks::Prepend::kNever});
  } else if (type == "ByteFallback") {
    TW_TRY(part.only({}));
    TW_TRY(check_token_stage(part, type));
    stages_.emplace_back(BytesOfRuns{});
  } else if (type == "Replace") {
    TW_TRY(part.only({"pattern", "content"}));
    TW_TRY(check_token_stage(part, type));
    TW_ASSIGN(Pattern pattern, read_pattern(part, "pattern"));
    TW_ASSIGN(std::string content, part.text("content"));
    stages_.emplace_back(ReplaceInToken{std::move(pattern), std::move(content)});
  } else {
    return part.refused("a decoder of type \"" + type + "\" is not supported");
  }
  return {};
}

std::string TokenDecoder::prepared(std::string token) const {
  for (size_t i = 0; i < stateless_; ++i) token = apply_stateless(stages_[i], std::move(token));
  return token;
}

std::string TokenDecoder::piece(const std::string& prepared) const {
  std::string text = prepared;
  for (size_t i = stateless_; i < stages_.size(); ++i) {
    if (is_stateless(stages_[i])) {
      text = apply_stateless(stages_[i], std::move(text));
    } else if (const auto* marks = std::get_if<MarksToBlanks>(&stages_[i])) {
      text = with_blanks(text, marks->mark, " ");
    } else if (std::holds_alternative<BytesOfRuns>(stages_[i])) {
      if (const int byte = byte_of_token(text); byte >= 0)
        text = std::string(1, static_cast<char>(byte));
    }
  }
  return text;
}

TokenDecoder::Flow::Flow(const TokenDecoder& decoder)
    : decoder_(&decoder), states_(decoder.stages_.size()) {}

// One call a stage: each hands what it has made to the next.
void TokenDecoder::Flow::feed(size_t stage, std::string_view text, std::string& out) {
  if (stage == decoder_->stages_.size()) {
    out += text;
    return;
  }
  State& state = states_[stage];
  const DecoderStage& kind = decoder_->stages_[stage];
  if (is_stateless(kind)) {
    feed(stage + 1, apply_stateless(kind, std::string(text)), out);
  } else if (const auto* marks = std::get_if<MarksToBlanks>(&kind)) {
    const bool first = state.count++ == 0;
    feed(stage + 1, with_blanks(text, marks->mark, first && marks->first_goes ? "" : " "), out);
  } else if (std::holds_alternative<BytesOfRuns>(kind)) {
    if (const int byte = byte_of_token(text); byte >= 0) {
      state.held += static_cast<char>(byte);
    } else {
      flush_run(stage, out);
      feed(stage + 1, text, out);
    }
  } else if (std::holds_alternative<BlankBetween>(kind)) {
    if (state.count++ > 0) feed(stage + 1, " ", out);
    feed(stage + 1, text, out);
  } else if (std::holds_alternative<LossyText>(kind)) {
    if (!state.held.empty()) text = state.held += text;
    state.made.clear();
    const size_t waits = append_lossy(text, state.made);
    state.held = std::string(text.substr(text.size() - waits));
    feed(stage + 1, state.made, out);
  } else {
    const auto& strip = std::get<StripText>(kind);
    while (state.count < strip.start && text.starts_with(strip.character)) {
      text.remove_prefix(strip.character.size());
      ++state.count;
    }
    if (text.empty()) return;
    state.count = strip.start;  // what comes now is behind the begin
    if (strip.stop == 0) return feed(stage + 1, text, out);
    state.held += text;
    size_t end = state.held.size();
    for (uint64_t i = 0;
         i < strip.stop && std::string_view(state.held).substr(0, end).ends_with(strip.character);
         ++i) {
      end -= strip.character.size();
    }
    feed(stage + 1, state.held.substr(0, end), out);
    state.held.erase(0, end);
  }
}

void TokenDecoder::Flow::flush_run(size_t stage, std::string& out) {
  std::string& bytes = states_[stage].held;
  if (bytes.empty()) return;
  const std::string run = std::move(bytes);
  bytes.clear();
  if (!first_invalid_utf8(run)) return feed(stage + 1, run, out);
  for (size_t i = 0; i < run.size(); ++i) feed(stage + 1, kReplacement, out);
}

void TokenDecoder::Flow::flush(size_t stage, std::string& out) {
  const DecoderStage& kind = decoder_->stages_[stage];
  if (std::holds_alternative<BytesOfRuns>(kind)) {
    flush_run(stage, out);
  } else if (std::holds_alternative<LossyText>(kind) && !states_[stage].held.empty()) {
    feed(stage + 1, kReplacement, out);
  }
  states_[stage] = {};  // a StripText leaves out what it held
}

void TokenDecoder::Flow::finish(std::string& out) {
  for (size_t stage = 0; stage < states_.size(); ++stage) flush(stage, out);
}

}  // namespace tracewise::tok
