#include "model/tokenizer.hpp"

#include <nlohmann/json.hpp>

#include "model/file_io.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/pipeline_tokenizer.hpp"
#include "model/tokenizer/symbol_tokenizer.hpp"

namespace tracewise {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const auto text = stream(skip_special);
  std::string out;
  text->push(ids, out);
  text->finish(out);
  return out;
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& file) {
  TW_ASSIGN(std::string text, read_file(file, kMaxTokenizerBytes));
  const std::string place = file.string();
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return bad_input(place + ": not a JSON object");
  const tok::Fields fields(object, place);
  const tok::Fields model = fields.part("model");
  TW_ASSIGN(const std::string type, model.type());
  if (type == "WordLevel") return read_symbol_tokenizer(object, place);
  if (type == "BPE" || type == "Unigram")
    return tok::make_pipeline_tokenizer(fields, std::move(text));
  return model.refused("a model of type \"" + type + "\" is not supported");
}

}  // namespace tracewise
