#include "rollout/math/final_answer.hpp"

#include <catch2/catch.hpp>

namespace tracewise::math {

TEST_CASE("the last box holds the answer") {
  CHECK(final_answer("first \\boxed{1}, no: \\boxed{2}.") == "2");
  CHECK(final_answer("so \\boxed{\\frac{1}{2}} it is, 3 times") == "\\frac{1}{2}");
  CHECK(final_answer("\\fbox{7}") == "7");
  CHECK(final_answer("\\boxed 5") == "5");
  CHECK(final_answer("$\\boxed{ x = 5 }$") == "x = 5");
  CHECK(final_answer("The answer is 3. \\boxed{4}") == "4");
  CHECK(final_answer("\\boxed{42") == "42");
  CHECK(final_answer("\\boxed{\\{1,2\\}}") == "\\{1,2\\}");
}

TEST_CASE("boxes in a row that only separators part are one list") {
  CHECK(final_answer("$\\boxed{1}$ and $\\boxed{2}$") == "1, 2");
  CHECK(final_answer("\\boxed{1}, \\boxed{2}, and \\boxed{3}") == "1, 2, 3");
  CHECK(final_answer("\\boxed{1} so \\boxed{2}") == "2");
  CHECK(final_answer("\\boxed{1}\n\n\\boxed{2}") == "2");
}

TEST_CASE("without a box the announced answer counts") {
  CHECK(final_answer("I add 3 and 4. The answer is 7.") == "7.");
  CHECK(final_answer("The final answer is $\\frac{3}{4}$. I hope it is correct.") ==
        "$\\frac{3}{4}$");
  CHECK(final_answer("Answer: x = 5") == "x = 5");
  CHECK(final_answer("**Answer:** 12\nThat took 3 steps.") == "12");
  CHECK(final_answer("3 + 4 = 7\n#### 7") == "7");
  CHECK(final_answer("The answer is clearly the number 42 here.") == "42");
  CHECK(final_answer("The answer is:\n$$\\sqrt{2}$$\nas 2 > 1.") == "\\sqrt{2}");
  CHECK(final_answer("the answer is Monday.") == "Monday.");
}

TEST_CASE("else a bare line, the last formula or the last number is the answer") {
  CHECK(final_answer("  (1, 2) ") == "(1, 2)");
  CHECK(final_answer("So we have 3 apples and then 4 pears") == "4");
  CHECK(final_answer("At $0.2 a minute she has earned $10.") == "10");
  CHECK(final_answer("It costs $12 or 1,250.50.") == "1,250.50");
  CHECK(final_answer("Thus $x^2 = 4$ and we are done") == "x^2 = 4");
  CHECK(final_answer("Since $x > 0$ we know it must be -3/4 here") == "-3/4");
  CHECK(final_answer("Nothing to say, really.\nNothing.").empty());
  CHECK(final_answer("").empty());
}

}  // namespace tracewise::math
