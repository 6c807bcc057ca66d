#include "rollout/math/compare.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "messages/random.hpp"
#include "rollout/math/final_answer.hpp"

namespace tracewise::math {
namespace {

struct Pair {
  const char* gold;
  const char* answer;
};

bool equals(const std::string& gold, const std::string& answer) {
  const auto g = read_answer(gold);
  REQUIRE(g.ok());
  const auto a = read_answer(answer);
  return a.ok() && equal(*g, *a);
}

void all_equal(const std::vector<Pair>& pairs) {
  for (const auto& [gold, answer] : pairs) {
    INFO(gold << "  |  " << answer);
    CHECK(equals(gold, answer));
  }
}

void none_equal(const std::vector<Pair>& pairs) {
  for (const auto& [gold, answer] : pairs) {
    INFO(gold << "  |  " << answer);
    CHECK_FALSE(equals(gold, answer));
  }
}

double milliseconds(const std::string& gold, const std::string& response) {
  const auto begin = std::chrono::steady_clock::now();
  const auto g = read_answer(gold);
  const auto a = read_answer(final_answer(response));
  if (g.ok() && a.ok()) equal(*g, *a);
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
  return taken.count();
}

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("a number is the same in all its notations") {
  all_equal({{"1234", "1,234"},
             {"1234", "1{,}234"},
             {"1234567", "1,234,567"},
             {"1234567", "1\\,234\\,567"},
             {"1234567", "1,\\!234,\\!567"},
             {"1234567", "1 234 567"},
             {"0.5", ".5"},
             {"5", "5."},
             {"5", "+5"},
             {"-5", "−5"},
             {"5", "005"},
             {"0.5", "\\frac12"},
             {"\\frac{3}{2}", "1\\frac{1}{2}"},
             {"\\frac{3}{2}", "1 1/2"},
             {"-\\frac{7}{2}", "-3\\frac12"},
             {"3/4", "\\dfrac{3}{4}"},
             {"3/4", "¾"},
             {"5/2", "2½"},
             {"\\frac{1}{3}", "0.\\overline{3}"},
             {"\\frac{1}{6}", "0.1\\overline{6}"},
             {"2", "\\frac{4}{2}"},
             {"15000000000", "1.5\\times10^{10}"},
             {"15000000000", "1.5 x 10^10"},
             {"15000000000", "1.5e10"},
             {"0.00025", "2.5\\cdot 10^{-4}"},
             {"1000000", "10^6"},
             {"8", "2^3"},
             {"9", "3²"},
             {"120", "5!"},
             {"10", "\\binom{5}{2}"}});
  none_equal({{"1234", "1.234"},
              {"12", "1, 2"},
              {"1/2", "1/3"},
              {"\\frac{3}{2}", "1\\cdot\\frac{1}{2}"},
              {"5", "-5"},
              {"0", "5"},
              {"1000", "10^4"}});
}

TEST_CASE("whole numbers and fractions are compared exactly, however large") {
  const std::string nines(100, '9');
  CHECK(equals("1" + std::string(100, '0'), "10^{100}"));
  CHECK_FALSE(equals("10^{100}", nines));
  CHECK(equals("10^{100}-1", nines));
  CHECK_FALSE(equals("10^{3000}+1", "10^{3000}"));
  CHECK(equals("10^{10^{10}}", "100^{5\\cdot 10^9}"));
  CHECK_FALSE(equals("10^{10^{10}}", "10^{10^{10}}+1"));
  CHECK(equals("2^{1000}\\cdot 2", "2^{1001}"));
}

TEST_CASE("a decimal stands for what rounds to it at six places") {
  all_equal({{"\\frac13", "0.333333"},
             {"\\frac23", "0.6666667"},
             {"\\pi", "3.141593"},
             {"\\sqrt{2}", "1.4142136"},
             {"0.25", "1/4"}});
  none_equal({{"\\frac13", "0.333"},
              {"\\frac13", "0.33333"},
              {"\\pi", "3.14"},
              {"0.00000012", "0.00000021"}});
}

TEST_CASE("roots, powers and constants are compared by value") {
  all_equal({{"\\sqrt{12}", "2\\sqrt{3}"},
             {"2\\sqrt3", "2√3"},
             {"2\\sqrt3", "2*sqrt(3)"},
             {"\\frac{\\sqrt2}{2}", "\\frac{1}{\\sqrt2}"},
             {"\\sqrt[3]{8}", "2"},
             {"\\sqrt[3]{-8}", "-2"},
             {"8^{1/3}", "2"},
             {"8^{\\frac{2}{3}}", "4"},
             {"\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"},
             {"\\frac{\\pi}{2}", "0.5\\pi"},
             {"2\\pi", "2pi"},
             {"2\\pi", "2π"},
             {"e^{i\\pi}", "-1"},
             {"3+4i", "4i+3"},
             {"\\ln e^2", "2"},
             {"\\log_2 8", "3"},
             {"\\log 100", "2"},
             {"\\sin\\frac{\\pi}{6}", "1/2"},
             {"\\cos 60^\\circ", "0.5"},
             {"\\sin^2 x+\\cos^2 x", "1"},
             {"\\arctan 1", "\\frac{\\pi}{4}"},
             {"|-3|", "3"},
             {"\\left|{-3}\\right|", "3"},
             {"\\lfloor 3.7\\rfloor", "3"}});
  none_equal({{"\\sqrt{12}", "3\\sqrt2"},
              {"\\sqrt2\\cdot 10^{-30}", "2\\sqrt2\\cdot 10^{-30}"},
              {"3+4i", "3-4i"},
              {"\\pi", "\\frac{22}{7}"},
              {"\\log_2 8", "\\log_3 8"}});
}

TEST_CASE("expressions are the same if they are for every value of their variables") {
  all_equal({{"x^2-1", "(x-1)(x+1)"},
             {"\\frac{x^2-1}{x-1}", "x+1"},
             {"2x+3y", "3y+2x"},
             {"2ab", "2ba"},
             {"(x+1)^{100}", "(1+x)^{100}"},
             {"x_1+x_2", "x_2+x_1"},
             {"x^{10}", "x^10"},
             {"\\frac{n(n+1)}{2}", "\\frac{n^2+n}{2}"},
             {"e^{2x}", "(e^x)^2"},
             {"\\sqrt{x^2}", "|x|"}});
  none_equal({{"x^2-1", "(x-1)^2"},
              {"x", "y"},
              {"x", "X"},
              {"2x", "2"},
              {"x^{100}", "x^{101}"},
              {"\\sqrt{x^2}", "x"}});
}

TEST_CASE("units, currency and words behind a number are passed over") {
  all_equal({{"5", "5\\text{ cm}"},
             {"5", "5 cm"},
             {"5", "5 m"},
             {"5", "5\\mathrm{~km}"},
             {"2n+5", "2 n + 5"},
             {"5", "5\\,\\mathrm{cm}^2"},
             {"5\\text{ cm}", "5\\text{ centimeters}"},
             {"5", "\\$5"},
             {"5", "$5$"},
             {"5.50", "\\$5.50"},
             {"5", "5 dollars"},
             {"5", "5 apples"},
             {"5", "5\\text{ square units}"},
             {"60", "60\\text{ km/h}"},
             {"60", "60 miles per hour"},
             {"30", "30^\\circ"},
             {"30", "30°"},
             {"30", "30 degrees"},
             {"5\\sqrt2", "5\\sqrt{2}\\text{ cm}^2"},
             {"2516", "2516_8"}});
  none_equal({{"5\\text{ cm}", "5\\text{ m}"},
              {"5 cm", "5 cm^2"},
              {"101_2", "101_3"},
              {"5", "6\\text{ cm}"},
              {"3t", "3"}});
}

TEST_CASE("a percentage is its value or the bare number") {
  all_equal({{"50\\%", "50"},
             {"50\\%", "0.5"},
             {"50", "50\\%"},
             {"9.5\\%", "9.5"},
             {"\\frac12", "50%"},
             {"12.5\\%", "1/8"}});
  none_equal({{"50\\%", "5"}, {"50\\%", "5\\%"}, {"50\\%", "0.05"}});
}

TEST_CASE("lists and sets have no order, tuples have one") {
  all_equal({{"1,2,3", "3, 1 and 2"},
             {"\\{1,2\\}", "2,1"},
             {"\\{1,2\\}", "\\left\\{2,1\\right\\}"},
             {"1,2", "(2,1)"},
             {"(2,1)", "2,1"},
             {"\\{5\\}", "5"},
             {"1,2,2", "1,2"},
             {"(1,\\frac12)", "(1,0.5)"},
             {"(100,200)", "(100, 200)"},
             {"\\langle 1,2,3\\rangle", "(1,2,3)"},
             {"\\pm 2", "-2,2"},
             {"1\\pm\\sqrt2", "1-\\sqrt2,1+\\sqrt2"},
             {"x=\\pm 2", "x=2\\text{ or }x=-2"},
             {"\\emptyset", "\\{\\}"},
             {"(1,2),(3,4)", "(3,4),(1,2)"}});
  none_equal({{"(2,1)", "(1,2)"},
              {"(2,1)", "1,2"},
              {"1,2", "1,2,3"},
              {"1,2,3", "1,2"},
              {"1,2", "1"},
              {"(1,2)", "\\{1,2\\}"},
              {"(100,200)", "100200"},
              {"(1,2,3)", "(1,2)"}});
}

TEST_CASE("intervals are sets of real numbers") {
  all_equal({{"(2,\\infty)", "x>2"},
             {"[2,\\infty)", "x\\ge 2"},
             {"x>2", "2<x"},
             {"[1,2)", "1\\le x<2"},
             {"(-\\infty,1)\\cup(2,\\infty)", "(2,\\infty)\\cup(-\\infty,1)"},
             {"(-\\infty,1)\\cup(2,\\infty)", "x<1\\text{ or }x>2"},
             {"(-\\infty,\\infty)", "\\mathbb{R}"},
             {"[1,3]", "[1,2]\\cup[2,3]"},
             {"[1,2]\\cup\\{5\\}", "\\{5\\}\\cup[1,2]"},
             {"(-\\infty,0)\\cup(0,\\infty)", "x\\ne 0"},
             {"(0,\\infty)", "\\mathbb{R}\\setminus(-\\infty,0]"},
             {"[2,3]", "[1,3]\\cap[2,5]"},
             {"x\\in(1,2)", "(1,2)"},
             {"(0.5,1]", "(\\frac12,1]"},
             {"(a,b)", "(a,b)"}});
  none_equal({{"(1,2)", "[1,2]"},
              {"[1,2)", "(1,2]"},
              {"(1,\\infty)", "(1,2)"},
              {"x>2", "y>2"},
              {"x>2", "x\\ge 2"},
              {"(1,2)\\cup(2,3)", "(1,3)"}});
}

TEST_CASE("equations are the same up to a factor, and an assignment is its value") {
  all_equal({{"x=5", "5"},
             {"5", "x=5"},
             {"5", "2+3=5"},
             {"y=2x+1", "2x-y+1=0"},
             {"y=2x+1", "2x+1"},
             {"f(x)=2x+1", "2x+1"},
             {"x=5", "2x=10"},
             {"x=1,y=2", "(1,2)"},
             {"x=1,y=2", "y=2,x=1"},
             {"x=1\\text{ or }x=2", "1,2"},
             {"2x+y<3", "3>y+2x"},
             {"2x+y<3", "-4x-2y>-6"}});
  none_equal({{"x=5", "y=5"},
              {"2x+y=5", "5"},
              {"y=2x+1", "y=2x-1"},
              {"x=1,y=2", "(2,1)"},
              {"2x+y<3", "2x+y>3"},
              {"2x+y<3", "2x+y\\le 3"}});
}

TEST_CASE("matrices are compared entry by entry") {
  all_equal({{"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
              "\\begin{bmatrix} 1 & \\frac{4}{2} \\\\ 3 & 4 \\\\ \\end{bmatrix}"},
             {"\\begin{pmatrix}1\\\\2\\end{pmatrix}",
              "\\left(\\begin{array}{c}1\\\\2\\end{array}\\right)"}});
  none_equal(
      {{"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"},
       {"\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"}});
}

TEST_CASE("words are compared without their case and dress") {
  all_equal({{"\\text{Monday}", "monday"},
             {"\\text{(A)}", "A"},
             {"A", "(A)"},
             {"\\text{Saint Petersburg}", "Saint Petersburg"},
             {"no", "\\text{No}"},
             {"\\mathrm{even}", "even"}});
  none_equal({{"\\text{Monday}", "Tuesday"}, {"no", "on"}, {"A", "B"}, {"even", "odd"}});
}

TEST_CASE("a text that is no answer is refused with what is wrong") {
  const auto refusal = [](const std::string& text) {
    const auto read = read_answer(text);
    return read.ok() ? std::string("read") : read.error().message;
  };
  CHECK(refusal("") == "it is empty");
  CHECK(refusal("\\frac{1}{") == "it ends too early");
  CHECK(refusal("1 + ") == "it ends too early");
  CHECK(refusal("2 3") == "\"3\" is not expected at byte 2");
  CHECK(refusal("\\int x") == "\"\\int\" is not expected at byte 0");
  CHECK(refusal("(1,2)+3") == "it calculates with what are no numbers");
  CHECK(refusal("\\begin{cases}1\\end{cases}") == "\\begin{cases} is not supported");
  CHECK(refusal("\\begin{pmatrix}1&2\\\\3\\end{pmatrix}") ==
        "its matrix has rows of unequal length");
  CHECK(refusal(std::string(5000, '1')) == "it is too long");
  CHECK(refusal("1e99999") == "its exponent is too large");
  CHECK(refusal(repeated("(", 200) + "1" + repeated(")", 200)) == "it is nested too deeply");
}

TEST_CASE("adversarial answers take no time and no memory") {
  const std::vector<std::string> attacks = {"10^(10^10)",
                                            "10^{10^{10^{10^{10}}}}",
                                            "9999999999!",
                                            "((999!)!)!",
                                            "2^{2^{2^{2^{2^{2^2}}}}}",
                                            "1000!^{1000!}",
                                            "e^{e^{e^{e^{e}}}}",
                                            "\\sin(10^{4000})",
                                            "\\binom{10^9}{10^8}",
                                            "x^{x^{x^{x^{x^{x^x}}}}}",
                                            repeated("(x+1)^{99}", 300),
                                            repeated("\\sqrt{", 90) + "2" + repeated("}", 90),
                                            repeated("2^{", 90) + "2" + repeated("}", 90),
                                            repeated("1/3+", 900) + "1",
                                            repeated("\\frac", 1500),
                                            repeated("-", 3900) + "1",
                                            "1" + repeated("!", 3000),
                                            "1" + repeated("%", 3000),
                                            repeated("|", 3999),
                                            repeated("1,", 1900) + "1",
                                            repeated("\\text{", 600),
                                            repeated("\\sin ", 700) + "1",
                                            repeated("1_", 1900),
                                            repeated("{", 1'000'000),
                                            repeated("\\boxed{", 100'000),
                                            repeated("$", 1'000'000),
                                            repeated("\\boxed{1},", 100'000),
                                            repeated("answer is ", 100'000),
                                            "\\boxed{" + repeated("{", 1'000'000),
                                            repeated("a ", 500'000),
                                            repeated("1 ", 500'000),
                                            "\\{" + repeated("\\sqrt{2}+", 300) + "1\\}",
                                            "\\lfloor e^{99999}\\rfloor",
                                            repeated("\\sin(1+", 40) + "1" + repeated(")", 40),
                                            "0^{-1}",
                                            "\\frac{1}{0}",
                                            "\\log 0",
                                            "\\tan 90^\\circ",
                                            "\\pm" + repeated("\\pm 1", 900),
                                            "(" + repeated("x,", 900) + "x)"};
  for (const std::string& attack : attacks) {
    INFO(attack.substr(0, 60));
    CHECK(milliseconds(attack.substr(0, 4000), attack) < 1000);
    CHECK(milliseconds("5", "\\boxed{" + attack + "}") < 1000);
  }
}

TEST_CASE("random texts are read or refused, and equal themselves where they are read") {
  const std::vector<std::string> words = {"1",
                                          "2.5",
                                          "x",
                                          "\\frac",
                                          "{",
                                          "}",
                                          "(",
                                          ")",
                                          "[",
                                          "]",
                                          "\\{",
                                          "\\}",
                                          "^",
                                          "_",
                                          "+",
                                          "-",
                                          "\\pm",
                                          ",",
                                          "=",
                                          "<",
                                          "\\le",
                                          "\\sqrt",
                                          "\\pi",
                                          "e",
                                          "i",
                                          "\\infty",
                                          "\\cup",
                                          "%",
                                          "!",
                                          "|",
                                          "\\text{cm}",
                                          " ",
                                          "\\text{",
                                          "and",
                                          "\\sin",
                                          "\\log",
                                          "\\begin{pmatrix}",
                                          "&",
                                          "\\\\",
                                          "\\end{pmatrix}",
                                          "/",
                                          "*",
                                          "\\cdot",
                                          "0",
                                          "1,234",
                                          "\\boxed{",
                                          "$",
                                          "^\\circ",
                                          "\xc3",
                                          "√",
                                          "100000",
                                          "\\in",
                                          "\\ne"};
  SplitMix random(7);
  size_t read = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (uint64_t n = 1 + random.below(12); n > 0; --n) text += words[random.below(words.size())];
    const auto answer = read_answer(text);
    final_answer(text);
    if (!answer.ok()) continue;
    ++read;
    INFO(text);
    CHECK(equal(*answer, *answer));
  }
  CHECK(read > 500);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

}  // namespace tracewise::math
