// The model of the golden losses, and tensors against their digests. See
// scripts/make_golden_loss.py.
#pragma once

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "learner/trainer.hpp"
#include "model/model_folder.hpp"

namespace tracewise::testing {

struct GoldenModel {
  ModelConfig config;
  WeightsPtr start;  // of tests/data/models/llama; the reference
  WeightsPtr moved;  // the policy: parameter i moved by 0.01 cos(j + i)
};

inline GoldenModel golden_model(const std::filesystem::path& data) {
  GoldenModel model;
  auto folder = load_model_weights(data / "models" / "llama");
  REQUIRE(folder.ok());
  model.config = folder->config;
  model.start = folder->weights;
  const WeightsManifest& layout = model.start->manifest();
  auto bytes = allocate_weights(layout.bytes);
  std::copy(model.start->bytes().begin(), model.start->bytes().end(), bytes.get());
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    auto* x = reinterpret_cast<float*>(bytes.get() + layout.tensors[i].offset);
    for (uint64_t j = 0; j < layout.tensors[i].bytes / 4; ++j)
      x[j] += static_cast<float>(0.01 * std::cos(static_cast<double>(j + i)));
  }
  model.moved = std::make_shared<Weights>(layout, bytes);
  return model;
}

// A trainer whose policy is `model.moved` and whose reference is `model.start`.
inline std::unique_ptr<Trainer> moved_trainer(const TrainerOptions& options,
                                              const GoldenModel& model,
                                              const std::filesystem::path& dir) {
  auto trainer = make_trainer(options, model.config, model.start);
  REQUIRE(trainer.ok());
  REQUIRE((*trainer)->save_optimizer(dir / "fresh.safetensors").ok());
  REQUIRE((*trainer)->restore(model.moved, dir / "fresh.safetensors").ok());
  return std::move(*trainer);
}

inline std::array<double, 3> digest(const float* x, uint64_t n) {
  std::array<double, 3> d = {0, 0, 0};
  for (uint64_t j = 0; j < n; ++j) {
    d[0] += x[j];
    d[1] += std::abs(x[j]);
    d[2] += x[j] * std::cos(static_cast<double>(j));
  }
  return d;
}

// Compares each tensor of a flat fp32 buffer with its golden digest.
inline void check_digests(const WeightsManifest& layout, const std::byte* flat,
                          const nlohmann::json& golden, double tolerance) {
  for (const TensorEntry& entry : layout.tensors) {
    INFO(entry.name);
    std::vector<float> values(entry.bytes / 4);
    std::memcpy(values.data(), flat + entry.offset, entry.bytes);
    const auto got = digest(values.data(), values.size());
    const auto want = golden.at(entry.name).get<std::array<double, 3>>();
    for (int i = 0; i < 3; ++i) CHECK(std::abs(got[i] - want[i]) < tolerance * (1 + want[1]));
  }
}

inline double metric(const TrainReport& report, const std::string& name) {
  for (const Metric& m : report.metrics)
    if (m.name == name) return m.value;
  FAIL("no metric " << name);
  return 0;
}

inline bool has_metric(const TrainReport& report, const std::string& name) {
  return std::any_of(report.metrics.begin(), report.metrics.end(),
                     [&](const Metric& m) { return m.name == name; });
}

}  // namespace tracewise::testing
