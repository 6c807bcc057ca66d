#include "actors/eval_outputs.hpp"

#include <charconv>
#include <iterator>
#include <map>
#include <string>
#include <system_error>

namespace tracewise {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-", kSuffix = ".jsonl";

Error os_error(const fs::path& path, const char* what, const std::error_code& failure) {
  return io_error(path.string() + " " + what + ": " + failure.message());
}

// By step; other files are the user's.
Result<std::map<uint64_t, fs::path>> list(const fs::path& dir) {
  std::map<uint64_t, fs::path> found;
  std::error_code failure;
  if (!fs::exists(dir, failure) && !failure) return found;
  for (fs::directory_iterator it(dir, failure), end; !failure && it != end; it.increment(failure)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const char* last = name.data() + name.size() - kSuffix.size();
    uint64_t step = 0;
    const auto read = std::from_chars(name.data() + kPrefix.size(), last, step);
    if (read.ec == std::errc() && read.ptr == last) found[step] = it->path();
  }
  if (failure) return os_error(dir, "cannot be listed", failure);
  return found;
}

Result<void> remove_file(const fs::path& file) {
  std::error_code failure;
  fs::remove(file, failure);
  return failure ? Result<void>(os_error(file, "cannot be removed", failure)) : Result<void>();
}

}  // namespace

Result<void> EvalOutputs::save(const EvalResult& result, std::span<const TracedRollout> rollouts,
                               uint64_t best_step) {
  if (!save_ || keep_ == 0) return {};
  std::error_code failure;
  fs::create_directories(dir_, failure);
  if (failure) return os_error(dir_, "cannot be made", failure);
  TW_TRY(save_(dir_ / (std::string(kPrefix) + std::to_string(result.step) + std::string(kSuffix)),
               result, rollouts));
  TW_ASSIGN(auto old, list(dir_));
  for (uint64_t kept = 0; kept < keep_ && !old.empty(); ++kept) old.erase(std::prev(old.end()));
  old.erase(best_step);
  for (const auto& [step, file] : old) TW_TRY(remove_file(file));
  return {};
}

Result<void> EvalOutputs::forget_after(uint64_t step) {
  TW_ASSIGN(const auto found, list(dir_));
  for (auto it = found.upper_bound(step); it != found.end(); ++it) TW_TRY(remove_file(it->second));
  return {};
}

}  // namespace tracewise
