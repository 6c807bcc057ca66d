#include "launch/launch_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "actors/run_folder.hpp"
#include "transport/secret_file.hpp"

namespace tracewise {
namespace fs = std::filesystem;
namespace {

constexpr int kAuthorityDays = 3650;  // a run may be resumed after long

Error os_error(const fs::path& path, const char* what, int code) {
  return io_error(path.string() + ": " + what + ": " + std::strerror(code));
}

Result<Fd> take_lock(const fs::path& root) {
  const fs::path file = root / "launch.lock";
  Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return os_error(file, "cannot be opened", errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    const bool known = errno == EWOULDBLOCK && ::pread(fd.get(), pid, sizeof pid - 1, 0) > 0;
    return bad_input(root.string() + ": another launch uses the run folder, process " +
                     (known ? pid : "(unknown)"));
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return os_error(file, "cannot be written", errno);
  }
  return fd;
}

// Whether a run is there as it should be, and nobody else has it.
Result<void> check_run(const fs::path& root, bool resume) {
  std::error_code failure;
  const bool there = fs::exists(root / "run.db", failure);
  if (there && !resume) {
    return bad_input(root.string() +
                     ": the folder already holds a run; resume it or choose another folder");
  }
  if (resume) TW_TRY(RunFolder::open(root));
  return {};
}

fs::path head_file(const fs::path& root) { return root / "secrets" / "head"; }

}  // namespace

fs::path authority_file(const fs::path& root) { return root / "secrets" / "authority"; }

Result<RunAuthority> open_authority(const fs::path& root) {
  const fs::path file = authority_file(root);
  const fs::path dir = file.parent_path();
  std::error_code failure;
  if (fs::exists(file, failure)) return RunAuthority::read(file);
  fs::create_directories(dir, failure);
  if (!failure) fs::permissions(dir, fs::perms::owner_all, failure);
  if (failure) return os_error(dir, "cannot be made", failure.value());
  TW_ASSIGN(RunAuthority authority, RunAuthority::create(kAuthorityDays));
  TW_TRY(authority.write(file));
  return authority;
}

Result<HeadAddress> read_head_address(const fs::path& root) {
  const auto text = read_secret_file(head_file(root));
  if (!text.ok()) return bad_input(root.string() + ": nobody runs it now");
  TW_ASSIGN(const NodeOrder order, order_from_line(*text));
  if (!order.head) return corrupt(head_file(root).string() + " has no address");
  return *order.head;
}

Result<void> write_head_address(const fs::path& root, const HeadAddress& head) {
  return write_secret_file(head_file(root), to_line(NodeOrder{head, false}));
}

void forget_head_address(const fs::path& root) {
  std::error_code ignored;
  fs::remove(head_file(root), ignored);
}

Result<std::unique_ptr<LaunchFolder>> LaunchFolder::open(const fs::path& root, bool resume) {
  std::error_code failure;
  const bool made = !fs::exists(root, failure);
  if (made && resume) return bad_input(root.string() + ": there is no such run folder");
  fs::create_directories(root / "logs", failure);
  if (failure) return os_error(root, "cannot be made", failure.value());
  TW_ASSIGN(Fd lock, take_lock(root));
  TW_TRY(check_run(root, resume));
  TW_ASSIGN(RunAuthority authority, open_authority(root));
  return std::unique_ptr<LaunchFolder>(
      new LaunchFolder(root, std::move(lock), std::move(authority), made));
}

LaunchFolder::~LaunchFolder() { forget_head_address(root_); }

bool LaunchFolder::has_run() const {
  std::error_code failure;
  return fs::exists(root_ / "run.db", failure);
}

void LaunchFolder::log(const std::string& node, const std::string& line) {
  std::ofstream& log = logs_[node];
  if (!log.is_open()) log.open(root_ / "logs" / (node + ".log"), std::ios::app);
  log << node << ": " << line << '\n' << std::flush;
}

void LaunchFolder::remove_unused() {
  if (!made_ || has_run()) return;
  logs_.clear();
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

}  // namespace tracewise
