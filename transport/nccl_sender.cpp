#include "transport/nccl_sender.hpp"

#include <poll.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "transport/frame_link.hpp"
#include "transport/nccl_rank.hpp"
#include "transport/nccl_wire.hpp"
#include "transport/wake_fd.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using Order = GroupOrder::Kind;
using Report = GroupReport::Kind;

// Between two looks at NCCL, which has nothing to wait for.
constexpr int kLookMs = 1;

struct Member {
  explicit Member(std::unique_ptr<TlsStream> stream) : link(std::move(stream), kGroupReportBytes) {}

  FrameLink link;
  std::string gpu;        // empty: has not joined yet
  uint64_t group = 0;     // that it is in; 0: none
  bool leaving = false;   // was told to leave it and has not answered
  bool answered = false;  // what the group waits for: that it is ready, or has the broadcast
  bool lost = false;      // its connection is over
};

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
      thread_ = std::jthread([this] { run(); });
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
  void read(Member& member);
  void hear(Member& member, const GroupReport& report);
  void join(Member& member, const std::string& gpu);
  void drop_lost();
  bool advance();
  void begin();
  std::vector<Member*> choose();
  void form(const std::vector<Member*>& chosen);
  void cast();
  void fail(const Error& why);
  void end_epoch(uint64_t first_live);
  void tell(Member& member, GroupOrder order);
  void tell_elsewhere(Member& member);
  bool in_group(const Member& member) const {
    return grouped_ && member.group == group_ && !member.leaving;
  }
  bool all_answered() const;
  std::string unanswered() const;
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
  std::list<Member> members_;
  std::optional<WeightsBuffer> next_;     // to be broadcast when there is time
  std::optional<WeightsBuffer> current_;  // being broadcast
  std::optional<WeightsManifest> told_;   // the newest moment that members were told of
  std::unique_ptr<NcclRank> rank_;        // in the group
  uint64_t group_ = 0;
  bool grouped_ = false;  // there is a group, or one that forms
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
    for (Member& member : members_) read(member);
    drop_lost();
    const bool moved = advance();
    wait(moved || std::ranges::any_of(members_, &Member::lost));
  }
  for (Member& member : members_) member.link.say_goodbye();
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
    if (members_.size() < options_.max_members) members_.emplace_back(std::move(stream));
  }
  if (first_live) end_epoch(*first_live);
}

void NcclSender::Impl::end_epoch(uint64_t first_live) {
  if (next_ && next_->manifest.epoch < first_live) next_.reset();
  const auto end = moment(first_live - 1, UINT64_MAX);
  if (!told_ || is_newer(end, *told_)) told_ = end;
  if (current_ && current_->manifest.epoch < first_live) fail(aborted_error(current_->manifest));
  for (Member& member : members_) tell_elsewhere(member);
}

void NcclSender::Impl::read(Member& member) {
  if (!member.link.flush().ok()) member.lost = true;
  while (!member.lost) {
    const auto frame = member.link.read();
    if (frame.ok() && frame->empty()) return;
    const auto report = frame.ok() ? group_report(*frame) : Result<GroupReport>(frame.error());
    if (!report.ok()) {
      member.lost = true;
      return;
    }
    hear(member, *report);
  }
}

void NcclSender::Impl::hear(Member& member, const GroupReport& report) {
  if (report.kind == Report::kJoin) return join(member, report.text);
  if (report.group != member.group) return;  // of a group that it was in before
  switch (report.kind) {
    case Report::kJoin:
      break;
    case Report::kReady:
      if (phase_ == Phase::kForming && in_group(member)) member.answered = true;
      break;
    case Report::kTook:
    case Report::kSpoilt:
      if (phase_ == Phase::kCasting && in_group(member)) member.answered = true;
      break;
    case Report::kFailed:
      if (in_group(member)) {
        fail({ErrorClass::kIo, "node '" + member.link.peer() + "': " + report.text});
      }
      break;
    case Report::kLeft:
      member.leaving = false;
      member.group = 0;
      break;
  }
}

void NcclSender::Impl::join(Member& member, const std::string& gpu) {
  member.gpu = gpu;
  // A node that comes again has lost its connection before, whether this side knows it or not.
  for (Member& other : members_) {
    if (&other != &member && other.link.peer() == member.link.peer()) other.lost = true;
  }
  tell_elsewhere(member);
}

void NcclSender::Impl::drop_lost() {
  for (auto member = members_.begin(); member != members_.end();) {
    if (!member->lost) {
      ++member;
      continue;
    }
    const bool grouped = in_group(*member);
    const std::string node = member->link.peer();
    member = members_.erase(member);
    // Others may be lost by this: those that were passed over are dropped the next time.
    if (grouped) fail(io_error("node '" + node + "' is lost"));
  }
}

// Whether there is more to be done at once.
bool NcclSender::Impl::advance() {
  if (phase_ == Phase::kIdle) {
    if (next_) begin();
    return phase_ != Phase::kIdle;
  }
  if (SteadyClock::now() >= deadline_) {
    fail({ErrorClass::kDeadline, unanswered() + " not in time"});
    return false;
  }
  const auto step = own_done_ ? Result<NcclStep>(NcclStep::kIdle) : rank_->step();
  if (!step.ok()) {
    fail(step.error());
    return false;
  }
  if (*step == NcclStep::kIdle) own_done_ = true;
  if (!own_done_ || !all_answered()) return *step == NcclStep::kMoved;
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
  told_ = current_->manifest;
  const std::vector<Member*> chosen = choose();
  const bool same =
      grouped_ && std::ranges::all_of(chosen, [&](Member* m) { return in_group(*m); });
  if (!chosen.empty() && same) {
    cast();
  } else if (!chosen.empty() && unformed_ < options_.form_attempts) {
    form(chosen);
  } else {
    current_.reset();
  }
  for (Member& member : members_) {
    if (!in_group(member)) tell_elsewhere(member);
  }
}

