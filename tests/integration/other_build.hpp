// A second build of the binary, for those who must tell builds apart.
#pragma once

#include "tests/integration/small_task.hpp"

namespace tracewise {

// The build id that the real binary states.
inline std::string own_build() {
  const std::string version = run_tracewise({"--version"}).out;
  return version.substr(version.find("build ") + 6, 40);
}

// A copy of the binary, in the task's folder, whose build id differs in the first byte.
inline std::filesystem::path other_build(const Task& task) {
  const std::string build = own_build();
  std::string id;
  for (size_t i = 0; i < build.size(); i += 2)
    id += static_cast<char>(std::stoi(build.substr(i, 2), nullptr, 16));
  std::string bytes = slurp(TRACEWISE_BINARY);
  const auto at = bytes.find(id);
  REQUIRE(at != std::string::npos);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  const std::filesystem::path file = task / "other";
  REQUIRE(write_file(file, bytes).ok());
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  return file;
}

}  // namespace tracewise
