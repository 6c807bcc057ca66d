#include "learner/gradient_exchange.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace tracewise {

GradientBuckets::GradientBuckets(int64_t elements, int64_t bucket_elements) {
  for (int64_t end = elements; end > 0; end -= bucket_elements)
    buckets_.push_back({std::max<int64_t>(0, end - bucket_elements), end, 0});
  reset();
}

void GradientBuckets::reset() {
  for (Bucket& b : buckets_) b.missing = b.end - b.begin;
}

void GradientBuckets::finish(int64_t begin, int64_t count) {
  for (Bucket& b : buckets_) {
    const int64_t overlap = std::min(b.end, begin + count) - std::max(b.begin, begin);
    if (overlap > 0) b.missing -= overlap;
  }
}

GradientExchange::GradientExchange(RankGroup& ranks, Decoder& decoder, int64_t bucket_bytes)
    : ranks_(ranks),
      decoder_(decoder),
      buckets_(decoder.flat_gradient().numel(),
               std::max<int64_t>(1, bucket_bytes / decoder.flat_gradient().element_size())) {
  decoder_.on_gradient([this](int64_t begin, int64_t count) { added(begin, count); });
}

void GradientExchange::start(int64_t update) {
  of_ = "update " + std::to_string(update);
  buckets_.reset();
  under_way_.clear();
  started_ = true;
}

void GradientExchange::added(int64_t begin, int64_t count) {
  if (!started_) return;
  buckets_.finish(begin, count);
  while (under_way_.size() < buckets_.size() && buckets_[under_way_.size()].missing == 0) launch();
}

void GradientExchange::launch() {
  const GradientBuckets::Bucket& bucket = buckets_[under_way_.size()];
  under_way_.push_back(ranks_.all_reduce_sum(
      decoder_.flat_gradient().narrow(0, bucket.begin, bucket.end - bucket.begin), of_));
}

Result<void> GradientExchange::finish(int64_t update) {
  if (!started_) start(update);
  while (under_way_.size() < buckets_.size()) launch();
  started_ = false;
  for (Collective& bucket : under_way_) TW_TRY(bucket.wait());
  return {};
}

}  // namespace tracewise
