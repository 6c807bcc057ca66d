#include "learner/rank_group.hpp"

#include <ATen/ATen.h>
#include <c10/util/env.h>
#include <torch/csrc/distributed/c10d/GlooDeviceFactory.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#ifdef TRACEWISE_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>

#include "learner/c10d_store.hpp"
#include "messages/waits.hpp"
#include "model/decoder.hpp"

namespace tracewise {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using Backend = c10::intrusive_ptr<c10d::Backend>;
using Work = c10::intrusive_ptr<c10d::Work>;
using Tensors = std::vector<at::Tensor>;

// Torch appends a stack trace to its messages.
std::string first_line(const std::exception& e) {
  const std::string text = e.what();
  return text.substr(0, text.find('\n'));
}

// "rank 1 of 2"
std::string name_of(const RankGroupOptions& options) {
  return "rank " + std::to_string(options.rank) + " of " + std::to_string(options.size);
}

// Gloo's writes to a peer that is gone raise SIGPIPE, which would end the process. While this lives
// they don't on this thread, nor ever on the threads that it starts meanwhile: they inherit the
// mask.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoSigpipe() {
    if (sigismember(&before_, SIGPIPE)) return;
    const timespec at_once{};
    sigtimedwait(&pipe_, nullptr,
                 &at_once);  // takes the signal that was held back, if there is one
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t pipe_, before_;
};

// c10d knows no abort for Gloo. But a receive that times out closes all connections of its group,
// which ends every other wait on them, here and at the peers.
void close_gloo(c10d::Backend& backend) {
  const NoSigpipe no_sigpipe;
  constexpr int kTag = 0x7fffffff;  // no tag of ours: nothing ever arrives
  for (int peer = 0; peer < backend.getSize(); ++peer) {
    if (peer == backend.getRank()) continue;
    try {
      Tensors byte = {at::empty({1}, at::kByte)};
      backend.recv(byte, peer, kTag)->wait(milliseconds(1));
    } catch (const std::exception&) {  // the timeout, or the connection was closed before
    }
  }
}

// A tensor sent or received, not a collective.
bool is_transfer(c10d::Work& work) {
  return dynamic_cast<c10d::ProcessGroupGloo::SendWork*>(&work) != nullptr ||
         dynamic_cast<c10d::ProcessGroupGloo::RecvWork*>(&work) != nullptr;
}

// Tells of the ends of collectives and of the group's. Gloo's threads hold it too.
class Ends {
 public:
  void ring(bool of_group) {
    const std::lock_guard lock(mutex_);
    group_ended_ = group_ended_ || of_group;
    rung_.notify_all();
  }

  // Until ended(whether the group has ended) is true.
  template <class Ended>
  void wait(Clock::time_point deadline, const std::string& of, Ended ended) {
    std::unique_lock lock(mutex_);
    Wait(of, "the other ranks", deadline).on(rung_, lock, [&] { return ended(group_ended_); });
  }

 private:
  std::mutex mutex_;
  Condition rung_;
  bool group_ended_ = false;
};

// Gloo tells whoever waits for a transfer's begin that its connection was closed, but not who is in
// the middle of one: that thread waits on, for the collective's whole timeout, and c10d's
// destructor for that thread. We don't.
void leave_behind(Backend backend) {
  std::thread([backend = std::move(backend)] {}).detach();
}

// c10d records its last collectives in a map that groups of several threads corrupt (torch 2.11).
// Nobody reads it: off, before c10d looks at the environment for the first time.
void switch_off_recorder() {
  static std::once_flag once;
  std::call_once(once, [] { c10::utils::set_env("TORCH_FR_BUFFER_SIZE", "0"); });
}

Backend make_gloo(const RankGroupOptions& options, const c10::intrusive_ptr<c10d::Store>& store) {
  // Gloo waits five times as long for a connection; collectives are given deadlines of their own.
  auto gloo = c10d::ProcessGroupGloo::Options::create(
      milliseconds(std::max<int64_t>(1, options.connect_ms / 5)));
  gloo->devices.push_back(c10d::GlooDeviceRegistry()->Create(
      "TCP", "", options.forward ? kListening : options.address, false));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, options.rank, options.size, gloo);
}

#ifdef TRACEWISE_CUDA
Backend make_nccl(const RankGroupOptions& options, at::Device device,
                  const c10::intrusive_ptr<c10d::Store>& store) {
  // c10d's own watchdogs end the process; deadlines are ours to keep.
  c10::utils::set_env("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0");
  c10::utils::set_env("TORCH_NCCL_ENABLE_MONITORING", "0");
  const c10::cuda::CUDAGuard guard(device);
  auto nccl = c10d::ProcessGroupNCCL::Options::create();
  nccl->timeout = milliseconds(options.collective_ms);
  auto backend =
      c10::make_intrusive<c10d::ProcessGroupNCCL>(store, options.rank, options.size, nccl);
  backend->setBoundDeviceId(device);
  // The communicator is made by the first collective: now, while the store is there.
  Tensors one = {at::ones({1}, at::TensorOptions().device(device))};
  backend->allreduce(one)->wait(milliseconds(options.connect_ms));
  return backend;
}
#endif

