#include "model/rope_scaling.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace tracewise {
namespace {

using nlohmann::json;
using Kind = RopeScaling::Kind;

constexpr std::array<std::pair<Kind, const char*>, 5> kKinds = {{{Kind::kNone, "default"},
                                                                 {Kind::kLinear, "linear"},
                                                                 {Kind::kDynamic, "dynamic"},
                                                                 {Kind::kLlama3, "llama3"},
                                                                 {Kind::kYarn, "yarn"}}};
constexpr int64_t kMaxContext = int64_t{1} << 30;

// Peng et al. 2023, section 3.4: sqrt(1/t) = 0.1 ln(s) + 1.
double temperature(double factor, double scale) {
  return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
}

void read_yarn(JsonFields& rope, int64_t max_positions, RopeScaling& scaling) {
  scaling.original_context =
      rope.whole("original_max_position_embeddings", max_positions, 1, kMaxContext);
  scaling.beta_fast = rope.positive("beta_fast", 32.0);
  scaling.beta_slow = rope.positive("beta_slow", 1.0);
  scaling.truncate = rope.flag("truncate", true);
  double factor = temperature(scaling.factor, 1);
  if (rope.has("mscale") && rope.has("mscale_all_dim")) {
    factor = temperature(scaling.factor, rope.positive("mscale", 1.0)) /
             temperature(scaling.factor, rope.positive("mscale_all_dim", 1.0));
  }
  scaling.attention_factor = rope.positive("attention_factor", factor);
}

void read_scaling(JsonFields& rope, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  scaling.factor = rope.positive("factor", {});
  if (!rope.error() && !(scaling.factor >= 1 && scaling.factor <= 1e6)) {
    rope.fail("\"factor\" is " + rope.object()["factor"].dump() +
              ", but must be from 1 to 1000000");
    return;
  }
  const int64_t max_positions = config.max_context;
  const auto scaled = [&](int64_t context) {
    return std::min(kMaxContext,
                    static_cast<int64_t>(static_cast<double>(context) * scaling.factor));
  };
  if (scaling.kind == Kind::kLlama3) {
    scaling.original_context = rope.whole("original_max_position_embeddings", {}, 1, kMaxContext);
    scaling.low_freq_factor = rope.positive("low_freq_factor", {});
    scaling.high_freq_factor = rope.positive("high_freq_factor", {});
    if (!rope.error() && scaling.low_freq_factor >= scaling.high_freq_factor)
      rope.fail("\"low_freq_factor\" must be below \"high_freq_factor\"");
  } else if (scaling.kind == Kind::kYarn) {
    read_yarn(rope, max_positions, scaling);
    config.max_context = std::max(max_positions, scaled(scaling.original_context));
  } else {
    scaling.original_context = max_positions;
    config.max_context = scaled(max_positions);
  }
}

void refuse_partial_rotary(const json& object, JsonFields& fields) {
  const json factor = object.value("partial_rotary_factor", json(1.0));
  if (!factor.is_null() && factor != 1.0) fields.refuse("partial_rotary_factor " + factor.dump());
}

}  // namespace

// transformers 5 moved rope_theta and the scaling into "rope_parameters".
void read_rope(JsonFields& fields, ModelConfig& config) {
  config.rope_theta = fields.positive("rope_theta", 10000.0);
  refuse_partial_rotary(fields.object(), fields);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(key)) continue;
    const json& object = fields.object()[key];
    if (!object.is_object()) {
      fields.fail(std::string("\"") + key + "\" is " + object.dump() + ", but must be an object");
      return;
    }
    const json type = object.value("rope_type", object.value("type", json("default")));
    const auto kind =
        std::ranges::find_if(kKinds, [&](const auto& known) { return type == known.second; });
    if (kind == kKinds.end()) {
      fields.refuse(std::string(key) + " of type " + type.dump());
      return;
    }
    refuse_partial_rotary(object, fields);
    const std::string place = fields.place() + ": " + key;
    JsonFields rope(object, place);
    config.rope_theta = rope.positive("rope_theta", config.rope_theta);
    config.rope_scaling.kind = kind->first;
    if (kind->first != Kind::kNone && config.max_context > 0) read_scaling(rope, config);
    if (rope.error()) fields.fail(rope.error()->message.substr(fields.place().size() + 2));
    if (config.rope_scaling.kind != Kind::kNone) return;
  }
}

json rope_scaling_json(const RopeScaling& scaling) {
  if (scaling.kind == Kind::kNone) return nullptr;
  const auto kind =
      std::ranges::find_if(kKinds, [&](const auto& known) { return known.first == scaling.kind; });
  json object = {{"rope_type", kind->second}, {"factor", scaling.factor}};
  if (scaling.kind == Kind::kLlama3 || scaling.kind == Kind::kYarn)
    object["original_max_position_embeddings"] = scaling.original_context;
  if (scaling.kind == Kind::kLlama3) {
    object["low_freq_factor"] = scaling.low_freq_factor;
    object["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (scaling.kind == Kind::kYarn) {
    object["beta_fast"] = scaling.beta_fast;
    object["beta_slow"] = scaling.beta_slow;
    object["truncate"] = scaling.truncate;
    object["attention_factor"] = scaling.attention_factor;
  }
  return object;
}

int64_t max_position_embeddings(const ModelConfig& config) {
  const Kind kind = config.rope_scaling.kind;
  return kind == Kind::kLinear || kind == Kind::kDynamic ? config.rope_scaling.original_context
                                                         : config.max_context;
}

}  // namespace tracewise