// The members that a group of now would have: a GPU is in it once, and a member that has not left
// its last one yet may be gone.
std::vector<Member*> NcclSender::Impl::choose() {
  std::set<std::string> gpus{nccl_->gpu()};
  std::vector<Member*> chosen;
  for (Member& member : members_) {
    if (member.lost || member.leaving || member.gpu.empty()) continue;
    if (gpus.insert(member.gpu).second) chosen.push_back(&member);
  }
  return chosen;
}

void NcclSender::Impl::form(const std::vector<Member*>& chosen) {
  rank_.reset();
  ++group_;
  grouped_ = true;
  phase_ = Phase::kForming;
  own_done_ = false;
  deadline_ = SteadyClock::now() + milliseconds(options_.form_ms);
  GroupOrder order;
  order.kind = Order::kForm;
  order.ranks = static_cast<uint32_t>(chosen.size()) + 1;
  order.bucket_bytes = options_.bucket_bytes;
  order.limit_ms = static_cast<uint64_t>(options_.form_ms);
  const auto id = nccl_->unique_id();
  if (!id.ok()) return fail(id.error());
  order.id = *id;
  for (Member* member : chosen) {
    ++order.rank;
    member->group = group_;
    member->answered = false;
    tell(*member, order);
  }
  auto rank = NcclRank::begin(*nccl_, *id, static_cast<int>(order.ranks), 0, order.bucket_bytes);
  if (!rank.ok()) return fail(rank.error());
  rank_ = std::move(*rank);
}

void NcclSender::Impl::cast() {
  phase_ = Phase::kCasting;
  own_done_ = false;
  deadline_ = SteadyClock::now() + milliseconds(options_.cast_ms);
  const WeightsManifest& manifest = current_->manifest;
  GroupOrder order;
  order.kind = Order::kCast;
  order.limit_ms = static_cast<uint64_t>(options_.cast_ms);
  order.version = manifest.version;
  order.epoch = manifest.epoch;
  order.bytes = manifest.bytes;
  order.checksum = manifest.checksum;
  for (Member& member : members_) {
    if (!in_group(member)) continue;
    member.answered = false;
    tell(member, order);
  }
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
  for (Member& member : members_) {
    if (!in_group(member)) continue;
    member.leaving = true;
    tell(member, {.kind = Order::kLeave});
  }
  grouped_ = false;
  current_.reset();
  phase_ = Phase::kIdle;
  if (!options_.report) return;
  options_.report("weights group " + std::to_string(group_) + " of NCCL failed " + what + ": " +
                  why.message + (unformed_ < options_.form_attempts ? "" : "; no other is tried"));
}

// A connection that takes nothing is lost; whoever iterates over the members drops it later.
void NcclSender::Impl::tell(Member& member, GroupOrder order) {
  order.group = member.group;
  if (order.kind == Order::kLeave || order.kind == Order::kElsewhere) {
    order.version = told_->version;
    order.epoch = told_->epoch;
  }
  if (!member.link.write(to_bytes(order)).ok()) member.lost = true;
}

void NcclSender::Impl::tell_elsewhere(Member& member) {
  if (told_ && !member.gpu.empty()) tell(member, {.kind = Order::kElsewhere});
}

bool NcclSender::Impl::all_answered() const {
  return std::ranges::all_of(
      members_, [&](const Member& member) { return !in_group(member) || member.answered; });
}

std::string NcclSender::Impl::unanswered() const {
  std::string nodes = own_done_ ? "" : "the learner";
  for (const Member& member : members_) {
    if (!in_group(member) || member.answered) continue;
    nodes += (nodes.empty() ? "" : ", ") + ("node '" + member.link.peer() + "'");
  }
  return nodes + (phase_ == Phase::kForming ? " had formed it" : " had all of it");
}

void NcclSender::Impl::wait(bool again) {
  NcclSenderStatus now;
  now.group = group_;
  now.failed_groups = failed_groups_;
  std::vector<pollfd> waits{{wake_.fd(), POLLIN, 0}};
  for (const Member& member : members_) {
    waits.push_back({member.link.fd(), member.link.events(), 0});
    now.members += member.gpu.empty() ? 0 : 1;
    now.grouped += in_group(member) ? 1 : 0;
    now.leaving += member.leaving ? 1 : 0;
  }
  now.busy = again || phase_ != Phase::kIdle || next_;
  {
    const std::lock_guard lock(mutex_);
    now.busy = now.busy || !arrivals_.empty() || offered_ || aborted_;
    status_ = now;
  }
  const bool looking = phase_ != Phase::kIdle && !own_done_;
  int timeout = again ? 0 : -1;
  if (timeout != 0 && phase_ != Phase::kIdle) {
    timeout = looking ? kLookMs : poll_timeout_ms(deadline_);
  }
  // Interrupted or not: everything is looked at again.
  (void)::poll(waits.data(), waits.size(), timeout);
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
