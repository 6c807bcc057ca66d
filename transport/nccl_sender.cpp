#include "transport/nccl_sender.hpp"

#include <poll.h>

#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "messages/waits.hpp"
#include "transport/nccl_rank.hpp"
#include "transport/nccl_roll.hpp"
#include "transport/nccl_wire.hpp"
#include "transport/wake_fd.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Between two looks at NCCL, which has nothing to wait for.
constexpr int kLookMs = 1;

// A moment in the order of publishing.
WeightsManifest moment(uint64_t epoch, uint64_t version) {
  WeightsManifest manifest;
  manifest.epoch = epoch;
  manifest.version = version;
  return manifest;
}

}  // namespace

class NcclSender::Impl {
 public:
  Impl(std::unique_ptr<Nccl> nccl, const NcclSenderOptions& options)
      : nccl_(std::move(nccl)), options_(options) {}
  ~Impl() {
    stop_.request_stop();
    wake_.wake();
  }

  Result<void> start() {
    if (!wake_) return Error{ErrorClass::kResource, "no descriptor left to broadcast weights"};
    try {
      thread_ = std::jthread([this] {
        const NamedThread named("NCCL sender");
        run();
      });
    } catch (const std::system_error& failure) {
      return Error{ErrorClass::kResource,
                   std::string("no thread to broadcast weights: ") + failure.what()};
    }
    return {};
  }

  void take(std::unique_ptr<TlsStream> stream) {
    put([&] { arrivals_.push_back(std::move(stream)); });
  }
  void offer(WeightsBuffer weights) {
    put([&] {
      if (weights.manifest.epoch >= first_live_epoch_) offered_ = std::move(weights);
    });
  }
  void abort(uint64_t epoch) {
    put([&] {
      first_live_epoch_ = std::max(first_live_epoch_, epoch + 1);
      aborted_ = true;
      if (offered_ && offered_->manifest.epoch <= epoch) offered_.reset();
    });
  }
  NcclSenderStatus status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }

 private:
  enum class Phase { kIdle, kForming, kCasting };

  template <class Change>
  void put(Change change) {
    {
      const std::lock_guard lock(mutex_);
      change();
      status_.busy = true;
    }
    wake_.wake();
  }

  void run();
  void take_inbox();
  bool advance();
  void begin();
  void form(const std::vector<GroupMember*>& chosen);
  void cast();
  void fail(const Error& why);
  void end_epoch(uint64_t first_live);
  void wait(bool again);

  const std::unique_ptr<Nccl> nccl_;
  const NcclSenderOptions options_;
  WakeFd wake_;
  std::stop_source stop_;

  mutable std::mutex mutex_;  // of these
  std::vector<std::unique_ptr<TlsStream>> arrivals_;
  std::optional<WeightsBuffer> offered_;
  uint64_t first_live_epoch_ = 0;
  bool aborted_ = false;
  NcclSenderStatus status_;

  // The thread's own.
  NcclRoll roll_;
  std::optional<WeightsBuffer> next_;     // to be broadcast when there is time
  std::optional<WeightsBuffer> current_;  // being broadcast
  std::unique_ptr<NcclRank> rank_;        // in the group
  Phase phase_ = Phase::kIdle;
  TimePoint deadline_;
  bool own_done_ = false;  // the learner's own part of what is waited for
  int unformed_ = 0;       // groups in a row that did not form
  uint64_t failed_groups_ = 0;
  std::jthread thread_;  // last: it uses the others
};

void NcclSender::Impl::run() {
  while (!stop_.stop_requested()) {
    take_inbox();
    if (const auto failure = roll_.read()) fail(io_error(*failure));
    if (const std::string nodes = roll_.drop_lost(); !nodes.empty())
      fail(io_error("lost " + nodes));
    const bool moved = advance();
    wait(moved || roll_.any_lost());
  }
  roll_.say_goodbye();
}

void NcclSender::Impl::take_inbox() {
  wake_.clear();
  std::vector<std::unique_ptr<TlsStream>> arrivals;
  std::optional<uint64_t> first_live;
  {
    const std::lock_guard lock(mutex_);
    arrivals.swap(arrivals_);
    if (std::exchange(aborted_, false)) first_live = first_live_epoch_;
    if (offered_) next_ = std::exchange(offered_, std::nullopt);
  }
  for (auto& stream : arrivals) {
    if (roll_.members().size() < options_.max_members) roll_.add(std::move(stream));
  }
  if (first_live) end_epoch(*first_live);
}

void NcclSender::Impl::end_epoch(uint64_t first_live) {
  if (next_ && next_->manifest.epoch < first_live) next_.reset();
  roll_.pass(moment(first_live - 1, UINT64_MAX));
  if (current_ && current_->manifest.epoch < first_live) fail(aborted_error(current_->manifest));
  roll_.tell_elsewhere(true);
}

// Whether there is more to be done at once.
bool NcclSender::Impl::advance() {
  if (phase_ == Phase::kIdle) {
    if (next_) begin();
    return phase_ != Phase::kIdle;
  }
  if (SteadyClock::now() >= deadline_) {
    const std::string nodes = roll_.unanswered();
    const std::string own = own_done_ ? "" : nodes.empty() ? "the learner" : "the learner, ";
    fail({ErrorClass::kDeadline, own + nodes + " had not done it in time"});
    return false;
  }
  const auto step = own_done_ ? Result<NcclStep>(NcclStep::kIdle) : rank_->step();
  if (!step.ok()) {
    fail(step.error());
    return false;
  }
  if (*step == NcclStep::kIdle) own_done_ = true;
  if (!own_done_ || !roll_.all_answered()) return *step == NcclStep::kMoved;
  if (phase_ == Phase::kForming) {
    unformed_ = 0;
    cast();
    return true;
  }
  current_.reset();
  phase_ = Phase::kIdle;
  return next_.has_value();
}

