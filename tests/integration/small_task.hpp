// Small runs of the real binary on a made-up task.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "launch/demo/task.hpp"
#include "model/file_io.hpp"
#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {

using Words = std::vector<std::string>;

inline const std::filesystem::path kConfigs = TRACEWISE_CONFIGS;

// A task's files, and runs on them.
class Task {
 public:
  Task() {
    const auto task = demo::make_task("last-digit");
    auto files = demo::write_task_files(**task, dir_ / "data", 7, {200, 64, 8, 8});
    REQUIRE(files.ok());
    files_ = *files;
  }

  std::filesystem::path operator/(const std::string& name) const { return dir_ / name; }
  const demo::TaskFiles& files() const { return files_; }

  // The words of a small synchronous SSPO run in folder `name`.
  Words train(const std::string& name, const Words& sets = {}) const {
    Words words = {TRACEWISE_BINARY,       "train",    "--config",
                   kConfigs / "demo.toml", "--config", kConfigs / "sspo.toml"};
    Words all = {"model.dir=" + files_.model.string(),
                 "data.prompts=" + files_.prompts.string(),
                 "run.dir=" + (dir_ / name).string(),
                 "run.steps=6",
                 "run.groups_per_batch=4",
                 "run.group_size=4",
                 "sampling.max_new_tokens=24",
                 "advantage.uniform_groups=keep",
                 "checkpoint.every_steps=1",
                 "trainer.threads=1"};
    all.insert(all.end(), sets.begin(), sets.end());
    for (const std::string& set : all) words.insert(words.end(), {"--set", set});
    return words;
  }

  std::string weights(const std::string& name, int step = 6) const {
    const std::filesystem::path file =
        dir_ / name / "checkpoints" / ("step-" + std::to_string(step)) / "model/model.safetensors";
    auto bytes = read_file(file, 1 << 24);
    REQUIRE(bytes.ok());
    return *bytes;
  }

  int run(const std::string& name, const Words& words) const {
    Process process(words, dir_ / name);
    const int code = process.wait();
    err_ = process.err();
    return code;
  }
  const std::string& err() const { return err_; }

 private:
  TempDir dir_;
  demo::TaskFiles files_;
  mutable std::string err_;
};

inline bool wait_until(const std::function<bool()>& condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace tracewise
