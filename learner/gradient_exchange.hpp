// Sums the flat gradient over the ranks in buckets, while the backward pass still runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "learner/rank_group.hpp"
#include "model/decoder.hpp"

namespace tracewise {

// Equal cuts of the flat gradient, from its end to its start, for a backward pass reaches a
// decoder's last parameters first. They heed no tensor: one may span several buckets, and a bucket
// hold several.
class GradientBuckets {
 public:
  struct Bucket {
    int64_t begin = 0, end = 0;  // elements of the flat gradient
    int64_t missing = 0;         // how many of them are not final
  };

  // Both >= 1; the last bucket may be smaller.
  GradientBuckets(int64_t elements, int64_t bucket_elements);

  size_t size() const { return buckets_.size(); }
  const Bucket& operator[](size_t index) const { return buckets_[index]; }

  // A new update: no gradient is final.
  void reset();
  // Elements [begin, begin + count) are final now, and were not before.
  void finish(int64_t begin, int64_t count);

 private:
  std::vector<Bucket> buckets_;
};

// One thread calls, and the backward passes run meanwhile on it or on one that it waits for.
class GradientExchange {
 public:
  // Watches all backward passes through `decoder`. Both references outlive this, and no pass runs
  // after this is gone.
  GradientExchange(RankGroup& ranks, Decoder& decoder, int64_t bucket_bytes);

  // To be called before the last backward pass of update `update`: as soon as a bucket is final,
  // and all before it have started, its all-reduce starts.
  void start(int64_t update);

  // Waits until the gradient is the ranks' sum, as every rank must. A rank whose update has no
  // backward pass calls this alone.
  Result<void> finish(int64_t update);

 private:
  void added(int64_t begin, int64_t count);
  void launch();  // the next bucket

  RankGroup& ranks_;
  Decoder& decoder_;
  GradientBuckets buckets_;
  bool started_ = false;
  std::string of_;  // "update 17"
  std::vector<Collective> under_way_;
};

}  // namespace tracewise