// Takes up the next version: in the group that there is, in a new one, or not at all.
void NcclSender::Impl::begin() {
  current_ = std::exchange(next_, std::nullopt);
  roll_.pass(current_->manifest);
  const std::vector<GroupMember*> chosen = roll_.choose(nccl_->gpu());
  if (!chosen.empty() && roll_.is_group(chosen)) {
    cast();
  } else if (!chosen.empty() && unformed_ < options_.form_attempts) {
    form(chosen);
  } else {
    current_.reset();
  }
  roll_.tell_elsewhere(false);
}

void NcclSender::Impl::form(const std::vector<GroupMember*>& chosen) {
  rank_.reset();
  phase_ = Phase::kForming;
  own_done_ = false;
  deadline_ = SteadyClock::now() + milliseconds(options_.form_ms);
  GroupOrder order;
  order.bucket_bytes = options_.bucket_bytes;
  order.limit_ms = static_cast<uint64_t>(options_.form_ms);
  const auto id = nccl_->unique_id();
  if (!id.ok()) return fail(id.error());
  order.id = *id;
  roll_.form(chosen, order);
  auto rank =
      NcclRank::begin(*nccl_, *id, static_cast<int>(chosen.size()) + 1, 0, options_.bucket_bytes);
  if (!rank.ok()) return fail(rank.error());
  rank_ = std::move(*rank);
}

void NcclSender::Impl::cast() {
  phase_ = Phase::kCasting;
  own_done_ = false;
  deadline_ = SteadyClock::now() + milliseconds(options_.cast_ms);
  const WeightsManifest& manifest = current_->manifest;
  GroupOrder order;
  order.kind = GroupOrder::Kind::kCast;
  order.limit_ms = static_cast<uint64_t>(options_.cast_ms);
  order.version = manifest.version;
  order.epoch = manifest.epoch;
  order.bytes = manifest.bytes;
  order.checksum = manifest.checksum;
  roll_.cast(order);
  rank_->send(std::span(current_->bytes.get(), manifest.bytes));
}

// The end of the group, whatever it was about.
void NcclSender::Impl::fail(const Error& why) {
  const std::string what = phase_ == Phase::kForming ? "to form"
                           : phase_ == Phase::kCasting
                               ? "to broadcast " + name_of(current_->manifest)
                               : "while it was idle";
  if (phase_ == Phase::kForming) ++unformed_;
  ++failed_groups_;
  rank_.reset();
  roll_.dissolve();
  current_.reset();
  phase_ = Phase::kIdle;
  if (!options_.report) return;
  options_.report("weights group " + std::to_string(roll_.group()) + " of NCCL failed " + what +
                  ": " + why.message +
                  (unformed_ < options_.form_attempts ? "" : "; no other is tried"));
}

void NcclSender::Impl::wait(bool again) {
  NcclSenderStatus now;
  now.group = roll_.group();
  now.failed_groups = failed_groups_;
  std::vector<pollfd> waits{{wake_.fd(), POLLIN, 0}};
  for (const GroupMember& member : roll_.members()) {
    waits.push_back({member.link.fd(), member.link.events(), 0});
    now.members += member.gpu.empty() ? 0 : 1;
    now.grouped += roll_.in_group(member) ? 1 : 0;
    now.leaving += member.leaving ? 1 : 0;
  }
  now.busy = again || phase_ != Phase::kIdle || next_;
  {
    const std::lock_guard lock(mutex_);
    now.busy = now.busy || !arrivals_.empty() || offered_ || aborted_;
    status_ = now;
  }
  const bool looking = phase_ != Phase::kIdle && !own_done_;
  TimePoint until = deadline_;
  if (phase_ == Phase::kIdle) until = Wait::kNoDeadline;
  if (looking) until = SteadyClock::now() + std::chrono::milliseconds(kLookMs);
  if (again) until = SteadyClock::now();
  // Interrupted or not: everything is looked at again.
  (void)Wait("word of a broadcast", "the members of its group", until).poll(waits);
}

Result<std::unique_ptr<NcclSender>> NcclSender::start(std::unique_ptr<Nccl> nccl,
                                                      const NcclSenderOptions& options) {
  TW_CHECK(options.bucket_bytes > 0 && options.bucket_bytes <= kMaxBucketBytes &&
               options.form_ms > 0 && options.cast_ms > 0,
           "a broadcast has buckets and time for them");
  auto impl = std::make_unique<Impl>(std::move(nccl), options);
  TW_TRY(impl->start());
  return std::unique_ptr<NcclSender>(new NcclSender(std::move(impl)));
}

NcclSender::NcclSender(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NcclSender::~NcclSender() = default;

void NcclSender::take(std::unique_ptr<TlsStream> stream) { impl_->take(std::move(stream)); }
void NcclSender::offer(WeightsBuffer weights) { impl_->offer(std::move(weights)); }
void NcclSender::abort(uint64_t epoch) { impl_->abort(epoch); }
NcclSenderStatus NcclSender::status() const { return impl_->status(); }

}  // namespace tracewise
