// tracewise tokenize: text to token ids and back, JSON lines in and out.
//
// In, a text a line:        {"text": ".."}
// Out, in the same order:   {"tokens": [n]}
// With --chat the messages of a chat, {"messages": [{"role": "..", "content": ".."}]}, by the
// model's chat template; "text", what the template made of them, comes out too. With --decode the
// other way round. A line is answered before the next is read, so that a program may ask line by
// line.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/commands/cli.hpp"
#include "model/tokenizer.hpp"
#include "rollout/data/chat_template.hpp"

namespace tracewise {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::filesystem::path model_dir;
  bool decode = false;
  bool no_special = false;
  bool chat = false;
  bool no_answer = false;
  std::string variables;
};

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string written(const std::vector<int32_t>& ids) {
  std::string out = "{\"tokens\":[";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(ids[i]);
  }
  return out + "]";
}

Result<std::string> encode_line(const Json& line, const Tokenizer& tokenizer, bool add_special) {
  if (!line.contains("text")) return bad_input("\"text\" is missing");
  if (!line["text"].is_string()) return bad_input("\"text\" is no string");
  TW_ASSIGN(const auto ids,
            tokenizer.encode(line["text"].get_ref<const std::string&>(), add_special));
  return written(ids) + "}\n";
}

Result<std::string> chat_line(const Json& line, const Tokenizer& tokenizer, ChatTemplate& chat,
                              bool begin_answer) {
  if (!line.contains("messages")) return bad_input("\"messages\" is missing");
  TW_ASSIGN(const std::string text, chat.render(dumped(line["messages"]), begin_answer));
  TW_ASSIGN(const auto ids, tokenizer.encode(text, false));
  return written(ids) + ",\"text\":" + dumped(text) + "}\n";
}

Result<std::string> decode_line(const Json& line, const Tokenizer& tokenizer, bool skip_special) {
  if (!line.contains("tokens")) return bad_input("\"tokens\" is missing");
  const Json& tokens = line["tokens"];
  if (!tokens.is_array()) return bad_input("\"tokens\" is no array");
  std::vector<int32_t> ids;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].is_number_unsigned() ||
        tokens[i].get<uint64_t>() >= static_cast<uint64_t>(tokenizer.vocab_size())) {
      return bad_input("\"tokens\"[" + std::to_string(i) + "] is " + tokens[i].dump() +
                       ", but ids are whole numbers from 0 to " +
                       std::to_string(tokenizer.vocab_size() - 1));
    }
    ids.push_back(tokens[i].get<int32_t>());
  }
  return Json{{"text", tokenizer.decode(ids, skip_special)}}.dump() + "\n";
}

Result<void> run(const Options& options) {
  TW_ASSIGN(const auto tokenizer, load_tokenizer(options.model_dir / "tokenizer.json"));
  std::optional<ChatTemplate> chat;
  if (options.chat) {
    TW_ASSIGN(const ModelFiles files, read_model_files(options.model_dir));
    TW_ASSIGN(chat, ChatTemplate::start(files, options.variables));
  }
  std::string text;
  for (size_t number = 1; std::getline(std::cin, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json line = Json::parse(text, nullptr, false);
    auto answer = !line.is_object() ? Result<std::string>(bad_input("no JSON object"))
                  : options.decode  ? decode_line(line, *tokenizer, options.no_special)
                  : chat            ? chat_line(line, *tokenizer, *chat, !options.no_answer)
                                    : encode_line(line, *tokenizer, !options.no_special);
    if (!answer.ok()) {
      return Error{answer.error().error_class,
                   "stdin:" + std::to_string(number) + ": " + answer.error().message};
    }
    std::fputs(answer->c_str(), stdout);
    if (std::cin.rdbuf()->in_avail() <= 0) TW_TRY(flush_output());
  }
  if (std::cin.bad()) return io_error("cannot read stdin");
  return flush_output();
}

}  // namespace

int cmd_tokenize(const Args& args) {
  CLI::App app(
      "Token ids of texts: JSON lines {\"text\": \"..\"} in, {\"tokens\": [n]} out; with --decode "
      "the "
      "other way round. Ends at the first line that is bad.",
      "tracewise tokenize");
  Options options;
  app.add_option("--model", options.model_dir, "folder with a tokenizer.json")
      ->required()
      ->type_name("DIR");
  app.add_flag("--decode", options.decode, "{\"tokens\": [n]} in, {\"text\": \"..\"} out");
  app.add_flag(
      "--no-special", options.no_special,
      "without the tokens that the tokenizer puts around a text; with --decode special tokens "
      "are left out of it");
  auto* chat = app.add_flag("--chat", options.chat,
                            "{\"messages\": [{\"role\": \"..\", \"content\": \"..\"}]} in, by the "
                            "model's chat template, whose text comes out beside the tokens");
  chat->excludes("--decode");
  app.add_option("--variables", options.variables,
                 "with --chat: what the template may name, as data.template_variables")
      ->needs(chat)
      ->type_name("JSON");
  app.add_flag("--no-answer", options.no_answer, "with --chat: without the beginning of an answer")
      ->needs(chat);
  if (const auto exit = parse_args(app, args)) return *exit;
  // Lines are read ahead, and what C and C++ streams would share is not used.
  std::ios::sync_with_stdio(false);
  const auto result = run(options);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
