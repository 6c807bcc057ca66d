// The run folder as its launcher uses it, beside what actors/run_folder.hpp has there:
//
//   launch.lock          held with flock; holds the pid of the launcher
//   logs/NODE.log        what a node's process wrote, each line behind the node's name
//   logs/launch.log      what the launcher had to say
//   secrets/authority    the run's authority (mode 0700 and 0600), so that a run that is resumed
//                        goes on with the same one
//   secrets/head           where the head is, while somebody runs it
//
// The secrets are there of a run in one process, too (operator_door.hpp). Whoever can read the
// secrets can join the run, ask who is there and drain nodes.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "launch/envelope.hpp"
#include "messages/result.hpp"
#include "transport/identity.hpp"
#include "transport/socket.hpp"

namespace tracewise {

std::filesystem::path authority_file(const std::filesystem::path& root);

// The run's authority, made where there is none. kIo, kCorrupt.
[[nodiscard]] Result<RunAuthority> open_authority(const std::filesystem::path& root);

// Where the head of the run in `root` is. kBadInput: nobody runs it now.
[[nodiscard]] Result<HeadAddress> read_head_address(const std::filesystem::path& root);
[[nodiscard]] Result<void> write_head_address(const std::filesystem::path& root,
                                              const HeadAddress& head);
void forget_head_address(const std::filesystem::path& root);

// One thread uses it.
class LaunchFolder {
 public:
  // Makes or, to resume, opens the folder and locks it. kBadInput: another launcher or process uses
  // it, it holds a run but is not to be resumed, or the other way round.
  [[nodiscard]] static Result<std::unique_ptr<LaunchFolder>> open(const std::filesystem::path& root,
                                                                  bool resume);

  const std::filesystem::path& root() const { return root_; }
  const RunAuthority& authority() const { return authority_; }
  bool has_run() const;  // a head has begun it

  // Says where the head is, until the folder is let go.
  [[nodiscard]] Result<void> note_head(const HeadAddress& head) {
    return write_head_address(root_, head);
  }

  // Appends a line to logs/NODE.log. A disk that refuses is not worth a run.
  void log(const std::string& node, const std::string& line);

  ~LaunchFolder();
  LaunchFolder(const LaunchFolder&) = delete;
  LaunchFolder& operator=(const LaunchFolder&) = delete;

  // Removes the folder if this object made it and no run has begun in it.
  void remove_unused();

 private:
  LaunchFolder(std::filesystem::path root, Fd lock, RunAuthority authority, bool made)
      : root_(std::move(root)),
        lock_(std::move(lock)),
        authority_(std::move(authority)),
        made_(made) {}

  const std::filesystem::path root_;
  const Fd lock_;
  const RunAuthority authority_;
  const bool made_;
  std::map<std::string, std::ofstream> logs_;
};

}  // namespace tracewise
