#include "rollout/data/chat_template.hpp"

#include <catch2/catch.hpp>

#include "model/tokenizer.hpp"
#include "rollout/data/dataset.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

constexpr const char* kTwo =
    R"([{"role": "system", "content": "S"}, {"role": "user", "content": "<b>"}])";

std::string rendered(const std::string& text, const std::string& messages = kTwo,
                     const std::string& variables = "") {
  auto chat = ChatTemplate::start({{"chat_template.jinja", text}}, variables);
  if (!chat.ok()) return "refused: " + chat.error().message;
  const auto out = chat->render(messages);
  return out.ok() ? *out : "failed: " + out.error().message;
}

}  // namespace

TEST_CASE("a chat template is rendered as transformers does") {
  // No blanks of block lines, no escaping for HTML, JSON as it stands.
  CHECK(rendered("{% for m in messages %}\n"
                 "  {% if loop.first %}{% continue %}{% endif %}\n"
                 "[{{ m.role }}]{{ m['content'] }}\n"
                 "{% endfor %}\n"
                 "{{ messages[0] | tojson }}{% if add_generation_prompt %}>{% endif %}") ==
        "[user]<b>\n{\"role\": \"system\", \"content\": \"S\"}>");
  CHECK(rendered("{% generation %}{{ 'é' | tojson }}{% endgeneration %}{{ tools is none }}") ==
        "\"é\"True");
  CHECK(rendered("{{ strftime_now('%Y') | int > 2000 }}") == "True");
  CHECK(rendered("{{ enable_thinking }} {{ unknown }}", kTwo, R"({"enable_thinking": false})") ==
        "False ");
}

TEST_CASE("a chat template may name the model's special tokens") {
  const ModelFiles files = {
      {"special_tokens_map.json", R"({"bos_token": "<old>", "pad_token": "<pad>"})"},
      {"tokenizer_config.json",
       R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": null,
           "chat_template": [{"name": "tool_use", "template": "no"},
                             {"name": "default", "template":
                              "{{ bos_token + eos_token + pad_token }}{{ unk_token }}"}]})"}};
  auto chat = ChatTemplate::start(files, "");
  REQUIRE(chat.ok());
  CHECK(*chat->render(kTwo) == "<s></s><pad>");
  auto other = ChatTemplate::start(files, R"({"a": 1})");
  CHECK(chat->hash().size() == 16);
  CHECK(chat->hash() != other->hash());
}

TEST_CASE("an answer's beginning may be left out") {
  auto chat = *ChatTemplate::start(
      {{"chat_template.jinja", "x{% if add_generation_prompt %}y{% endif %}"}}, "");
  CHECK(*chat.render(kTwo) == "xy");
  CHECK(*chat.render(kTwo, false) == "x");
}

TEST_CASE("a chat template that is wrong or refuses says why in a sentence") {
  CHECK(rendered("a\n{% if %}") ==
        "refused: the chat template's line 2 is wrong: Expected an expression, got 'end of "
        "statement block'");
  CHECK(rendered("{{ raise_exception('roles must alternate') }}") ==
        "failed: the chat template says: roles must alternate");
  CHECK(rendered("{{ messages[7].content }}") ==
        "failed: the chat template failed: UndefinedError: list object has no element 7");
  CHECK(rendered("{{ messages.append(1) }}")
            .starts_with("failed: the chat template failed: SecurityError"));
  CHECK(rendered("", kTwo, "[1]") ==
        "refused: the chat template's variables are no JSON object: [1]");
  CHECK(ChatTemplate::start({{"tokenizer_config.json", "{}"}}, "").error().message ==
        "messages need a chat template, but the model's folder has neither chat_template.jinja nor "
        "\"chat_template\" in tokenizer_config.json");
}

TEST_CASE("messages of a data file become what the model was trained to see") {
  // <bos> 0, <eos> 1, a 2, b 3, 7 4, S 5, U 6, > 7, # 8
  const auto tokenizer = std::move(
      *make_symbol_tokenizer({"<bos>", "<eos>", "a", "b", "7", "S", "U", ">", "#"}, {0, 1}, 0));
  const ModelFiles files = {
      {"chat_template.jinja",
       "b{% for m in messages %}{{ m.role[0] | upper }}{{ m.content }}{% endfor %}>"}};
  TempDir dir;
  DatasetOptions options;
  const std::string user = R"({"role": "user", "content": "a"}], "answer": "7"})";
  options.path = dir.put("data.jsonl", R"({"messages": [)" + user + "\n" +
                                           R"({"messages": [{"role": "system", "content": "b"}, )" +
                                           user + "\n" + R"({"prompt": "b", "answer": "7"})");
  options.as_chat = true;
  options.system_prompt = "ab";
  options.prompt_suffix = "#";
  const auto data = load_dataset(options, *tokenizer, files);
  INFO((data.ok() ? "" : data.error().message));
  REQUIRE(data.ok());
  CHECK(data->prompts.at(0).text == "bSabUa#>");
  CHECK(data->prompts.at(0).tokens == std::vector<int32_t>{3, 5, 2, 3, 6, 2, 8, 7});
  CHECK(data->prompts.at(1).text == "bSbUa#>");
  CHECK(data->prompts.at(2).text == "bSabUb#>");
  CHECK(data->report.template_hash.size() == 16);
}

TEST_CASE("Parquet files are read row by row, and one that was cut short is refused") {
  const auto tokenizer = std::move(*make_symbol_tokenizer({"<bos>", "a", "7"}, {0}, 0));
  TempDir dir;
  const std::string file = dir / "data.parquet";
  const auto script = dir.put(
      "write.py",
      "import pyarrow, pyarrow.parquet, sys\n"
      "rows = 300\n"
      "pyarrow.parquet.write_table(pyarrow.table({'prompt': ['a'] * rows, 'answer': [7] * rows,\n"
      "  'metadata': [{'list': [i, None], 'text': 'x'} for i in range(rows)]}), sys.argv[1])\n");
  REQUIRE(std::system(
              ("\"${TRACEWISE_PYTHON:-python3}\" " + script.string() + " " + file).c_str()) == 0);
  const auto data = load_dataset({.path = file}, *tokenizer);
  INFO((data.ok() ? "" : data.error().message));
  REQUIRE(data.ok());
  REQUIRE(data->prompts.size() == 300);
  CHECK(data->prompts[299] ==
        Prompt{"300", {0, 1}, "7", {2}, "a", "", R"({"list":[299,null],"text":"x"})"});
  CHECK(load_dataset({.path = file, .answer_column = "solution"}, *tokenizer).error().message ==
        file + ":1: \"solution\" is missing; the row has \"prompt\", \"answer\", \"metadata\"");
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  CHECK(load_dataset({.path = file}, *tokenizer)
            .error()
            .message.starts_with(file + " is no whole Parquet file: "));
  CHECK(load_dataset({.path = dir / "none.parquet"}, *tokenizer).error().error_class ==
        ErrorClass::kIo);
}

}  // namespace tracewise
