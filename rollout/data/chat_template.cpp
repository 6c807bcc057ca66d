#include "rollout/data/chat_template.hpp"

#include <xxhash.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "rollout/python/python_process.hpp"

namespace tracewise {
namespace {

using json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kRenderLimit{10'000};

json object_of(const ModelFiles& files, const char* name) {
  const auto found = files.find(name);
  json object = found == files.end() ? json() : json::parse(found->second, nullptr, false);
  return object.is_object() ? object : json::object();
}

// A token stands as its text, or as an object with its "content".
void add_special_tokens(const json& config, json& tokens) {
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token") && name != "additional_special_tokens") continue;
    if (value.is_string() || value.is_array()) tokens[name] = value;
    if (value.is_object() && value.contains("content")) tokens[name] = value["content"];
  }
}

Result<std::string> find_template(const ModelFiles& files) {
  if (const auto file = files.find("chat_template.jinja"); file != files.end()) return file->second;
  const json config = object_of(files, "tokenizer_config.json");
  const auto found = config.find("chat_template");
  if (found != config.end() && found->is_string()) return found->get<std::string>();
  if (found != config.end() && found->is_array()) {
    for (const json& named : *found) {
      if (named.is_object() && named.value("name", "") == "default" && named.contains("template") &&
          named["template"].is_string())
        return named["template"].get<std::string>();
    }
  }
  return bad_input(
      "messages need a chat template, but the model's folder has neither chat_template.jinja nor "
      "\"chat_template\" in tokenizer_config.json");
}

std::string hash_of(const std::string& text) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(text.data(), text.size())));
  return digits;
}

}  // namespace

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::start(const ModelFiles& files, const std::string& variables) {
  if (!variables.empty() && !json::parse(variables, nullptr, false).is_object())
    return bad_input("the chat template's variables are no JSON object: " + variables);
  TW_ASSIGN(const std::string text, find_template(files));
  json tokens = json::object();
  add_special_tokens(object_of(files, "special_tokens_map.json"), tokens);
  add_special_tokens(object_of(files, "tokenizer_config.json"), tokens);
  ChatTemplate made;
  made.variables_ = variables.empty() ? "{}" : variables;
  PythonOptions options;
  options.service = PythonService::kChatTemplate;
  options.setup = json{{"template", text}, {"variables", std::move(tokens)}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
  made.hash_ = hash_of(options.setup + made.variables_);
  made.python_ = std::make_unique<PythonProcess>(options);
  TW_TRY(made.python_->start());
  return made;
}

Result<std::string> ChatTemplate::render(const std::string& messages, bool begin_answer) {
  json variables = json::parse(variables_);
  if (!begin_answer) variables["add_generation_prompt"] = false;
  const json list = json::parse(messages, nullptr, false);
  if (!list.is_array()) return bad_input("the messages are no list");
  const std::string request = json{{"messages", list}, {"variables", std::move(variables)}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
  TW_ASSIGN(const std::string text, python_->call(request, kRenderLimit));
  return json::parse(text).get<std::string>();
}

}  // namespace tracewise
