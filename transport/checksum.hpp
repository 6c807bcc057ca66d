// xxh3-64, the checksum of weights and of their chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace tracewise {

uint64_t xxh3(std::span<const std::byte> bytes);

// The same over bytes that come piece by piece. Not thread-safe.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  void add(std::span<const std::byte> bytes);
  uint64_t sum() const;  // of all that was added

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tracewise
