// A tokenizer as tokenizer.json describes it: normalizer, pre-tokenizer, model, post-processor,
// decoder.
#pragma once

#include <memory>
#include <string>

#include "messages/result.hpp"
#include "model/tokenizer.hpp"
#include "model/tokenizer/fields.hpp"

namespace tracewise::tok {

// `file`: the whole JSON, a BPE or Unigram model in it; `text`: its bytes, which to_json() gives
// back.
Result<std::unique_ptr<Tokenizer>> make_pipeline_tokenizer(const Fields& file, std::string text);

}  // namespace tracewise::tok
