#include "model/tokenizer/normalizer.hpp"

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

// ICU's normaliser, of characters that the package's knows: later ones stay as they are there.
const icu::Normalizer2& unicode_normalizer(UnicodeForm form) {
  struct All {
    std::unique_ptr<icu::UnicodeSet> known;
    std::unique_ptr<icu::FilteredNormalizer2> forms[4];  // refer to it
    All() {
      UErrorCode code = U_ZERO_ERROR;
      known = std::make_unique<icu::UnicodeSet>(u"[:Age=9.0:]", code);
      known->freeze();
      const icu::Normalizer2* of[] = {
          icu::Normalizer2::getNFCInstance(code), icu::Normalizer2::getNFDInstance(code),
          icu::Normalizer2::getNFKCInstance(code), icu::Normalizer2::getNFKDInstance(code)};
      TW_CHECK(U_SUCCESS(code), std::string("ICU: ") + u_errorName(code));
      for (size_t i = 0; i < 4; ++i) {
        forms[i] = std::make_unique<icu::FilteredNormalizer2>(*of[i], *known);
      }
    }
  };
  static const All kAll;
  return *kAll.forms[static_cast<size_t>(form)];
}

struct Apply {
  std::string& text;
  bool& at_start;

  Result<void> operator()(UnicodeForm form) const {
    if (is_ascii(text)) return {};
    std::string out;
    icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
    UErrorCode code = U_ZERO_ERROR;
    unicode_normalizer(form).normalizeUTF8(0, text, sink, nullptr, code);
    if (U_FAILURE(code)) {
      return Error{ErrorClass::kInternal,
                   std::string("Unicode normalisation failed: ") + u_errorName(code)};
    }
    text = std::move(out);
    return {};
  }

  Result<void> operator()(const ReplaceAll& step) const {
    thread_local std::vector<Match> cuts;
    cuts.clear();
    TW_TRY(step.pattern.cut(text, cuts));
    if (cuts.empty() || (cuts.size() == 1 && !cuts[0].matches)) return {};
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    for (const Match& cut : cuts) {
      if (cut.matches) {
        out += step.content;
      } else {
        out.append(text, cut.begin, cut.end - cut.begin);
      }
    }
    // What is put stands for the last character of what was there, if for any.
    if (cuts[0].matches && cuts[0].end > 0 &&
        (step.content.empty() || cuts[0].end > utf8_length(text[0]))) {
      at_start = false;
    }
    text = std::move(out);
    return {};
  }

  Result<void> operator()(const PrependText& step) const {
    if (!text.empty()) text.insert(0, step.text);
    return {};
  }

  Result<void> operator()(const StripEnds& step) const {
    size_t begin = 0, end = text.size();
    while (step.left && begin < end && is_white_space(utf8_at(text, begin))) {
      begin += utf8_length(text[begin]);
    }
    while (step.right && end > begin && is_white_space(utf8_at(text, utf8_before(text, end)))) {
      end = utf8_before(text, end);
    }
    if (begin > 0) at_start = false;
    text = text.substr(begin, end - begin);
    return {};
  }

  Result<void> operator()(LowercaseAll) const {
    std::string out;
    for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
      append_lowercase(out, utf8_at(text, at));
    }
    text = std::move(out);
    return {};
  }

  Result<void> operator()(StripAccentMarks) const {
    std::string out;
    for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
      const char32_t c = utf8_at(text, at);
      if (!is_combining_mark(c))
        append_utf8(out, c);
      else if (at == 0)
        at_start = false;
    }
    text = std::move(out);
    return {};
  }

  Result<void> operator()(const Charsmap& map) const { return map.apply(text); }
};

}  // namespace

Result<Pattern> read_pattern(const Fields& part, const char* name) {
  const Fields pattern = part.part(name);
  if (pattern.has("String") == pattern.has("Regex") || pattern.json().size() != 1) {
    return pattern.wrong("either {\"String\": ..} or {\"Regex\": ..} is expected");
  }
  if (pattern.has("String")) {
    TW_ASSIGN(std::string text, pattern.text("String"));
    if (text.empty()) return pattern.refused("an empty string is not supported");
    return Pattern::literal(std::move(text));
  }
  TW_ASSIGN(const std::string regex, pattern.text("Regex"));
  auto made = Pattern::regex(regex);
  if (!made.ok()) return pattern.refused(made.error().message);
  return made;
}

Result<Normalizer> Normalizer::read(const Fields& part) {
  Normalizer normalizer;
  if (!part.json().is_null()) TW_TRY(normalizer.add(part));
  return normalizer;
}

Result<void> Normalizer::add(const Fields& part) {
  TW_ASSIGN(const std::string type, part.type());
  if (type == "Sequence") {
    TW_TRY(part.only({"normalizers"}));
    TW_ASSIGN(const size_t size, part.size("normalizers"));
    for (size_t i = 0; i < size; ++i) TW_TRY(add(part.element("normalizers", i)));
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    TW_TRY(part.only({}));
    steps_.emplace_back(type == "NFC"    ? UnicodeForm::kNfc
                        : type == "NFD"  ? UnicodeForm::kNfd
                        : type == "NFKC" ? UnicodeForm::kNfkc
                                         : UnicodeForm::kNfkd);
  } else if (type == "Replace") {
    TW_TRY(part.only({"pattern", "content"}));
    TW_ASSIGN(Pattern pattern, read_pattern(part, "pattern"));
    TW_ASSIGN(std::string content, part.text("content"));
    steps_.emplace_back(ReplaceAll{std::move(pattern), std::move(content)});
  } else if (type == "Prepend") {
    TW_TRY(part.only({"prepend"}));
    TW_ASSIGN(std::string text, part.text("prepend"));
    steps_.emplace_back(PrependText{std::move(text)});
  } else if (type == "Strip") {
    TW_TRY(part.only({"strip_left", "strip_right"}));
    TW_ASSIGN(const bool left, part.flag("strip_left"));
    TW_ASSIGN(const bool right, part.flag("strip_right"));
    steps_.emplace_back(StripEnds{left, right});
  } else if (type == "Lowercase") {
    TW_TRY(part.only({}));
    steps_.emplace_back(LowercaseAll{});
  } else if (type == "StripAccents") {
    TW_TRY(part.only({}));
    steps_.emplace_back(StripAccentMarks{});
  } else if (type == "Precompiled") {
    TW_TRY(part.only({"precompiled_charsmap"}));
    TW_ASSIGN(const std::string base64, part.text("precompiled_charsmap"));
    auto map = Charsmap::read(base64);
    if (!map.ok()) return part.wrong(map.error().message);
    steps_.emplace_back(std::move(*map));
  } else {
    return part.refused("a normalizer of type \"" + type + "\" is not supported");
  }
  return {};
}

Result<void> Normalizer::apply(std::string& text, bool& at_start) const {
  for (const NormalizerStep& step : steps_) TW_TRY(std::visit(Apply{text, at_start}, step));
  return {};
}

}  // namespace tracewise::tok
