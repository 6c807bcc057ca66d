// What the learner's first pass over a batch says of the policies that sampled it.
#pragma once

#include <ATen/core/Tensor.h>

namespace tracewise {

// Sums and maxima over tokens, without gradient.
struct FirstPass {
  // kRatio: of exp(first - behaviour). kWeight: of the weights.
  // kGap: of |first - behaviour| in nats; fresh tokens are told apart.
  enum Sum { kTokens, kRatio, kWeight, kWeightSquared, kGap, kFreshTokens, kFreshGap, kSums };
  enum Most { kRatioMax, kGapMax, kFreshGapMax, kMosts };
  double sums[kSums] = {};
  double most[kMosts] = {};

  void add(const FirstPass& other);
};

// All [R] fp32, an entry a response token. first: log-probabilities by the weights that the batch
// found. behaviour: at sampling time. fresh: 1 for tokens whose whole rollout those same weights
// have sampled, else 0. log_weights: log_ratio() of the differences; a weight is its exp(), at most
// importance_cap where that is not 0.
FirstPass first_pass(const at::Tensor& first, const at::Tensor& behaviour, const at::Tensor& fresh,
                     const at::Tensor& log_weights, double importance_cap);

}  // namespace tracewise