Result<void> check(const RankGroupOptions& options, [[maybe_unused]] bool cuda) {
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size)
    return bad_input("there is no " + name_of(options));
  if (options.connect_ms <= 0 || options.collective_ms <= 0)
    return bad_input("connect_ms and collective_ms of a rank group are above 0");
#ifndef TRACEWISE_CUDA
  if (cuda) return unsupported("ranks on CUDA need a build with TRACEWISE_CUDA");
#endif
  return {};
}

}  // namespace

struct RankGroup::Impl {
  RankGroupOptions options;
  at::Device device{at::kCPU};
  Backend backend;           // none in a group of one
  mutable std::mutex mutex;  // starts of collectives, abort() and `broken`
  std::optional<Error> broken;
  std::vector<Work> under_way;  // started and not known to have ended
  const std::shared_ptr<Ends> ends = std::make_shared<Ends>();
  double waited = 0;

  ~Impl() {
    if (!backend) return;
    const std::lock_guard lock(mutex);
    forget_ended();
    if (!under_way.empty()) fail({ErrorClass::kCancelled, "the group was destroyed"});
    // Whoever was told of that ends soon.
    ends->wait(Clock::now() + milliseconds(500), "the end of what was aborted",
               [this](bool) { return forget_ended(), under_way.empty(); });
    if (!under_way.empty()) leave_behind(std::move(backend));
  }

  milliseconds timeout() const { return milliseconds(options.collective_ms); }

  // Whether c10d's threads work on it, that is Gloo's, not whoever waits for it.
  bool in_thread(c10d::Work& work) const { return !device.is_cuda() && !is_transfer(work); }

  void forget_ended() {
    std::erase_if(under_way, [this](const Work& work) {
      return in_thread(*work) ? work->getFuture()->completed() : work->isCompleted();
    });
  }

  void close() {
    if (device.is_cuda()) {
      backend->abort();
      return;
    }
    close_gloo(*backend);
    for (const Work& work : under_way) {
      if (is_transfer(*work)) work->abort();
    }
    ends->ring(true);
  }

  // The group's end; `mutex` is held. The first error stays.
  void fail(const Error& error) {
    if (broken) return;
    broken = error;
    if (backend) close();
  }

  Error gone(const std::string& of) const {
    return {broken->error_class, name_of(options) + " cannot start the " + of +
                                     ", its group has ended: " + broken->message};
  }

  template <class Start>
  Collective start(std::string of, const Start& start) {
    const auto deadline = Clock::now() + timeout();
    const std::lock_guard lock(mutex);
    if (broken) return Collective([error = gone(of)]() -> Result<void> { return error; });
    if (!backend) return Collective([] { return Result<void>(); });
    forget_ended();
    try {
      const NoSigpipe no_sigpipe;
      const Work work = under_way.emplace_back(start(*backend));
      if (in_thread(*work))
        work->getFuture()->addCallback([ends = ends](const auto&) { ends->ring(false); });
    } catch (const std::exception& e) {
      fail({ErrorClass::kIo,
            name_of(options) + " lost its peers in the " + of + ": " + first_line(e)});
      return Collective([error = *broken]() -> Result<void> { return error; });
    }
    return Collective([this, of = std::move(of), work = under_way.back(), deadline] {
      const auto begin = Clock::now();
      auto done = wait(*work, of, deadline);
      waited += std::chrono::duration<double>(Clock::now() - begin).count();
      return done;
    });
  }

  // False: not before the deadline or the group's end. Throws what the collective failed with.
  bool ended(c10d::Work& work, const std::string& of, Clock::time_point deadline) {
    if (!in_thread(work)) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
      const Wait told(of, "the other ranks", deadline);
      return work.wait(std::max(left, milliseconds(1)));
    }
    const auto future = work.getFuture();
    ends->wait(deadline, of, [&](bool group_ended) { return group_ended || future->completed(); });
    if (!future->completed()) return false;
    future->waitAndThrow();
    return true;
  }

  Result<void> wait(c10d::Work& work, const std::string& of, Clock::time_point deadline) {
    std::string reason = "aborted";
    try {
      if (ended(work, of, deadline)) return {};
    } catch (const std::exception& e) {
      reason = first_line(e);
    }
    const bool late = Clock::now() >= deadline;
    const std::lock_guard lock(mutex);
    if (broken && broken->error_class == ErrorClass::kCancelled)
      return Error{ErrorClass::kCancelled, name_of(options) + " was aborted in the " + of};
    fail(late ? Error{ErrorClass::kDeadline, name_of(options) + " waited " +
                                                 std::to_string(options.collective_ms) +
                                                 " ms in the " + of}
              : Error{ErrorClass::kIo,
                      name_of(options) + " lost a peer in the " + of + ": " + reason});
    return *broken;
  }
};

