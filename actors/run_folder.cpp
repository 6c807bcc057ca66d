#include "actors/run_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "model/file_io.hpp"

namespace tracewise {
namespace fs = std::filesystem;
using nlohmann::json;
namespace {

constexpr const char* kStateFile = "state.json";
constexpr uint64_t kMaxStateBytes = uint64_t{1} << 30;

Error os_error(const fs::path& path, const char* what, int code) {
  return io_error(path.string() + ": " + what + ": " + std::strerror(code));
}

// Takes the lock, or names who has it.
Result<int> take_lock(const fs::path& root) {
  const fs::path file = root / "lock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return os_error(file, "cannot be opened", errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    char pid[32] = {};
    const ssize_t got = ::pread(fd, pid, sizeof pid - 1, 0);
    ::close(fd);
    if (code != EWOULDBLOCK) return os_error(file, "cannot be locked", code);
    return bad_input(root.string() + ": the run folder is in use by process " +
                     (got > 0 ? std::string(pid, static_cast<size_t>(got)) : "(unknown)"));
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    const int code = errno;
    ::close(fd);
    return os_error(file, "cannot be written", code);
  }
  return fd;
}

// N of "step-N", or nothing for any other name.
std::optional<uint64_t> step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (name.rfind(kPrefix, 0) != 0) return {};
  uint64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, failure] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (failure != std::errc() || stop != end) return {};
  return step;
}

// Checkpoints by step, ascending, without what is half-written.
Result<std::map<uint64_t, fs::path>> list_checkpoints(const fs::path& dir) {
  std::map<uint64_t, fs::path> found;
  std::error_code failure;
  for (fs::directory_iterator it(dir, failure), end; !failure && it != end; it.increment(failure)) {
    if (const auto step = step_of(it->path().filename().string())) found[*step] = it->path();
  }
  if (failure) return os_error(dir, "cannot be listed", failure.value());
  return found;
}

// Sizes of all files of a checkpoint by relative path.
Result<std::map<std::string, uint64_t>> file_sizes(const fs::path& dir) {
  std::map<std::string, uint64_t> sizes;
  std::error_code failure;
  fs::recursive_directory_iterator it(dir, failure);
  for (; !failure && it != fs::recursive_directory_iterator(); it.increment(failure)) {
    if (!it->is_regular_file(failure)) continue;
    sizes[it->path().lexically_relative(dir).generic_string()] = it->file_size(failure);
  }
  if (failure) return os_error(dir, "cannot be listed", failure.value());
  return sizes;
}

json to_json(const CheckpointState& s, const std::map<std::string, uint64_t>& files) {
  json batches = json::array();
  for (const TrainedBatch& batch : s.batches) {
    json groups = json::array();
    for (const GroupKey& key : batch.groups) groups.push_back({key.group, key.attempt});
    batches.push_back({{"step", batch.step}, {"groups", groups}});
  }
  return {{"step", s.step},
          {"version", s.version},
          {"next_group", s.next_group},
          {"train_seconds", s.train_seconds},
          {"seed", s.seed},
          {"best_metric", s.best_metric},
          {"best_step", s.best_step},
          {"last_eval_step", s.last_eval_step},
          {"last_eval_seconds", s.last_eval_seconds},
          {"batches", batches},
          {"files", files}};
}

// Throws nlohmann::json::exception where the text does not have this shape.
CheckpointState from_json(const json& j) {
  CheckpointState s;
  s.step = j.at("step");
  s.version = j.at("version");
  s.next_group = j.at("next_group");
  s.train_seconds = j.at("train_seconds");
  s.seed = j.at("seed");
  s.best_metric = j.at("best_metric");
  s.best_step = j.at("best_step");
  s.last_eval_step = j.at("last_eval_step");
  s.last_eval_seconds = j.at("last_eval_seconds");
  for (const json& b : j.at("batches")) {
    TrainedBatch& batch = s.batches.emplace_back();
    batch.step = b.at("step");
    for (const json& key : b.at("groups")) batch.groups.push_back({key.at(0), key.at(1)});
  }
  return s;
}

