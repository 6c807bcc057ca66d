// The door of a run in one process: its owner may look into it (tracewise shell), nobody joins it.
#pragma once

#include <filesystem>
#include <memory>

#include "actors/cluster.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Where the door is lies in RUN/secrets for as long as this lives; it outlives the run.
class OperatorDoor {
 public:
  // Makes the run's authority where it has none. kIo.
  [[nodiscard]] static Result<std::unique_ptr<OperatorDoor>> make(const std::filesystem::path& run);
  ~OperatorDoor();
  OperatorDoor(const OperatorDoor&) = delete;
  OperatorDoor& operator=(const OperatorDoor&) = delete;

  // For run_training(): a head without other nodes, with a door on loopback.
  const HeadSetup& setup() const { return setup_; }

 private:
  explicit OperatorDoor(std::filesystem::path run) : run_(std::move(run)) {}

  const std::filesystem::path run_;
  HeadSetup setup_;
};

}  // namespace tracewise
