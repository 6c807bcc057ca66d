// The rows of `data`: where a run's prompts come from. See launch/config_keys.cpp.
#include "launch/config_key.hpp"

namespace tracewise {

#define AT(path) \
  [](Config & c) -> auto& { return c.path; }

void add_data_keys(std::vector<Key>& k) {
  k.push_back(path_key("data.prompts", AT(data.path),
                       "Training prompts: JSON lines, or Parquet where it ends in .parquet."));
  k.push_back(path_key("data.eval_prompts", AT(eval_data.path),
                       "Evaluation prompts, likewise; empty: those of data.eval_rows."));
  k.push_back(integer_key("data.eval_rows", AT(data_rows.eval), at_least(0),
                          "Training prompts, drawn by the run's seed, that are held out for "
                          "evaluation where data.eval_prompts is empty; 0: no evaluation."));
  k.push_back(integer_key("data.max_rows", AT(data_rows.max), at_least(0),
                          "Training prompts, drawn by the run's seed, that are used; 0: all."));
  k.push_back(text_key("data.prompt_column", AT(data.prompt_column),
                       "Column of the prompt: text, or messages as below."));
  k.push_back(text_key("data.messages_column", AT(data.messages_column),
                       "Column of the prompt as a list of {role, content}, for the model's chat "
                       "template."));
  k.push_back(text_key("data.tokens_column", AT(data.tokens_column),
                       "Column of the prompt as token ids, taken as they are."));
  k.push_back(text_key("data.answer_column", AT(data.answer_column), "Column of the gold answer."));
  k.push_back(text_key("data.id_column", AT(data.id_column), "Column of the row's id."));
  k.push_back(text_key("data.verifier_column", AT(data.verifier_column),
                       "Column of the verifier's kind, for rows that want another than "
                       "verifier.kind."));
  k.push_back(text_key("data.metadata_column", AT(data.metadata_column),
                       "Column that reward functions are given as metadata."));
  k.push_back(text_key("data.answer_prefix", AT(data.answer_prefix),
                       "The gold answer is what follows its last occurrence in the column; empty: "
                       "the whole column."));
  k.push_back(integer_key("data.max_prompt_tokens", AT(data.max_prompt_tokens), at_least(0),
                          "Tokens above which a prompt is too long; 0: no limit but the context."));
  k.push_back(choice_key(
      "data.drop", AT(data.drop),
      {{"none", DropRows::kNone}, {"long", DropRows::kLong}, {"unusable", DropRows::kUnusable}},
      "Rows that are left out, and counted, instead of being an error: those that are too long, or "
      "all that cannot be used."));
  k.push_back(flag_key("data.as_chat", AT(data.as_chat),
                       "A prompt's text is a user's message for the model's chat template."));
  k.push_back(text_key("data.system_prompt", AT(data.system_prompt),
                       "A system message before messages that begin with none."));
  k.push_back(text_key("data.prompt_suffix", AT(data.prompt_suffix),
                       "Text behind a prompt's text, or behind the last message of a user: how to "
                       "answer, say."));
  k.push_back(text_key("data.template_variables", AT(data.template_variables),
                       "What the chat template may name, a JSON object: {\"enable_thinking\": "
                       "false}."));
}

#undef AT

}  // namespace tracewise