// Forces a file's contents, or a folder's entries, to the disk.
Result<void> sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return os_error(path, "cannot be opened", errno);
  const int failure = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (failure != 0) return os_error(path, "cannot be forced to the disk", failure);
  return {};
}

// The parts may come from anybody's writer: everything is forced to the disk before the rename.
Result<void> sync_tree(const fs::path& dir) {
  std::error_code failure;
  fs::recursive_directory_iterator it(dir, failure);
  for (; !failure && it != fs::recursive_directory_iterator(); it.increment(failure)) {
    if (it->is_regular_file(failure) || it->is_directory(failure)) TW_TRY(sync_path(it->path()));
  }
  if (failure) return os_error(dir, "cannot be listed", failure.value());
  return sync_path(dir);
}

Result<void> fill_checkpoint(const fs::path& dir, const CheckpointState& state,
                             const std::function<Result<void>(const fs::path&)>& write_parts) {
  std::error_code failure;
  fs::create_directories(dir, failure);
  if (failure) return os_error(dir, "cannot be made", failure.value());
  TW_TRY(write_parts(dir));
  TW_ASSIGN(const auto files, file_sizes(dir));
  TW_TRY(write_file(dir / kStateFile, to_json(state, files).dump(1) + "\n"));
  return sync_tree(dir);
}

// Puts `beside` in the place of `dir`. A checkpoint of the same step, left by a run that was
// resumed from an older one, makes room first.
Result<void> move_into_place(const fs::path& beside, const fs::path& dir) {
  std::error_code failure;
  fs::path old = dir;
  old += ".old";
  fs::remove_all(old, failure);
  failure.clear();
  if (fs::exists(dir, failure)) fs::rename(dir, old, failure);
  if (!failure) fs::rename(beside, dir, failure);
  if (failure) return os_error(dir, "cannot be renamed into place", failure.value());
  fs::remove_all(old, failure);
  if (failure) return os_error(old, "cannot be removed", failure.value());
  return sync_directory(dir.parent_path());
}

}  // namespace

Result<std::unique_ptr<RunFolder>> RunFolder::create(const fs::path& root,
                                                     const std::string& config_toml) {
  std::error_code failure;
  fs::create_directories(root, failure);
  if (failure) return os_error(root, "cannot be made", failure.value());
  TW_ASSIGN(const int lock, take_lock(root));
  std::unique_ptr<RunFolder> folder(new RunFolder(root, lock));
  if (fs::exists(folder->database(), failure)) {
    return bad_input(root.string() +
                     ": the folder already holds a run; resume it or choose another folder");
  }
  for (const fs::path& dir : {folder->checkpoints(), folder->logs()}) {
    fs::create_directories(dir, failure);
    if (failure) return os_error(dir, "cannot be made", failure.value());
  }
  TW_TRY(write_file(folder->config(), config_toml));
  return folder;
}

Result<std::unique_ptr<RunFolder>> RunFolder::open(const fs::path& root) {
  std::error_code failure;
  if (!fs::exists(root / "run.db", failure)) {
    return bad_input(root.string() + ": the folder holds no run (run.db is missing)");
  }
  TW_ASSIGN(const int lock, take_lock(root));
  std::unique_ptr<RunFolder> folder(new RunFolder(root, lock));
  for (const fs::path& dir : {folder->checkpoints(), folder->logs()}) {
    fs::create_directories(dir, failure);
    if (failure) return os_error(dir, "cannot be made", failure.value());
  }
  return folder;
}

Result<void> RunFolder::remove(const fs::path& root) {
  std::error_code failure;
  if (!fs::exists(root / "run.db", failure)) return {};
  TW_ASSIGN(const auto folder, open(root));
  fs::remove_all(root, failure);
  if (failure) return os_error(root, "cannot be removed", failure.value());
  return {};
}

RunFolder::~RunFolder() { ::close(lock_); }  // gives the flock back

Result<Checkpoint> RunFolder::write_checkpoint(
    const CheckpointState& state, const std::function<Result<void>(const fs::path&)>& write_parts) {
  const fs::path dir = checkpoints() / ("step-" + std::to_string(state.step));
  fs::path beside = dir;
  beside += ".tmp";
  std::error_code failure;
  fs::remove_all(beside, failure);
  Result<void> done = fill_checkpoint(beside, state, write_parts);
  if (done.ok()) done = move_into_place(beside, dir);
  if (!done.ok()) {
    fs::remove_all(beside, failure);  // a second failure adds nothing to the first
    return done.error();
  }
  return Checkpoint{dir, state};
}

