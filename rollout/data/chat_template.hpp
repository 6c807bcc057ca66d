// Chat templates: messages in, the text that a model was trained to see out. Jinja2 renders them,
// in a Python process, as transformers' apply_chat_template does.
#pragma once

#include <memory>
#include <string>

#include "messages/result.hpp"
#include "model/model_files.hpp"

namespace tracewise {

class PythonProcess;

// One thread owns it.
class ChatTemplate {
 public:
  // The template of a model's folder: chat_template.jinja, else "chat_template" of
  // tokenizer_config.json (of several the one named "default"). It may name the special tokens of
  // tokenizer_config.json and special_tokens_map.json (bos_token, ...), and `variables`, a JSON
  // object such as {"enable_thinking": false}.
  // kBadInput: there is none, it is no template, or `variables` is no JSON object.
  static Result<ChatTemplate> start(const ModelFiles& files, const std::string& variables);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The text of a JSON list of messages, {"role", "content"} each, with the beginning of the
  // answer behind it where `begin_answer`. It has the special tokens that the template gives it;
  // none are to be added. kBadInput: the template refuses the messages, and why.
  Result<std::string> render(const std::string& messages, bool begin_answer = true);

  // 16 hexadecimal digits that differ where template, special tokens or variables do.
  const std::string& hash() const { return hash_; }

 private:
  ChatTemplate();

  std::unique_ptr<PythonProcess> python_;
  std::string variables_;
  std::string hash_;
};

}  // namespace tracewise
