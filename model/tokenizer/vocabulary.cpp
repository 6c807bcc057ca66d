#include "model/tokenizer/vocabulary.hpp"

#include <nlohmann/json.hpp>

namespace tracewise::tok {
namespace {

constexpr uint64_t kMaxIds = uint64_t{1} << 26;

}  // namespace

Result<Vocabulary> Vocabulary::read_map(const Fields& model) {
  const Fields part = model.part("vocab");
  if (!part.json().is_object() || part.json().empty()) return part.wrong("no object with tokens");
  Vocabulary out;
  out.count_ = part.json().size();
  out.ids_ = TextTable(out.count_);
  for (const auto& [text, id] : part.json().items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= kMaxIds) {
      return part.wrong("the id of \"" + text + "\" is " + id.dump() + ", no whole number below " +
                        std::to_string(kMaxIds));
    }
    if (text.empty()) return part.refused("an empty token is not supported");
    const auto at = id.get<size_t>();
    if (at >= out.texts_.size()) out.texts_.resize(at + 1);
    if (!out.texts_[at].empty()) {
      return part.wrong("\"" + out.texts_[at] + "\" and \"" + text + "\" have the same id " +
                        id.dump());
    }
    out.texts_[at] = text;
    out.ids_.put(text, id.get<int32_t>());
  }
  return out;
}

Result<Vocabulary> Vocabulary::read_list(const Fields& model, std::vector<double>& scores) {
  const Fields part = model.part("vocab");
  if (!part.json().is_array() || part.json().empty()) return part.wrong("no list of tokens");
  Vocabulary out;
  out.count_ = part.json().size();
  out.ids_ = TextTable(out.count_);
  for (const nlohmann::json& entry : part.json()) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return part.wrong("entry " + std::to_string(out.texts_.size()) + " is not [text, score]");
    }
    out.texts_.push_back(entry[0].get<std::string>());
    if (out.texts_.back().empty()) return part.refused("an empty token is not supported");
    scores.push_back(entry[1].get<double>());
    out.ids_.put(out.texts_.back(), static_cast<int32_t>(out.texts_.size()) - 1, true);
  }
  return out;
}

int byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int byte = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

}  // namespace tracewise::tok
