// The devices of a node's generators: one each, given back when its engine is gone.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "rollout/engine.hpp"

namespace tracewise {

// Any thread may call.
class DevicePool {
 public:
  using Make = std::function<Result<std::unique_ptr<Engine>>(const std::string& device)>;

  // At least one device.
  explicit DevicePool(std::vector<std::string> devices);

  // An engine on the device with the fewest engines, the first of equals. It counts there until it
  // is destroyed; the pool need not live as long.
  [[nodiscard]] Result<std::unique_ptr<Engine>> make(const Make& make);

 private:
  struct Books {
    std::mutex mutex;
    std::vector<std::string> devices;
    std::vector<int> engines;  // by device
  };
  std::shared_ptr<Books> books_;  // shared with the engines
};

}  // namespace tracewise
