#include "transport/transport.hpp"

#include <cstdlib>
#include <new>
#include <tuple>

namespace tracewise {

std::shared_ptr<std::byte[]> WeightsSender::allocate(uint64_t bytes) {
  return allocate_on_heap(bytes);
}

std::shared_ptr<std::byte[]> allocate_on_heap(uint64_t bytes) {
  constexpr uint64_t kAlignment = 64;
  const uint64_t rounded = (bytes / kAlignment + 1) * kAlignment;
  auto* storage = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (storage == nullptr) throw std::bad_alloc();
  return {storage, [](std::byte* p) { std::free(p); }};
}

std::string name_of(const WeightsManifest& manifest) {
  return "weights version " + std::to_string(manifest.version) + " of epoch " +
         std::to_string(manifest.epoch);
}

Error aborted_error(const WeightsManifest& manifest) {
  return {ErrorClass::kCancelled, name_of(manifest) + " was aborted"};
}

bool is_newer(const WeightsManifest& a, const WeightsManifest& b) {
  return std::tie(a.epoch, a.version) > std::tie(b.epoch, b.version);
}

}  // namespace tracewise
