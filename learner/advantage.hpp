// Step advantages of one group of rollouts: step GAE over probed values, made relative to the
// group, on its own or plugged into an outcome advantage. docs/algorithm.md has the formulas'
// sources.
//
// All functions are pure and may be called from any thread. They work in double precision.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tracewise {

enum class AdvantageKind : uint8_t {
  kStepGroup,  // (A_k - mu_g) / (sigma_g + eps)
  kPlugIn,     // A_base + beta * (A_k - mu_g)
  kOutcome,    // A_base for every step; needs no values
};

// The outcome advantage A_base of rollout i; mean and std are the group's, of the penalised
// rewards with their shaping.
enum class OutcomeBase : uint8_t {
  kGrpo,    // (R_i - mean) / (std + 1e-4), std with n - 1 (arXiv 2402.03300)
  kDrGrpo,  // R_i - mean (arXiv 2503.20783)
  kRloo,    // R_i - mean of the others' R (arXiv 2402.14740)
  // REINFORCE++ (arXiv 2501.03262) without and with a group baseline. The finished advantages are
  // whitened over the whole batch's tokens by BatchMoments.
  kReinforcePp,          // R_i
  kReinforcePpBaseline,  // R_i - mean
};

struct AdvantageOptions {
  AdvantageKind kind = AdvantageKind::kPlugIn;
  OutcomeBase base = OutcomeBase::kGrpo;
  double beta = 0.5;          // >= 0; weight of the step part, for kPlugIn
  double gamma = 1.0;         // (0, 1]; discount of a step's value after it
  double lambda = 0.0;        // [0, 1]; 0: one-step gains, 1: outcome minus value
  bool length_aware = false;  // gamma_k from the step's length instead of gamma
  double gamma_min = 0.9;     // (0, 1]; gamma_k of a step of length_ref tokens and above
  double length_ref = 64;     // tokens, > 0
  double eps = 1e-6;          // > 0; beside sigma_g, for kStepGroup
  bool divide_by_std =
      true;  // kGrpo: by the group's std; else by base_scale, the same for all groups
  double base_scale = 0.35;        // > 0; reward units
  double length_penalty = 0;       // c in [0, 1]: A_base sees R * (1 - c * min(1, T / ref)); 0: off
  double length_penalty_ref = 64;  // tokens, > 0

  bool needs_values() const { return kind != AdvantageKind::kOutcome; }
  bool whitens_batch() const {
    return (base == OutcomeBase::kReinforcePp || base == OutcomeBase::kReinforcePpBaseline) &&
           kind != AdvantageKind::kStepGroup;
  }
};

// A rollout as the step algebra sees it. K steps, K >= 0 (0: an empty response).
struct StepRollout {
  double reward = 0;                 // outcome R in [0, 1]
  std::vector<double> values;        // [K] V_0..V_{K-1}; may be empty for kOutcome
  std::vector<int64_t> step_tokens;  // [K] tokens L_1..L_K of the steps
  double shaping = 0;                // S, added to the penalised reward that A_base sees

  int64_t tokens() const;  // T, their sum
};

// [K] gamma_1..gamma_K: options.gamma, or where length_aware
// gamma_k = max(gamma_min, 1 - (L_k / length_ref) * (1 - gamma_min)).
std::vector<double> step_gammas(std::span<const int64_t> step_tokens,
                                const AdvantageOptions& options);

// [K] step GAE:  delta_k = gamma_k * V_k - V_{k-1} for k < K,  delta_K = R - V_{K-1},
// A_k = delta_k + gamma_k * lambda * A_{k+1},  A_{K+1} = 0. `values` and `gammas` have length K.
std::vector<double> step_gae(std::span<const double> values, double reward,
                             std::span<const double> gammas, double lambda);

// R * (1 - c * min(1, tokens / ref)); R itself where c is 0.
double penalised_reward(double reward, int64_t tokens, const AdvantageOptions& options);

// [G] A_base of the given (penalised) rewards, before whitening. A group of one, or of equal
// rewards, gives zeros, but for kReinforcePp.
std::vector<double> outcome_advantages(std::span<const double> rewards,
                                       const AdvantageOptions& options);

// [G][K_i] the advantage of each step. mu_g and sigma_g weigh each rollout that has steps equally:
// mu = mean_i mean_k A_ik, sigma^2 = mean_i mean_k (A_ik - mu)^2. Where options.whitens_batch(),
// before whitening.
std::vector<std::vector<double>> group_advantages(std::span<const StepRollout> group,
                                                  const AdvantageOptions& options);

// Mean and standard deviation of a batch's advantages, each token weighing the same; for
// AdvantageOptions::whitens_batch(). Add in a fixed order for bit-equal results.
class BatchMoments {
 public:
  void add(double advantage, int64_t tokens = 1);
  bool empty() const { return tokens_ == 0; }

  // (advantage - mean) / sqrt(variance + 1e-8), the population's variance. Not where it is
  // empty().
  double whiten(double advantage) const;

 private:
  // Welford's sums: they stay exact to rounding when the mean is large against the deviation.
  double tokens_ = 0;
  double mean_ = 0;
  double squares_ = 0;  // sum of (advantage - mean)^2
};

}  // namespace tracewise
