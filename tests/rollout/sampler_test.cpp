#include <catch2/catch.hpp>
#include <cmath>

#include "rollout/random.hpp"
#include "rollout/sampler.hpp"

using namespace tracewise;

namespace {
const std::vector<float> kP = {0.1f, 0.4f, 0.2f, 0.3f};
}

TEST_CASE("Philox gives the known answers of its authors") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform draws lie in [0, 1), differ by every part of their key and average one half") {
  double total = 0;
  for (uint32_t i = 0; i < 10000; ++i) {
    const double u = uniform(1, {i, 0, 0, 0});
    CHECK((u >= 0 && u < 1));
    total += u;
  }
  CHECK(total / 10000 == Approx(0.5).margin(0.01));
  const double u = uniform(1, {1, 2, 3, 4});
  CHECK(u != uniform(2, {1, 2, 3, 4}));
  CHECK(u != uniform(1, {2, 2, 3, 4}));
  CHECK(u != uniform(1, {1, 3, 3, 4}));
  CHECK(u != uniform(1, {1, 2, 4, 4}));
  CHECK(u != uniform(1, {1, 2, 3, 5}));
}

TEST_CASE("a draw inverts the cumulative distribution") {
  const SamplingParams plain;
  CHECK(draw_token(kP, plain, 0.0).token == 0);
  CHECK(draw_token(kP, plain, 0.09).token == 0);
  CHECK(draw_token(kP, plain, 0.11).token == 1);
  CHECK(draw_token(kP, plain, 0.51).token == 2);
  CHECK(draw_token(kP, plain, 0.999).token == 3);
  CHECK(draw_token(kP, plain, 0.2).logprob == Approx(std::log(0.4)));
}

TEST_CASE("temperature 0 takes the likeliest token") {
  SamplingParams greedy;
  greedy.temperature = 0;
  CHECK(draw_token(kP, greedy, 0.99).token == 1);
  CHECK(draw_token(kP, greedy, 0.99).logprob == 0.0f);
}

TEST_CASE("top-k keeps the k likeliest and renormalises") {
  SamplingParams params;
  params.top_k = 2;  // tokens 1 (0.4) and 3 (0.3): 4/7 and 3/7
  CHECK(draw_token(kP, params, 0.57).token == 1);
  CHECK(draw_token(kP, params, 0.58).token == 3);
  CHECK(draw_token(kP, params, 0.58).logprob == Approx(std::log(3.0 / 7)));
}

TEST_CASE("top-p keeps the smallest set that reaches its mass") {
  SamplingParams params;
  params.top_p = 0.65f;  // 0.4 + 0.3 >= 0.65
  CHECK(draw_token(kP, params, 0.999).token == 3);
  params.top_p = 0.75f;  // needs 0.4 + 0.3 + 0.2
  CHECK(draw_token(kP, params, 0.999).token == 2);
  params.top_p = 0.01f;  // never empty
  CHECK(draw_token(kP, params, 0.999).token == 1);
}

TEST_CASE("min-p drops tokens below its share of the likeliest") {
  SamplingParams params;
  params.min_p = 0.6f;  // floor 0.24: tokens 1 and 3
  CHECK(draw_token(kP, params, 0.999).token == 3);
  CHECK(draw_token(kP, params, 0.3).logprob == Approx(std::log(4.0 / 7)));
}

TEST_CASE("a token of probability 0 is never drawn") {
  const std::vector<float> p = {0, 1, 0};
  for (double u : {0.0, 0.5, 0.9999999}) CHECK(draw_token(p, {}, u).token == 1);
}

TEST_CASE("sampling parameters out of range are refused by name and value") {
  SamplingParams params;
  params.top_p = 1.5f;
  const auto refused = check_sampling(params);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("top_p is 1.5") != std::string::npos);
  CHECK(check_sampling({}).ok());
}
