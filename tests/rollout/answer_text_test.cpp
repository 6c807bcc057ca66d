#include "rollout/answer_text.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

TEST_CASE("the answer is what follows the prefix's last occurrence") {
  CHECK(answer_in("ans 1\nans  27 ", "ans ", "") == "27");
  CHECK(answer_in("ans ", "ans ", "") == "");
  CHECK_FALSE(answer_in("an 27", "ans ", ""));
  CHECK(answer_in(" all of it\n", "", "") == "all of it");
  CHECK(answer_in("<a>3</a> <a>4</a> rest", "<a>", "</a>") == "4");
  CHECK(answer_in("<a>3", "<a>", "</a>") == "3");
}

TEST_CASE("braces of a box are counted") {
  CHECK(answer_in("so \\boxed{\\frac{1}{2}} it is}", "\\boxed{", "}") == "\\frac{1}{2}");
  CHECK(answer_in("\\boxed{a\\}b} c", "\\boxed{", "}") == "a\\}b");
  CHECK(answer_in("\\boxed{7", "\\boxed{", "}") == "7");
}

TEST_CASE("numbers are read with sign, separators, decimals, exponent and fractions") {
  const auto first = [](const char* text) { return number_in(text, NumberPlace::kFirst); };
  CHECK(first("42") == 42);
  CHECK(first("is -7.") == -7);
  CHECK(first("\xe2\x88\x92"
              "3") == -3);
  CHECK(first("+.5 m") == 0.5);
  CHECK(first("$1,234,567.25!") == 1234567.25);
  CHECK(first("-$5") == -5);
  CHECK(first("1,2,3") == 1);  // commas that part no groups of three
  CHECK(first("1,2345") == 1);
  CHECK(first("2.5e3") == 2500);
  CHECK(first("2em") == 2);
  CHECK(first("3/4") == 0.75);
  CHECK(first("-1/8") == -0.125);
  CHECK_FALSE(first("none"));
  CHECK_FALSE(first(""));
  CHECK_FALSE(first("1/0"));
  CHECK_FALSE(first("-"));
  CHECK(first("1/0 or 5") == 5);
}

TEST_CASE("the last number of a text may follow an operator, which is no sign") {
  const auto last = [](const char* text) { return number_in(text, NumberPlace::kLast); };
  CHECK(last("8-3") == 3);
  CHECK(last("x = 8 - 3 = -5") == -5);
  CHECK(last("(2)-1") == 1);
  CHECK(last("7 apples, then 9.") == 9);
  CHECK(last("12,000 and 1.5") == 1.5);
}

TEST_CASE("a whole text is a number or it is none") {
  CHECK(whole_number_text(" 1,000 ") == 1000);
  CHECK(whole_number_text("-2/4") == -0.5);
  CHECK_FALSE(whole_number_text("3 apples"));
  CHECK_FALSE(whole_number_text("x3"));
  CHECK_FALSE(whole_number_text(" "));
}

TEST_CASE("a confidence is read in the ways people state it") {
  CHECK(*parse_confidence("80%") == Approx(0.8));
  CHECK(*parse_confidence("about 80 percent") == Approx(0.8));
  CHECK(*parse_confidence("0.8") == Approx(0.8));
  CHECK(*parse_confidence("8/10") == Approx(0.8));
  CHECK(*parse_confidence("8 out of 10") == Approx(0.8));
  CHECK(*parse_confidence("85") == Approx(0.85));  // above 1: percent
  CHECK(*parse_confidence("1") == 1.0f);
  CHECK(*parse_confidence("1%") == Approx(0.01));
  CHECK(*parse_confidence("0") == 0.0f);
}

TEST_CASE("a confidence out of range or not there is none") {
  for (const char* text : {"", "very sure", "150%", "-0.2", "11/10", "3 out of 0", "120"}) {
    INFO(text);
    CHECK_FALSE(parse_confidence(text));
  }
}

}  // namespace
}  // namespace tracewise
