#include "rollout/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace tracewise {
namespace {

// The smallest set of likeliest tokens that the filters keep, in descending probability.
std::vector<int32_t> kept_tokens(std::span<const float> p, const SamplingParams& params) {
  std::vector<int32_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; };
  size_t kept = order.size();
  if (params.top_k > 0) kept = std::min(kept, static_cast<size_t>(params.top_k));
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(kept), order.end(),
                    likelier);
  order.resize(kept);
  if (params.top_p < 1) {
    double mass = 0, total = 0;
    for (int32_t token : order) total += p[token];
    size_t n = 0;
    while (n < order.size() && mass < params.top_p * total) mass += p[order[n++]];
    order.resize(std::max<size_t>(n, 1));
  }
  if (params.min_p > 0) {
    const float floor = params.min_p * p[order[0]];
    while (order.size() > 1 && p[order.back()] < floor) order.pop_back();
  }
  return order;
}

// Inverse of the cumulative distribution over `tokens`, in their order.
template <class Tokens>
Draw invert(std::span<const float> p, const Tokens& tokens, double u) {
  double mass = 0;
  for (int32_t token : tokens) mass += p[token];
  double below = 0;
  int32_t last = tokens[0];
  for (int32_t token : tokens) {
    if (p[token] <= 0) continue;
    last = token;
    below += p[token];
    if (below > u * mass) break;
  }
  return {last, static_cast<float>(std::log(p[last] / mass))};
}

struct AllTokens {
  int32_t size;
  struct Iterator {
    int32_t token;
    int32_t operator*() const { return token; }
    Iterator& operator++() { return ++token, *this; }
    bool operator!=(const Iterator& other) const { return token != other.token; }
  };
  Iterator begin() const { return {0}; }
  Iterator end() const { return {size}; }
  int32_t operator[](int32_t i) const { return i; }
};

}  // namespace

Draw draw_token(std::span<const float> p, const SamplingParams& params, double u) {
  if (params.temperature == 0) {
    return {static_cast<int32_t>(std::max_element(p.begin(), p.end()) - p.begin()), 0.0f};
  }
  if (params.top_k <= 0 && params.top_p >= 1 && params.min_p <= 0) {
    return invert(p, AllTokens{static_cast<int32_t>(p.size())}, u);
  }
  return invert(p, kept_tokens(p, params), u);
}

Result<void> check_sampling(const SamplingParams& params) {
  const auto refuse = [](const std::string& name, auto value, const std::string& range) {
    return bad_input(name + " is " + std::to_string(value) + "; it must be " + range);
  };
  if (!(params.temperature >= 0)) return refuse("temperature", params.temperature, "0 or more");
  if (params.top_k < 0) return refuse("top_k", params.top_k, "0 (off) or more");
  if (!(params.top_p > 0 && params.top_p <= 1)) return refuse("top_p", params.top_p, "in (0, 1]");
  if (!(params.min_p >= 0 && params.min_p < 1)) return refuse("min_p", params.min_p, "in [0, 1)");
  if (params.max_new_tokens < 1)
    return refuse("max_new_tokens", params.max_new_tokens, "1 or more");
  return {};
}

}  // namespace tracewise
