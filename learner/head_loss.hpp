// Losses over the head, a few rows at a time: no tensor of all rows by the whole vocabulary is
// made, which for a real vocabulary would be larger than everything else together.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "model/decoder.hpp"

namespace tracewise {

// The loss of rows [begin, begin + n), a scalar. logprobs [n] of their targets, in nats, with
// gradient, and of the whole vocabulary, [n, vocab] fp32, without. Called once for each row, in
// order.
using RowsLoss =
    std::function<at::Tensor(int64_t begin, const at::Tensor& logprobs, const at::Tensor& all)>;

// Sum of the rows' losses, whose gradient goes to `hidden` and to the decoder's head as if all rows
// had been there at once; `at_once` of them are. hidden [R, width] as of Decoder::hidden(), targets
// [R] int64; R may be 0.
at::Tensor head_loss(const Decoder& decoder, const at::Tensor& hidden, const at::Tensor& targets,
                     int64_t at_once, const RowsLoss& loss);

}  // namespace tracewise
