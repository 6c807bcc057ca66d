#include "rollout/step_splitter.hpp"

#include <catch2/catch.hpp>

#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

using Texts = std::vector<std::string>;
using Ends = std::vector<int32_t>;

// One token a character, but for `words`; "<eos>" is special and has the last id.
std::unique_ptr<Tokenizer> characters(const Texts& words = {}) {
  Texts symbols = words;
  for (char c = ' '; c <= '~'; ++c) symbols.emplace_back(1, c);
  symbols.emplace_back("\n");
  symbols.emplace_back("\x01 eos");
  const auto last = static_cast<int32_t>(symbols.size()) - 1;
  return std::move(*make_symbol_tokenizer(std::move(symbols), {last}, last));
}

struct Split {
  Texts steps;
  Ends ends;
  Ends episodes;
};

Split split(const std::string& text, const StepOptions& options, const Texts& words = {},
            bool eos = false) {
  const auto tokenizer = characters(words);
  std::vector<int32_t> ids = *tokenizer->encode(text, false);
  if (eos) ids.push_back(tokenizer->vocab_size() - 1);
  const Steps steps = split_steps(ids, *tokenizer, options);
  Split out{{}, steps.ends, steps.episodes};
  int32_t begin = 0;
  for (const int32_t end : steps.ends) {
    out.steps.push_back(tokenizer->decode(std::span(ids).subspan(begin, end - begin), true));
    begin = end;
  }
  CHECK(begin == static_cast<int32_t>(ids.size()));
  return out;
}

TEST_CASE("a delimiter belongs to the step it closes, and the rest is the last step") {
  const Split out = split("ab\n\nc\n\nans", {});
  CHECK(out.steps == Texts{"ab\n\n", "c\n\n", "ans"});
  CHECK(out.ends == Ends{4, 7, 10});
  CHECK(out.episodes == Ends{0});
}

TEST_CASE("a response without a delimiter is one step, an empty one has none") {
  CHECK(split("abc", {}).ends == Ends{3});
  CHECK(split("", {}).ends.empty());
  CHECK(split("", {}).episodes.empty());
}

TEST_CASE("a rest of blanks and end tokens belongs to the step before") {
  CHECK(split("a\n\nb\n\n", {}, {}, true).ends == Ends{3, 7});
  CHECK(split("a\n\nb\n\n \n", {}, {}, true).ends == Ends{3, 9});
  CHECK(split("a\n\nb", {}, {}, true).ends == Ends{3, 5});
  CHECK(split("", {}, {}, true).ends == Ends{1});
}

TEST_CASE("a delimiter may be one token, span tokens, or lie inside a token") {
  // tokens: a | .\n\n | b | \n | \n | c | \n\nThe | blank | d
  const Split out = split("a.\n\nb\n\nc\n\nThe d", {}, {".\n\n", "\n\nThe"});
  CHECK(out.steps == Texts{"a.\n\n", "b\n\n", "c\n\nThe", " d"});
  CHECK(out.ends == Ends{2, 5, 7, 9});
}

TEST_CASE("the longest of several delimiters counts") {
  StepOptions options{.delimiters = {"\n", "\n---\n"}};
  CHECK(split("a\n---\nb\nc", options).steps == Texts{"a\n---\n", "b\n", "c"});
}

TEST_CASE("the demo's lines are steps of which ans is the last") {
  const StepOptions options{.delimiters = {"\n"}};
  const Split out =
      split("3+8=1\ncheck 3+8=1 ok\nans 27", options, {"ans ", "check ", " ok"}, true);
  CHECK(out.steps == Texts{"3+8=1\n", "check 3+8=1 ok\n", "ans 27"});
  CHECK(out.ends == Ends{6, 14, 18});
}

TEST_CASE("nothing is cut inside a box, a formula or a code fence") {
  CHECK(split("a \\boxed{1\n\n{2}\n\n} b\n\nc", {}).steps ==
        Texts{"a \\boxed{1\n\n{2}\n\n} b\n\n", "c"});
  CHECK(split("a $$x\n\ny$$\n\nb", {}).steps == Texts{"a $$x\n\ny$$\n\n", "b"});
  CHECK(split("```py\nx\n\ny\n```\n\nb", {}).steps == Texts{"```py\nx\n\ny\n```\n\n", "b"});
  const StepOptions lines{.delimiters = {"\n"}};
  CHECK(split("a $x\n+y$ b\nc", lines).steps == Texts{"a $x\n+y$ b\n", "c"});
  CHECK(split("a\n```\nx\n```\nb\n", lines).steps == Texts{"a\n", "```\nx\n```\n", "b\n"});
  const StepOptions spaces{.delimiters = {" "}};
  CHECK(split("a $x + y$ b", spaces).steps == Texts{"a ", "$x + y$ ", "b"});
}

