// Standard error as a file that can be opened by name, whatever it is: a socket, which sshd gives,
// has a name under which nobody can open it.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "messages/result.hpp"
#include "transport/socket.hpp"

namespace tracewise {

class StderrPipe {
 public:
  // kIo: no descriptors are left.
  [[nodiscard]] static Result<std::unique_ptr<StderrPipe>> open();
  // Passes on what was written before.
  ~StderrPipe();

  std::string path() const;  // for this process alone

 private:
  StderrPipe() = default;
  void copy(const std::stop_token& stop) const;

  Fd in_, out_;
  std::jthread copier_;
};

}  // namespace tracewise
