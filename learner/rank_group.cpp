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

#include "learner/gloo_address.hpp"
#include "model/decoder.hpp"

namespace tracewise {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
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

// Loopback addresses of a group that is carried; Gloo compares them.
constexpr const char* kForwarded = "127.0.0.1";    // of the lower ranks
constexpr const char* kListening = "127.0.0.2";    // of every rank, to itself
constexpr const char* kNeverCalled = "127.0.0.3";  // of the higher ranks, which call us

// Our store as c10d wants it. It keeps the first error, which says more than the exception that
// c10d makes of ours.
class StoreAdapter final : public c10d::Store {
 public:
  StoreAdapter(const RankGroupOptions& options, std::shared_ptr<RankStore> store,
               Clock::time_point deadline)
      : options_(options), store_(std::move(store)), deadline_(deadline) {}

  // What failed and at which key, or nothing.
  const std::optional<std::pair<std::string, Error>>& failure() const { return failure_; }

  c10::intrusive_ptr<Store> clone() override {
    return c10::make_intrusive<StoreAdapter>(options_, store_, deadline_);
  }
  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    if (auto r = store_->set(key, std::string(value.begin(), value.end())); !r.ok())
      fail(key, r.error());
  }
  std::vector<uint8_t> get(const std::string& key) override {
    auto value = store_->get(key, deadline_);
    if (const auto rank = rank_of(key); value.ok() && rank && options_.forward)
      value = carried(*rank, *value);
    if (!value.ok()) fail(key, value.error());
    return {value->begin(), value->end()};
  }
  bool check(const std::vector<std::string>& keys) override {
    return std::ranges::all_of(keys, [&](const auto& k) { return store_->get(k, {}).ok(); });
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const milliseconds&) override { wait(keys); }

  int64_t add(const std::string&, int64_t) override { none("add"); }
  bool deleteKey(const std::string&) override { none("deleteKey"); }
  int64_t getNumKeys() override { none("getNumKeys"); }

 private:
  [[noreturn]] static void none(const char* call) {
    throw std::runtime_error(std::string("a rank store has no ") + call);
  }
  [[noreturn]] void fail(const std::string& key, const Error& error) {
    if (!failure_) failure_ = {key, error};
    throw std::runtime_error(error.message);
  }

  // The lower rank of a pair listens. Gloo gives that part to the lower address.
  Result<std::string> carried(int rank, const std::string& entry) const {
    if (rank == options_.rank) return entry;
    TW_ASSIGN(const uint16_t port, gloo_port(entry));
    if (rank > options_.rank) return with_gloo_address(entry, kNeverCalled, port);
    TW_ASSIGN(const uint16_t here, options_.forward(rank, port));
    return with_gloo_address(entry, kForwarded, here);
  }

  const RankGroupOptions& options_;   // outlives this
  std::shared_ptr<RankStore> store_;  // the caller's too, until connect() returns
  Clock::time_point deadline_;
  std::optional<std::pair<std::string, Error>> failure_;
};

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

// c10d records its last collectives in a map that groups of several threads corrupt (torch 2.11).
// Nobody reads it: off, before c10d looks at the environment for the first time.
void switch_off_recorder() {
  static std::once_flag once;
  std::call_once(once, [] { c10::utils::set_env("TORCH_FR_BUFFER_SIZE", "0"); });
}

c10::intrusive_ptr<c10d::Backend> make_gloo(const RankGroupOptions& options,
                                            const c10::intrusive_ptr<c10d::Store>& store) {
  // Gloo waits five times as long for a connection; collectives are given deadlines of their own.
  auto gloo = c10d::ProcessGroupGloo::Options::create(
      milliseconds(std::max<int64_t>(1, options.connect_ms / 5)));
  gloo->devices.push_back(c10d::GlooDeviceRegistry()->Create(
      "TCP", "", options.forward ? kListening : options.address, false));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, options.rank, options.size, gloo);
}

#ifdef TRACEWISE_CUDA
c10::intrusive_ptr<c10d::Backend> make_nccl(const RankGroupOptions& options, at::Device device,
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
  c10::intrusive_ptr<c10d::Backend> backend;  // none in a group of one
  mutable std::mutex mutex;                   // starts of collectives, abort() and `broken`
  std::optional<Error> broken;
  Work last;  // the collective started last
  double waited = 0;

  milliseconds timeout() const { return milliseconds(options.collective_ms); }

  void close() {
    if (device.is_cuda())
      backend->abort();
    else
      close_gloo(*backend);
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
    try {
      const NoSigpipe no_sigpipe;
      last = start(*backend);
    } catch (const std::exception& e) {
      fail({ErrorClass::kIo,
            name_of(options) + " lost its peers in the " + of + ": " + first_line(e)});
      return Collective([error = *broken]() -> Result<void> { return error; });
    }
    return Collective([this, of = std::move(of), work = last, deadline] {
      const auto begin = Clock::now();
      auto done = wait(*work, of, deadline);
      waited += std::chrono::duration<double>(Clock::now() - begin).count();
      return done;
    });
  }

  Result<void> wait(c10d::Work& work, const std::string& of, Clock::time_point deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    std::string reason = "aborted";
    try {
      if (work.wait(std::max(left, milliseconds(1)))) return {};
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

RankGroup::~RankGroup() {
  const std::lock_guard lock(impl_->mutex);
  // c10d's destructor waits for what is under way.
  if (impl_->last && !impl_->last->isCompleted())
    impl_->fail({ErrorClass::kCancelled, "the group was destroyed"});
}

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
    const auto adapter = c10::make_intrusive<StoreAdapter>(
        impl->options, std::move(store), begin + milliseconds(options.connect_ms));
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
      if (const auto& failure = adapter->failure()) {
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
