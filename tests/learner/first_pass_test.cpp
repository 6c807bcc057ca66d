#include "learner/first_pass.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

using namespace tracewise;

TEST_CASE("ratios, truncated weights and gaps of a first pass are those worked out by hand") {
  const float half = static_cast<float>(std::log(2.0));
  const at::Tensor first = at::tensor({-1.0f, -2.0f, -3.0f});
  const at::Tensor behaviour = at::tensor({-1.0f, -2.0f - half, -3.0f + half});  // ratios 1, 2, 1/2
  const at::Tensor fresh = at::tensor({1.0f, 1.0f, 0.0f});
  const FirstPass capped = first_pass(first, behaviour, fresh, first - behaviour, 1.5);
  CHECK(capped.sums[FirstPass::kTokens] == 3);
  CHECK(capped.sums[FirstPass::kRatio] == Approx(3.5));
  CHECK(capped.sums[FirstPass::kWeight] == Approx(3));           // 1 + 1.5 + 0.5
  CHECK(capped.sums[FirstPass::kWeightSquared] == Approx(3.5));  // 1 + 2.25 + 0.25
  CHECK(capped.sums[FirstPass::kGap] == Approx(2 * std::log(2.0)));
  CHECK(capped.sums[FirstPass::kFreshTokens] == 2);
  CHECK(capped.sums[FirstPass::kFreshGap] == Approx(std::log(2.0)));
  CHECK(capped.most[FirstPass::kRatioMax] == Approx(2));
  CHECK(capped.most[FirstPass::kGapMax] == Approx(std::log(2.0)));
  CHECK(capped.most[FirstPass::kFreshGapMax] == Approx(std::log(2.0)));
  CHECK(first_pass(first, behaviour, fresh, first - behaviour, 0).sums[FirstPass::kWeightSquared] ==
        Approx(5.25));

  FirstPass both = capped;
  both.add(first_pass(first, first - 2, fresh, at::full({3}, 2.0f), 1.5));
  CHECK(both.sums[FirstPass::kTokens] == 6);
  CHECK(both.sums[FirstPass::kWeight] == Approx(7.5));
  CHECK(both.most[FirstPass::kGapMax] == Approx(2));
  both.add(first_pass(first, first * NAN, fresh, first * NAN, 0));
  CHECK(std::isnan(both.most[FirstPass::kGapMax]));
}
