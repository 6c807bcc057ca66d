// SmolLM2-135M-Instruct and prompts for it, which the benchmarks of a real model share.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/bench.hpp"

namespace tracewise::bench {

struct RealWorkload {
  std::filesystem::path model;         // Hugging Face folder, bf16
  std::filesystem::path source_gguf;   // what the folder was made from; for llama.cpp alone
  std::filesystem::path prompts_file;  // {"prompt", "answer"}
  std::vector<std::string> prompts;    // 32, of 17 to 20 tokens
};

// The folder is made at first use (scripts/get_smollm2).
Result<RealWorkload> make_real_workload(const BenchOptions& options);

}  // namespace tracewise::bench
