#include "model/tokenizer/post_processor.hpp"

#include <nlohmann/json.hpp>

namespace tracewise::tok {
namespace {

Result<void> append_ids(const Fields& part, const std::string& name, std::vector<int32_t>& ids) {
  const Fields token = part.part("special_tokens").part(name.c_str());
  if (token.json().is_null()) return part.wrong("\"" + name + "\" is not among its special_tokens");
  TW_ASSIGN(const size_t size, token.size("ids"));
  for (size_t i = 0; i < size; ++i) {
    const nlohmann::json& id = token.json()["ids"][i];
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX)
      return token.wrong("an id is no whole number");
    ids.push_back(id.get<int32_t>());
  }
  return {};
}

// What "single" puts around the text; "pair" is for two texts, which nothing here encodes.
Result<void> read_template(const Fields& part, PostProcessor& out) {
  TW_TRY(part.only({"single", "pair", "special_tokens"}));
  TW_ASSIGN(const size_t size, part.size("single"));
  bool has_text = false;
  for (size_t i = 0; i < size; ++i) {
    const Fields piece = part.element("single", i);
    if (piece.has("SpecialToken")) {
      TW_ASSIGN(const std::string name, piece.part("SpecialToken").text("id"));
      TW_TRY(append_ids(part, name, has_text ? out.behind : out.before));
    } else if (piece.has("Sequence")) {
      TW_ASSIGN(const std::string name, piece.part("Sequence").text("id"));
      if (name != "A" || has_text) return piece.refused("a text other than one A is not supported");
      has_text = true;
    } else {
      return piece.wrong("neither a SpecialToken nor a Sequence");
    }
  }
  if (!has_text) return part.refused("a template without the text is not supported");
  return {};
}

Result<void> read_part(const Fields& part, PostProcessor& out, bool& has_template) {
  TW_ASSIGN(const std::string type, part.type());
  if (type == "Sequence") {
    TW_TRY(part.only({"processors"}));
    TW_ASSIGN(const size_t size, part.size("processors"));
    for (size_t i = 0; i < size; ++i)
      TW_TRY(read_part(part.element("processors", i), out, has_template));
    return {};
  }
  // A ByteLevel changes offsets into the text, which nothing here reports.
  if (type == "ByteLevel") return part.only({"add_prefix_space", "trim_offsets", "use_regex"});
  if (type == "TemplateProcessing") {
    if (has_template) return part.refused("a second TemplateProcessing is not supported");
    has_template = true;
    return read_template(part, out);
  }
  return part.refused("a post_processor of type \"" + type + "\" is not supported");
}

}  // namespace

Result<PostProcessor> PostProcessor::read(const Fields& part) {
  PostProcessor out;
  bool has_template = false;
  if (!part.json().is_null()) TW_TRY(read_part(part, out, has_template));
  return out;
}

}  // namespace tracewise::tok