Result<std::optional<Checkpoint>> RunFolder::newest_checkpoint(
    std::vector<std::string>* skipped) const {
  TW_ASSIGN(const auto found, list_checkpoints(checkpoints()));
  for (auto it = found.rbegin(); it != found.rend(); ++it) {
    Result<Checkpoint> checkpoint = read_checkpoint(it->second);
    if (checkpoint.ok()) return std::optional<Checkpoint>(std::move(checkpoint).value());
    if (skipped != nullptr) skipped->push_back(checkpoint.error().message);
  }
  return std::optional<Checkpoint>();
}

Result<void> RunFolder::set_aside_after(uint64_t step) {
  TW_ASSIGN(auto found, list_checkpoints(checkpoints()));
  found.erase(found.begin(), found.upper_bound(step));
  for (const auto& [later, dir] : found) {
    fs::path aside = dir;
    aside += ".broken";
    std::error_code failure;
    fs::remove_all(aside, failure);  // of an earlier resume
    if (!failure) fs::rename(dir, aside, failure);
    if (failure) return os_error(dir, "cannot be set aside", failure.value());
  }
  return found.empty() ? Result<void>() : sync_directory(checkpoints());
}

Result<void> RunFolder::mark_best(uint64_t step) {
  const fs::path link = checkpoints() / "best";
  const fs::path beside = checkpoints() / "best.tmp";
  std::error_code failure;
  fs::remove(beside, failure);
  fs::create_directory_symlink("step-" + std::to_string(step), beside, failure);
  if (!failure) fs::rename(beside, link, failure);
  if (failure) return os_error(link, "cannot be made", failure.value());
  return sync_directory(checkpoints());
}

Result<void> RunFolder::prune(uint64_t keep_last, bool keep_best) {
  std::error_code failure;
  std::string best;
  if (keep_best) best = fs::read_symlink(checkpoints() / "best", failure).string();
  TW_ASSIGN(auto found, list_checkpoints(checkpoints()));
  for (uint64_t kept = 0; kept < keep_last && !found.empty(); ++kept) {
    found.erase(std::prev(found.end()));
  }
  std::vector<fs::path> doomed;
  for (const auto& [step, dir] : found) {
    if (dir.filename().string() != best) doomed.push_back(dir);
  }
  failure.clear();
  for (fs::directory_iterator it(checkpoints(), failure), end; !failure && it != end;
       it.increment(failure)) {
    const std::string extension = it->path().extension().string();
    if (it->is_directory(failure) && (extension == ".tmp" || extension == ".old")) {
      doomed.push_back(it->path());
    }
  }
  if (failure) return os_error(checkpoints(), "cannot be listed", failure.value());
  for (const fs::path& dir : doomed) {
    fs::remove_all(dir, failure);
    if (failure) return os_error(dir, "cannot be removed", failure.value());
  }
  return {};
}

Result<Checkpoint> read_checkpoint(const fs::path& dir) {
  const fs::path file = dir / kStateFile;
  TW_ASSIGN(const std::string text, read_file(file, kMaxStateBytes));
  Checkpoint checkpoint{dir, {}};
  std::map<std::string, uint64_t> files;
  try {
    const json parsed = json::parse(text);
    checkpoint.state = from_json(parsed);
    files = parsed.at("files").get<std::map<std::string, uint64_t>>();
  } catch (const json::exception& failure) {
    return corrupt(file.string() + ": " + failure.what());
  }
  for (const auto& [name, bytes] : files) {
    std::error_code failure;
    const uint64_t there = fs::file_size(dir / name, failure);
    if (failure) return corrupt((dir / name).string() + ": " + failure.message());
    if (there != bytes) {
      return corrupt((dir / name).string() + ": has " + std::to_string(there) + " bytes, but " +
                     file.string() + " says " + std::to_string(bytes));
    }
  }
  return checkpoint;
}

}  // namespace tracewise
