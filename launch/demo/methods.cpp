#include <algorithm>
#include <cstdio>

#include "launch/demo/demo.hpp"
#include "launch/nearest.hpp"

namespace tracewise::demo {
namespace {

std::vector<Method> last_digit_methods() {
  return {
      {"grpo", "GRPO", "grpo.toml", {}, false},
      {"sspo", "SSPO", "sspo.toml", {}, false},
      {"length_penalty", "GRPO + length penalty", "grpo_length_penalty.toml", {}, true},
      {"shuffled", "SSPO, V shuffled", "sspo.toml", {"advantage.shuffle_values=true"}, true},
      {"lambda_05", "SSPO, lambda 0.5", "sspo.toml", {"advantage.lambda=0.5"}, true},
      {"lambda_1", "SSPO, lambda 1", "sspo.toml", {"advantage.lambda=1"}, true},
      {"gamma_1", "SSPO, gamma 1", "sspo.toml", {"advantage.length_aware=false"}, true},
  };
}

std::vector<Method> jump_methods() {
  const std::vector<std::string> sspo = {"advantage.beta=6", "advantage.gamma_min=0.7"};
  std::vector<std::string> shuffled = sspo;
  shuffled.push_back("advantage.shuffle_values=true");
  return {
      {"grpo", "GRPO", "grpo.toml", {}, false},
      {"sspo", "SSPO", "sspo.toml", sspo, false},
      {"length_penalty",
       "GRPO + length penalty, by std",
       "grpo_length_penalty.toml",
       {"advantage.length_penalty=0.1"},
       true},
      {"length_penalty_no_std",
       "GRPO + length penalty, no std",
       "grpo_length_penalty.toml",
       {"advantage.length_penalty=0.5", "advantage.divide_by_std=false"},
       true},
      {"shuffled", "SSPO, V shuffled", "sspo.toml", shuffled, true},
  };
}

}  // namespace

std::vector<Method> methods_of(const std::string& task) {
  return task == "jump" ? jump_methods() : last_digit_methods();
}

const Outcome* DemoResult::find(const std::string& key) const {
  for (const Outcome& outcome : outcomes)
    if (outcome.key == key) return &outcome;
  return nullptr;
}

Result<std::vector<Method>> choose_methods(const std::vector<Method>& methods,
                                           const std::vector<std::string>& keys, bool all) {
  std::vector<std::string> known;
  for (const Method& method : methods) known.push_back(method.key);
  for (const std::string& key : keys) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_of(key, known);
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    return bad_input("--method " + key + ": the task has " + list +
                     (near.empty() ? "" : "; did you mean " + near + "?"));
  }
  std::vector<Method> chosen;
  for (const Method& method : methods) {
    const bool named = std::find(keys.begin(), keys.end(), method.key) != keys.end();
    if (keys.empty() ? all || !method.control : named) chosen.push_back(method);
  }
  return chosen;
}

std::vector<Claim> check_claims(const DemoResult& result) {
  const Outcome* start = result.find("sft");
  const Outcome* grpo = result.find("grpo");
  const Outcome* sspo = result.find("sspo");
  std::vector<Claim> claims;
  if (start == nullptr || sspo == nullptr) return claims;
  const auto claim = [&claims](const char* format, double value, double bound, bool holds) {
    char line[160];
    std::snprintf(line, sizeof line, format, value, bound);
    claims.push_back({line, holds});
  };
  const bool quick = result.options.quick;
  const EvalResult& s = sspo->final.result;
  const double before = start->final.result.accuracy, gain = quick ? 0.10 : 0.25;
  claim("SSPO learns: accuracy %.3f, at least %.2f above the warm start", s.accuracy, gain,
        s.accuracy >= before + gain);
  if (grpo == nullptr) return claims;
  const EvalResult& g = grpo->final.result;
  const double ratio = quick ? 1.0 : 0.85, loss = quick ? 0.08 : 0.03;
  claim("SSPO is shorter: %.2f of GRPO's tokens, at most %.2f", s.tokens_mean / g.tokens_mean,
        ratio, s.tokens_mean <= ratio * g.tokens_mean);
  claim("SSPO is as accurate: %+.3f against GRPO, at least %+.2f", s.accuracy - g.accuracy, -loss,
        s.accuracy >= g.accuracy - loss);
  return claims;
}

}  // namespace tracewise::demo
