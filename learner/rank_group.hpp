// The ranks of one data-parallel learner and their collectives, over c10d: Gloo on the CPU, NCCL on
// CUDA (builds with TRACEWISE_CUDA).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "learner/rank_store.hpp"
#include "messages/result.hpp"

namespace at {
class Tensor;
}

namespace tracewise {

struct RankGroupOptions {
  int rank = 0;  // in [0, size)
  int size = 1;
  std::string device = "cpu";      // of the tensors: "cpu" or "cuda:N"
  int64_t connect_ms = 60'000;     // until all ranks are there
  int64_t collective_ms = 30'000;  // of one collective, from its start

  // Gloo and NCCL speak plain TCP and trust whoever connects; the TLS that c10d offers for Gloo
  // encrypts nothing in torch 2.11. So where the network is not safe by itself, ranks of several
  // hosts have their connections carried: `forward` is set on all of them.

  // Where Gloo listens and peers find it without `forward`: a name or number of this host.
  std::string address = "127.0.0.1";

  // Returns a port of 127.0.0.1 on this host, each connection to which is carried to port `port` of
  // 127.0.0.2 on the host of rank `peer`. Called by connect() for each lower rank; higher ranks
  // reach this one through their own.
  std::function<Result<uint16_t>(int peer, uint16_t port)> forward;
};

// A collective under way. Its tensors stay alive until it ends.
class Collective {
 public:
  explicit Collective(std::function<Result<void>()> wait) : wait_(std::move(wait)) {}

  // Blocks until it is done on this rank, or its deadline. Once; before the group ends.
  Result<void> wait() { return wait_(); }

 private:
  std::function<Result<void>()> wait_;
};

// Every rank makes the same calls in the same order, from one thread at a time; abort() alone may
// come from any thread. `of` names what a collective is for: "rank 1 of 2 waited 30000 ms in the
// all-reduce of update 17".
//
// An error (kDeadline; kIo where a peer is gone; kCancelled after abort()) ends the group: its
// connections are closed, so the peers' waits end too, and every later call returns an error.
class RankGroup {
 public:
  // Meets the other ranks; blocks for at most about twice connect_ms. kDeadline names the rank that
  // did not come, kBadInput an option that cannot be. `store` is not used afterwards.
  static Result<std::shared_ptr<RankGroup>> connect(const RankGroupOptions& options,
                                                    std::shared_ptr<RankStore> store);
  ~RankGroup();

  int rank() const;
  int size() const;

  // Sums `tensor` over the ranks, in place. Starts and returns.
  Collective all_reduce_sum(at::Tensor tensor, const std::string& of);

  // Overwrites `tensor` with that of rank `root`.
  Result<void> broadcast(at::Tensor tensor, int root, const std::string& of);

  // Fills `tensor`, of `size` equal parts along its only dimension, with part r of each rank r.
  Result<void> all_gather(at::Tensor tensor, const std::string& of);

  // The numbers of rank 0, then those of rank 1, ...; each rank gives equally many.
  Result<std::vector<double>> all_gather_numbers(std::span<const double> mine,
                                                 const std::string& of);

  // One tensor from one rank to another; the two call at the same time, others don't.
  Result<void> send(at::Tensor tensor, int to, const std::string& of);
  Result<void> receive(at::Tensor tensor, int from, const std::string& of);

  // Ends all waits of this rank at once, and the group.
  void abort();

  // Time spent waiting for collectives so far.
  double waited_seconds() const;

 private:
  struct Impl;
  explicit RankGroup(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