RankGroup::RankGroup(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

RankGroup::~RankGroup() = default;

Result<std::shared_ptr<RankGroup>> RankGroup::connect(const RankGroupOptions& options,
                                                      std::shared_ptr<RankStore> store) {
  TW_ASSIGN(const at::Device device, parse_device(options.device));
  TW_TRY(check(options, device.is_cuda()));
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->device = device;
  if (options.size > 1) {
    switch_off_recorder();
    const auto begin = Clock::now();
    const auto meeting = std::make_shared<Meeting>(
        Meeting{impl->options, std::move(store), begin + milliseconds(options.connect_ms), {}});
    const auto adapter = c10::make_intrusive<C10dStore>(meeting);
    try {
      const NoSigpipe no_sigpipe;
#ifdef TRACEWISE_CUDA
      impl->backend =
          device.is_cuda() ? make_nccl(options, device, adapter) : make_gloo(options, adapter);
#else
      impl->backend = make_gloo(options, adapter);
#endif
    } catch (const std::exception& e) {
      const std::string waited =
          name_of(options) + " waited " + std::to_string(options.connect_ms) + " ms for ";
      if (const auto& failure = meeting->failure) {
        const auto& [key, error] = *failure;
        if (error.error_class != ErrorClass::kDeadline) return error;
        const auto rank = rank_of(key);
        return Error{
            ErrorClass::kDeadline,
            waited + (rank ? "rank " + std::to_string(*rank) : "'" + key + "'") + " to arrive"};
      }
      if (Clock::now() - begin >= milliseconds(options.connect_ms))
        return Error{ErrorClass::kDeadline, waited + "its connections: " + first_line(e)};
      return io_error(name_of(options) + " cannot connect from " + options.address + ": " +
                      first_line(e));
    }
    meeting->store.reset();
  }
  return std::shared_ptr<RankGroup>(new RankGroup(std::move(impl)));
}

int RankGroup::rank() const { return impl_->options.rank; }
int RankGroup::size() const { return impl_->options.size; }
double RankGroup::waited_seconds() const { return impl_->waited; }

Collective RankGroup::all_reduce_sum(at::Tensor tensor, const std::string& of) {
  return impl_->start("all-reduce of " + of, [&](c10d::Backend& backend) {
    c10d::AllreduceOptions options;
    options.timeout = impl_->timeout();
    Tensors tensors = {std::move(tensor)};
    return backend.allreduce(tensors, options);
  });
}

Result<void> RankGroup::broadcast(at::Tensor tensor, int root, const std::string& of) {
  auto begun = impl_->start("broadcast of " + of, [&](c10d::Backend& backend) {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.timeout = impl_->timeout();
    Tensors tensors = {std::move(tensor)};
    return backend.broadcast(tensors, options);
  });
  return begun.wait();
}

Result<void> RankGroup::all_gather(at::Tensor tensor, const std::string& of) {
  TW_CHECK(tensor.dim() == 1 && tensor.numel() % size() == 0, "parts of equal length");
  auto begun = impl_->start("all-gather of " + of, [&](c10d::Backend& backend) {
    c10d::AllgatherOptions options;
    options.timeout = impl_->timeout();
    const int64_t part = tensor.numel() / size();
    at::Tensor mine = tensor.narrow(0, rank() * part, part);
    return backend._allgather_base(tensor, mine, options);
  });
  return begun.wait();
}

Result<std::vector<double>> RankGroup::all_gather_numbers(std::span<const double> mine,
                                                          const std::string& of) {
  const auto count = static_cast<int64_t>(mine.size());
  at::Tensor all = at::zeros({size() * count}, at::kDouble);
  std::ranges::copy(mine, all.data_ptr<double>() + rank() * count);
  at::Tensor shared = all.to(impl_->device);
  TW_TRY(all_gather(shared, of));
  all = shared.to(at::kCPU);
  return std::vector<double>(all.data_ptr<double>(), all.data_ptr<double>() + all.numel());
}

Result<void> RankGroup::send(at::Tensor tensor, int to, const std::string& of) {
  auto begun = impl_->start("sending of " + of, [&](c10d::Backend& backend) {
    Tensors tensors = {std::move(tensor)};
    return backend.send(tensors, to, /*tag=*/0);
  });
  return begun.wait();
}

Result<void> RankGroup::receive(at::Tensor tensor, int from, const std::string& of) {
  auto begun = impl_->start("receiving of " + of, [&](c10d::Backend& backend) {
    Tensors tensors = {std::move(tensor)};
    return backend.recv(tensors, from, /*tag=*/0);
  });
  return begun.wait();
}

void RankGroup::abort() {
  const std::lock_guard lock(impl_->mutex);
  impl_->fail({ErrorClass::kCancelled, name_of(impl_->options) + " was aborted"});
}

}  // namespace tracewise
