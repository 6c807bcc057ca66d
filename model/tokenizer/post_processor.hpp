// The `post_processor` of a tokenizer.json: the special tokens around an encoded text.
#pragma once

#include <cstdint>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"

namespace tracewise::tok {

struct PostProcessor {
  std::vector<int32_t> before;  // bos, in most
  std::vector<int32_t> behind;

  // From the part of the file, which may be null. Unknown kinds are kUnsupported by name and place.
  static Result<PostProcessor> read(const Fields& part);
};

}  // namespace tracewise::tok
