#include "rollout/data/prepared.hpp"

#include "messages/validate.hpp"
#include "model/file_io.hpp"
#include "rollout/data/rows.hpp"

namespace tracewise {
namespace {

using json = RowJson;

// Only a reward's own data may hold anything but text, and that is escaped.
std::string line_of(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Prompt> prompt_of(const Row& row) {
  try {
    const json& o = row.object;
    Prompt prompt{o.at("id"),   o.at("tokens"),   o.at("gold"),    o.at("gold_tokens"),
                  o.at("text"), o.at("verifier"), o.at("metadata")};
    if (const auto good = validate(prompt); !good.ok()) return row.wrong(good.error().message);
    return prompt;
  } catch (const json::exception& error) {
    return row.wrong(error.what());
  }
}

}  // namespace

Result<void> save_prepared(const std::filesystem::path& file, std::span<const Prompt> prompts,
                           const std::string& template_hash) {
  std::string text = line_of({{"template", template_hash}, {"prompts", prompts.size()}});
  for (const Prompt& p : prompts) {
    text += line_of({{"id", p.id},
                     {"tokens", p.tokens},
                     {"gold", p.gold},
                     {"gold_tokens", p.gold_tokens},
                     {"text", p.text},
                     {"verifier", p.verifier},
                     {"metadata", p.metadata}});
  }
  return write_file(file, text);
}

Result<std::vector<Prompt>> load_prepared(const std::filesystem::path& file) {
  std::vector<Prompt> prompts;
  json head;
  TW_TRY(for_each_row(file, [&](const Row& row) -> Result<void> {
    if (row.number == 1) {
      head = row.object;
      return {};
    }
    TW_ASSIGN(Prompt prompt, prompt_of(row));
    prompts.push_back(std::move(prompt));
    return {};
  }));
  if (head.value("prompts", json()) == json(prompts.size())) return prompts;
  return bad_input(file.string() + ": the first line tells of other prompts than " +
                   std::to_string(prompts.size()));
}

}  // namespace tracewise
