#include "model/buffer_pool.hpp"

#include <ATen/ATen.h>
#include <catch2/catch.hpp>

using namespace tracewise;

namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

at::Tensor bytes(int64_t n) { return at::empty({n}, at::kByte); }

}  // namespace

TEST_CASE(
    "a large buffer is kept for the next tensor of its size, within what was in use at once") {
  pool_large_buffers();
  const uint64_t before = pooled_bytes();
  const void* first = nullptr;
  {
    const at::Tensor a = bytes(32 * kMiB);
    first = a.data_ptr();
  }
  CHECK(pooled_bytes() == before + 32 * kMiB);
  {
    const at::Tensor b = bytes(32 * kMiB - 1);  // rounded up to the same
    CHECK(b.data_ptr() == first);
    CHECK(pooled_bytes() == before);
    const at::Tensor small = bytes(kMiB / 2);
    CHECK(pooled_bytes() == before);
  }
  CHECK(pooled_bytes() == before + 32 * kMiB);
  // Another size takes the kept one's place: 40 MiB in use is the most that there was, and no more
  // than that is held.
  { const at::Tensor c = bytes(40 * kMiB); }
  CHECK(pooled_bytes() <= std::max<uint64_t>(before, 40 * kMiB));
  at::Tensor grown = bytes(2 * kMiB);
  grown.resize_({3 * kMiB});
  CHECK(grown.numel() == 3 * kMiB);
}
