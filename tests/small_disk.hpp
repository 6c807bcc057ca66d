// A disk of a test's own that can be full.
#pragma once

#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>

namespace tracewise {

// Mounted at a folder while it lives; needs root. What is refused is thrown as std::runtime_error.
class SmallDisk {
 public:
  SmallDisk(std::filesystem::path folder, uint64_t bytes) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    mount(bytes, 0);
  }
  ~SmallDisk() { ::umount2(folder_.c_str(), MNT_DETACH); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  void resize(uint64_t bytes) { mount(bytes, MS_REMOUNT); }

 private:
  void mount(uint64_t bytes, unsigned long flags) {
    const std::string size = "size=" + std::to_string(bytes);
    if (::mount("tmpfs", folder_.c_str(), "tmpfs", flags, size.c_str()) != 0)
      throw std::runtime_error(folder_.string() + " cannot be mounted: " + std::strerror(errno));
  }

  std::filesystem::path folder_;
};

}  // namespace tracewise