TEST_CASE("a token that reaches into a formula is no end of a step") {
  const StepOptions spaces{.delimiters = {" "}};
  CHECK(split("a b $x y$ c", spaces, {" $x"}).steps == Texts{"a ", "b $x y$ ", "c"});
}

TEST_CASE("prices, escaped dollars, inline code and what is never closed protect nothing") {
  const StepOptions spaces{.delimiters = {" "}};
  CHECK(split("cost $5 and $6 ok", spaces).steps == Texts{"cost ", "$5 ", "and ", "$6 ", "ok"});
  CHECK(split("\\$x y\\$", spaces).steps == Texts{"\\$x ", "y\\$"});
  CHECK(split("\\boxed{1 2", spaces).steps == Texts{"\\boxed{1 ", "2"});
  CHECK(split("$$1 2", spaces).steps == Texts{"$$1 ", "2"});
  CHECK(split("```x``` y", spaces).steps == Texts{"```x``` ", "y"});
  CHECK(split("a $x\n\ny$ b", {}).steps == Texts{"a $x\n\n", "y$ b"});
  // A fence that is never closed runs to the end.
  CHECK(split("a\n\n```\nx\n\ny", {}).steps == Texts{"a\n\n", "```\nx\n\ny"});
}

TEST_CASE("the final answer's section is not cut") {
  CHECK(split("a\n\nb\n</think>\n\nc\n\nd", {}).steps == Texts{"a\n\n", "b\n</think>\n\nc\n\nd"});
  CHECK(split("a\n\n**Final Answer**\n\n7", {}).steps == Texts{"a\n\n", "**Final Answer**\n\n7"});
  StepOptions none{.final_markers = {}};
  CHECK(split("a\n\n</think>\n\nc", none).steps == Texts{"a\n\n", "</think>\n\n", "c"});
}

TEST_CASE("a restart word at the start of a step opens an episode") {
  const StepOptions options{.delimiters = {"\n"}, .restart_words = {"Wait", "But"}};
  const Split out = split("one\nWait, two\nWaiting\n But so\nBut", options);
  CHECK(out.steps == Texts{"one\n", "Wait, two\n", "Waiting\n", " But so\n", "But"});
  CHECK(out.episodes == Ends{0, 1, 3, 4});
  CHECK(split("Wait\nx", options).episodes == Ends{0});
}

TEST_CASE("a step that is too short joins the next one, the last one joins the one before") {
  const StepOptions options{.delimiters = {"\n"}, .min_step_tokens = 4};
  CHECK(split("a\nb\nccc\nddd\ne", options).steps == Texts{"a\nb\n", "ccc\n", "ddd\ne"});
  CHECK(split("a\nb", options).steps == Texts{"a\nb"});
  CHECK(split("a", options).steps == Texts{"a"});
}

TEST_CASE("a short step that ends its episode joins the one before") {
  const StepOptions options{.delimiters = {"\n"}, .restart_words = {"But"}, .min_step_tokens = 4};
  const Split out = split("aaaa\nb\nBut c\nd\n", options);
  CHECK(out.steps == Texts{"aaaa\nb\n", "But c\nd\n"});
  CHECK(out.episodes == Ends{0, 1});
  // There is none before: the first step takes the episode's start with it.
  CHECK(split("a\nBut c\n", options).episodes == Ends{0});
}

TEST_CASE("above max_steps the shortest neighbours become one, first pair first") {
  StepOptions options{.delimiters = {"\n"}, .max_steps = 3};
  // tokens 5 2 2 3 2: (2,2)=4 -> 5 4 3 2: (3,2)=5 -> 5 4 5
  CHECK(split("aaaa\nb\nc\ndd\ne\n", options).ends == Ends{5, 9, 14});
  options.max_steps = 1;
  CHECK(split("aaaa\nb\nc\ndd\ne\n", options).ends == Ends{14});
  options.max_steps = 2;
  // 2 2 2: the first pair of two equals
  CHECK(split("a\nb\nc\n", options).ends == Ends{4, 6});
  options.max_steps = 5;
  CHECK(split("a\nb\nc\n", options).ends == Ends{2, 4, 6});
}

}  // namespace
}  // namespace tracewise
