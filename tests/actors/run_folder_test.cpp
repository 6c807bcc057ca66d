#include "actors/run_folder.hpp"

#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "model/file_io.hpp"
#include "tests/file_size_limit.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {
namespace fs = std::filesystem;

CheckpointState state_of(uint64_t step) {
  CheckpointState s;
  s.step = step;
  s.version = step;
  s.next_group = 32 * step;
  s.train_seconds = 0.5 * static_cast<double>(step);
  s.seed = 0xffffffffffffffffu;
  s.best_metric = 0.75;
  s.best_step = step;
  s.batches = {{step, {{32 * step - 1, 0}, {32 * step, 2}}}};
  return s;
}

// Parts that stand for a model of `bytes` bytes and its optimizer.
auto parts(size_t bytes) {
  return [bytes](const fs::path& dir) -> Result<void> {
    std::error_code failure;
    fs::create_directories(dir / "model", failure);
    TW_TRY(write_file(dir / "model" / "model.safetensors", std::string(bytes, 'w')));
    return write_file(dir / "optimizer.safetensors", "adam");
  };
}

std::vector<std::string> entries(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST_CASE("a run folder has its config and is not made twice") {
  TempDir dir;
  const fs::path root = dir.path() / "run";
  {
    auto folder = RunFolder::create(root, "seed = 3\n").value();
    CHECK(read_file(folder->config(), 1 << 20).value() == "seed = 3\n");
    std::ofstream(folder->database()) << "";
  }
  const auto again = RunFolder::create(root, "");
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().error_class == ErrorClass::kBadInput);
  CHECK(again.error().message.find("already holds a run") != std::string::npos);
  CHECK(RunFolder::open(root).ok());
  CHECK(RunFolder::open(dir.path()).error().error_class == ErrorClass::kBadInput);
}

TEST_CASE("a run folder in use by another process is refused and the process named") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  std::ofstream(folder->database()) << "";
  const pid_t child = ::fork();
  if (child == 0) {
    const auto taken = RunFolder::open(dir.path());
    const std::string wanted = "in use by process " + std::to_string(::getppid());
    const bool named = !taken.ok() && taken.error().error_class == ErrorClass::kBadInput &&
                       taken.error().message.find(wanted) != std::string::npos;
    ::_exit(named ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  folder.reset();
  CHECK(RunFolder::open(dir.path()).ok());
}

TEST_CASE("a checkpoint comes back with its state and the newest one is found") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  CHECK_FALSE(folder->newest_checkpoint(nullptr).value().has_value());
  REQUIRE(folder->write_checkpoint(state_of(9), parts(10)).ok());
  REQUIRE(folder->write_checkpoint(state_of(10), parts(10)).ok());
  const auto newest = folder->newest_checkpoint(nullptr).value();
  REQUIRE(newest.has_value());
  CHECK(newest->dir.filename() == "step-10");
  CHECK(newest->state.step == 10);
  CHECK(newest->state.next_group == 320);
  CHECK(newest->state.train_seconds == 5.0);
  CHECK(newest->state.seed == 0xffffffffffffffffu);
  REQUIRE(newest->state.batches.size() == 1);
  CHECK(newest->state.batches[0].groups == std::vector<GroupKey>{{319, 0}, {320, 2}});
  CHECK(fs::exists(newest->dir / "model/model.safetensors"));
  CHECK(fs::exists(newest->optimizer()));
}

TEST_CASE("a checkpoint with a missing or shortened file is passed over for the one before") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  for (const uint64_t step : {1, 2, 3}) {
    REQUIRE(folder->write_checkpoint(state_of(step), parts(100)).ok());
  }
  fs::remove(folder->checkpoints() / "step-3/state.json");
  fs::resize_file(folder->checkpoints() / "step-2/model/model.safetensors", 99);
  fs::create_directory(folder->checkpoints() / "step-4.tmp");  // a crash half-way
  std::vector<std::string> skipped;
  CHECK(folder->newest_checkpoint(&skipped).value()->state.step == 1);
  REQUIRE(skipped.size() == 2);
  CHECK(skipped[1].find("has 99 bytes, but") != std::string::npos);
}

TEST_CASE("pruning keeps the last, the best and nothing half-written") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  for (const uint64_t step : {1, 2, 3, 4, 10}) {
    REQUIRE(folder->write_checkpoint(state_of(step), parts(1)).ok());
  }
  fs::create_directory(folder->checkpoints() / "step-5.tmp");
  REQUIRE(folder->mark_best(3).ok());
  REQUIRE(folder->mark_best(2).ok());
  REQUIRE(folder->prune(2, true).ok());
  CHECK(entries(folder->checkpoints()) ==
        std::vector<std::string>{"best", "step-10", "step-2", "step-4"});
  CHECK(fs::exists(folder->checkpoints() / "best/model/model.safetensors"));
  REQUIRE(folder->prune(1, false).ok());
  CHECK(fs::exists(folder->checkpoints() / "step-10"));
  CHECK_FALSE(fs::exists(folder->checkpoints() / "step-2"));
}

TEST_CASE("a checkpoint of a step that is there already replaces it") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  REQUIRE(folder->write_checkpoint(state_of(3), parts(10)).ok());
  REQUIRE(folder->write_checkpoint(state_of(3), parts(20)).ok());
  CHECK(entries(folder->checkpoints()) == std::vector<std::string>{"step-3"});
  CHECK(fs::file_size(folder->checkpoints() / "step-3/model/model.safetensors") == 20);
}

TEST_CASE("parts that fail leave no checkpoint and keep the one before") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  REQUIRE(folder->write_checkpoint(state_of(1), parts(10)).ok());
  const auto failed = folder->write_checkpoint(state_of(2), [](const fs::path&) -> Result<void> {
    return io_error("the model's disk left");
  });
  CHECK(failed.error().message == "the model's disk left");
  CHECK(entries(folder->checkpoints()) == std::vector<std::string>{"step-1"});
}

// A tmpfs of 256 kB on `dir` or, where mounting is refused, a limit on the size of each file.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& dir) : dir_(dir) {
    mounted_ = ::mount("tmpfs", dir.c_str(), "tmpfs", 0, "size=256k") == 0;
    if (!mounted_) limit_.emplace(150'000);
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(dir_.c_str(), MNT_DETACH);  // whoever still has a file open in it
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  const char* complaint() const { return mounted_ ? "No space left on device" : "File too large"; }

 private:
  fs::path dir_;
  bool mounted_ = false;
  std::optional<FileSizeLimit> limit_;
};

TEST_CASE("a full disk while checkpointing is one clear error and leaves nothing half-written") {
  TempDir dir;
  const SmallDisk disk(dir.path());
  auto folder = RunFolder::create(dir.path() / "run", "").value();
  REQUIRE(folder->write_checkpoint(state_of(1), parts(100'000)).ok());
  const auto failed = folder->write_checkpoint(state_of(2), parts(200'000));
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().error_class == ErrorClass::kIo);
  CHECK(failed.error().message.find(disk.complaint()) != std::string::npos);
  CHECK(entries(folder->checkpoints()) == std::vector<std::string>{"step-1"});
  CHECK(folder->newest_checkpoint(nullptr).value()->state.step == 1);
  CHECK(folder->write_checkpoint(state_of(2), parts(1000)).ok());
}

}  // namespace
}  // namespace tracewise
