// Large CPU buffers of tensors, kept for the next tensor of their size.
#pragma once

#include <cstdint>

namespace tracewise {

// From now on tensors of 1 MiB and more of this process get memory that others gave back, where
// there is some of their size: a pass makes and drops the same sizes again and again, and memory
// from the system costs about a second a gigabyte to be touched first. Buffers in use and kept ones
// together never take more than those in use once took, but for rounding up by an eighth at most.
// Call it before threads make tensors; later calls do nothing.
void pool_large_buffers();

// Bytes that are kept for later at the moment.
uint64_t pooled_bytes();

}  // namespace tracewise
