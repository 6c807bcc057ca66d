// The model and data that the benchmarks share: the demo's, with initial weights.
#pragma once

#include <vector>

#include "bench/bench.hpp"
#include "launch/config.hpp"
#include "launch/demo/task.hpp"
#include "model/model_folder.hpp"

namespace tracewise::bench {

struct Workload {
  demo::TaskFiles files;
  ModelFolder model;
  std::vector<Prompt> prompts;
};

// Written into options.dir at first use. Seeded: the same for every run.
Result<Workload> make_workload(const BenchOptions& options);

// The folder of a model that a short warm start has taught to end its responses; made at first use.
Result<std::filesystem::path> warm_model(const BenchOptions& options, const Workload& workload);

// The demo's config for SSPO on this workload.
Result<Config> sspo_config(const BenchOptions& options, const Workload& workload,
                           std::vector<std::string> sets);

}  // namespace tracewise::bench
