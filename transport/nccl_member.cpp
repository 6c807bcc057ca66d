#include "transport/nccl_member.hpp"

#include <poll.h>

#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "messages/waits.hpp"
#include "transport/dial.hpp"
#include "transport/frame_link.hpp"
#include "transport/nccl_rank.hpp"
#include "transport/nccl_wire.hpp"
#include "transport/spare_buffer.hpp"
#include "transport/wake_fd.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using Order = GroupOrder::Kind;
using Report = GroupReport::Kind;

// Between two looks at NCCL, which has nothing to wait for.
constexpr int kLookMs = 1;

bool same(const WeightsManifest& a, const WeightsManifest& b) {
  return a.version == b.version && a.epoch == b.epoch && a.bytes == b.bytes &&
         a.checksum == b.checksum;
}

WeightsManifest manifest_of(const GroupOrder& order) {
  WeightsManifest manifest;
  manifest.version = order.version;
  manifest.epoch = order.epoch;
  manifest.bytes = order.bytes;
  manifest.checksum = order.checksum;
  return manifest;
}

bool same_door(const WeightsPlace& a, const WeightsPlace& b) {
  return a.node == b.node && a.host == b.host && a.port == b.port;
}

}  // namespace

class NcclMember::Impl {
 public:
  Impl(const TlsContext& context, const Hello& own, std::unique_ptr<Nccl> nccl,
       const NcclMemberOptions& options)
      : context_(context), own_(own), nccl_(std::move(nccl)), options_(options) {
    own_.channel = Channel::kNccl;
  }
  ~Impl() {
    stop_.request_stop();
    wake_.wake();
  }

  Result<void> start() {
    if (!wake_) return Error{ErrorClass::kResource, "no descriptor left to receive weights"};
    try {
      thread_ = std::jthread([this] {
        const NamedThread named("NCCL member");
        run();
      });
    } catch (const std::system_error& failure) {
      return Error{ErrorClass::kResource,
                   std::string("no thread to receive weights: ") + failure.what()};
    }
    return {};
  }

  std::optional<WeightsBuffer> wait(const WeightsReady& wanted, TimePoint limit,
                                    const std::function<bool()>& cancelled);

  void wake() {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

  NcclMemberStatus status() const {
    const std::lock_guard lock(mutex_);
    NcclMemberStatus now{joined_, formed_, 0, 0};
    if (told_) now.epoch = told_->epoch;
    if (told_) now.version = told_->version;
    return now;
  }

 private:
  enum class Phase { kIdle, kForming, kCasting };

  void run();
  std::optional<WeightsPlace> next_place();
  bool wants_another(const WeightsPlace& place);
  Result<void> serve(FrameLink& link, const WeightsPlace& place);
  void obey(const GroupOrder& order);
  void form(const GroupOrder& order);
  void receive(const GroupOrder& order);
  void hear_elsewhere(const WeightsManifest& moment);
  bool advance();
  void finish();
  void leave_group();
  void fail(const Error& why);
  void say(Report kind, const std::string& text = "");
  void tell(const std::string& sentence) {
    if (options_.report) options_.report(sentence);
  }
  bool here(const WeightsManifest& wanted) const { return box_ && same(box_->manifest, wanted); }

  const TlsContext context_;
  Hello own_;
  const std::unique_ptr<Nccl> nccl_;
  const NcclMemberOptions options_;
  WakeFd wake_;
  std::stop_source stop_;
  SpareBuffer spare_;

  mutable std::mutex mutex_;             // of these
  Condition changed_;                    // any of them
  std::optional<WeightsPlace> wish_;     // where the learner is said to be
  std::optional<WeightsPlace> refused_;  // a door that does not take us
  bool joined_ = false;                  // to wish_: whatever is published there, we are told of it
  std::optional<WeightsManifest> told_;  // the newest that we were told of
  std::optional<WeightsManifest> receiving_;  // that arrives now
  std::optional<WeightsBuffer> box_;          // that has arrived
  uint64_t formed_ = 0;

  // The thread's own.
  std::unique_ptr<NcclRank> rank_;
  Phase phase_ = Phase::kIdle;
  uint64_t group_ = 0;
  TimePoint deadline_;
  std::shared_ptr<std::byte[]> buffer_;  // what arrives
  FrameLink* link_ = nullptr;            // while it serves
  bool broken_ = false;                  // the link takes no more
  std::jthread thread_;                  // last: it uses the others
};

std::optional<WeightsBuffer> NcclMember::Impl::wait(const WeightsReady& wanted, TimePoint limit,
                                                    const std::function<bool()>& cancelled) {
  std::unique_lock lock(mutex_);
  if (here(wanted.manifest)) return *box_;
  if (!joined_ || !same_door(*wish_, wanted.place)) {
    wish_ = wanted.place;
    wake_.wake();
    return std::nullopt;
  }
  Wait(name_of(wanted.manifest), "the broadcast of node " + wanted.place.node, limit)
      .on(changed_, lock, [&] {
        if (here(wanted.manifest) || !joined_ || cancelled()) return true;
        const bool told = told_ && !is_newer(wanted.manifest, *told_);
        return told && !(receiving_ && same(*receiving_, wanted.manifest));
      });
  if (!here(wanted.manifest)) return std::nullopt;
  return *box_;
}

void NcclMember::Impl::run() {
  while (!stop_.stop_requested()) {
    const auto place = next_place();
    if (!place) {
      pollfd woken{wake_.fd(), POLLIN, 0};
      (void)Wait("weights to receive").poll({&woken, 1});
      continue;
    }
    const TimePoint limit = SteadyClock::now() + milliseconds(options_.connect_ms);
    auto stream = dial(place->host, static_cast<uint16_t>(place->port), context_, own_, place->node,
                       limit, stop_.get_token());
    if (stream.ok()) {
      FrameLink link(std::move(*stream), kGroupOrderBytes);
      const auto served = serve(link, *place);
      if (!served.ok())
        tell("no weights by NCCL from node '" + place->node +
             "' for now: " + served.error().message);
      link.say_goodbye();
      continue;
    }
    if (stream.error().error_class == ErrorClass::kCancelled) continue;
    tell("no weights by NCCL from node '" + place->node + "': " + stream.error().message);
    const std::lock_guard lock(mutex_);
    if (stream.error().error_class != ErrorClass::kDeadline &&
        stream.error().error_class != ErrorClass::kIo) {
      refused_ = *place;
    }
  }
}

// Where to connect to; nothing: nobody has asked since the last time. Whoever asks takes what he
// wants another way, so that each attempt belongs to one who asked.
std::optional<WeightsPlace> NcclMember::Impl::next_place() {
  wake_.clear();
  const std::lock_guard lock(mutex_);
  const bool refused = wish_ && refused_ && same_door(*wish_, *refused_);
  return refused ? std::nullopt : std::exchange(wish_, std::nullopt);
}

bool NcclMember::Impl::wants_another(const WeightsPlace& place) {
  const std::lock_guard lock(mutex_);
  return !same_door(*wish_, place);
}

// Until the connection ends, another is wanted or it is to stop.
Result<void> NcclMember::Impl::serve(FrameLink& link, const WeightsPlace& place) {
  link_ = &link;
  broken_ = false;
  {
    const std::lock_guard lock(mutex_);
    wish_ = place;
    told_.reset();
    joined_ = true;
  }
  say(Report::kJoin, nccl_->gpu());
  Result<void> end;
  while (end.ok() && !stop_.stop_requested() && !wants_another(place)) {
    wake_.clear();
    end = link.flush();
    while (end.ok()) {
      const auto frame = link.read();
      if (!frame.ok()) end = frame.error();
      if (!frame.ok() || frame->empty()) break;
      const auto order = group_order(*frame);
      if (order.ok()) obey(*order);
      if (!order.ok()) end = order.error();
    }
    const bool again = end.ok() && advance();
    if (broken_) end = io_error("the connection takes no more");
    if (!end.ok() || again) continue;
    pollfd waits[] = {{link.fd(), link.events(), 0}, {wake_.fd(), POLLIN, 0}};
    const TimePoint next = SteadyClock::now() + milliseconds(kLookMs);
    (void)Wait("orders", "node " + place.node, phase_ == Phase::kIdle ? Wait::kNoDeadline : next)
        .poll(waits);
  }
  leave_group();
  link_ = nullptr;
  const std::lock_guard lock(mutex_);
  joined_ = false;
  if (same_door(*wish_, place)) wish_.reset();
  changed_.notify_all();
  return end;
}

void NcclMember::Impl::obey(const GroupOrder& order) {
  switch (order.kind) {
    case Order::kForm:
      form(order);
      break;
    case Order::kCast:
      receive(order);
      break;
    case Order::kLeave:
      if (order.group == group_) leave_group();
      group_ = order.group;
      say(Report::kLeft);
      [[fallthrough]];
    case Order::kElsewhere:
      hear_elsewhere(manifest_of(order));
      break;
  }
}

void NcclMember::Impl::hear_elsewhere(const WeightsManifest& moment) {
  const std::lock_guard lock(mutex_);
  told_ = moment;
  // A version that was replaced or aborted is no longer given out.
  if (box_ && is_newer(moment, box_->manifest)) box_.reset();
  changed_.notify_all();
}

void NcclMember::Impl::form(const GroupOrder& order) {
  leave_group();
  group_ = order.group;
  auto rank = NcclRank::begin(*nccl_, order.id, static_cast<int>(order.ranks),
                              static_cast<int>(order.rank), order.bucket_bytes);
  if (!rank.ok()) return fail(rank.error());
  rank_ = std::move(*rank);
  phase_ = Phase::kForming;
  deadline_ = SteadyClock::now() + milliseconds(order.limit_ms);
}

void NcclMember::Impl::receive(const GroupOrder& order) {
  const WeightsManifest manifest = manifest_of(order);
  if (order.group != group_ || !rank_ || phase_ != Phase::kIdle) {
    hear_elsewhere(manifest);
    return fail({ErrorClass::kInternal, "was told of a broadcast that it is not ready for"});
  }
  {
    // What was announced is arriving: for those who wait, the two are one.
    const std::lock_guard lock(mutex_);
    told_ = receiving_ = manifest;
    box_.reset();
  }
  buffer_ = spare_.take(manifest.bytes);
  if (!buffer_) {
    return fail({ErrorClass::kResource, "no memory for " + name_of(manifest) + " of " +
                                            std::to_string(manifest.bytes) + " bytes"});
  }
  rank_->receive(std::span(buffer_.get(), manifest.bytes));
  phase_ = Phase::kCasting;
  deadline_ = SteadyClock::now() + milliseconds(order.limit_ms);
}

// Whether there is more to be done at once.
bool NcclMember::Impl::advance() {
  if (phase_ == Phase::kIdle) return false;
  if (SteadyClock::now() >= deadline_) {
    fail({ErrorClass::kDeadline, phase_ == Phase::kForming ? "the group had not formed in time"
                                                           : "the broadcast was not over in time"});
    return false;
  }
  const auto step = rank_->step();
  if (!step.ok()) {
    fail(step.error());
    return false;
  }
  if (*step != NcclStep::kIdle) return *step == NcclStep::kMoved;
  if (phase_ == Phase::kCasting) {
    finish();
    return false;
  }
  phase_ = Phase::kIdle;
  {
    const std::lock_guard lock(mutex_);
    formed_ = group_;
  }
  say(Report::kReady);
  return false;
}

// The broadcast is over.
void NcclMember::Impl::finish() {
  phase_ = Phase::kIdle;
  bool good = false;
  {
    const std::lock_guard lock(mutex_);
    const WeightsManifest manifest = *std::exchange(receiving_, std::nullopt);
    good = rank_->checksum() == manifest.checksum;
    auto bytes = std::exchange(buffer_, nullptr);
    // Nobody is given a version of an epoch that was aborted meanwhile.
    if (good && !is_newer(*told_, manifest)) box_ = WeightsBuffer{manifest, std::move(bytes)};
    changed_.notify_all();
  }
  if (!good) tell("a broadcast of weights by NCCL was not what was announced");
  say(good ? Report::kTook : Report::kSpoilt);
}

// Ends the group on this side; what was to come in it comes another way.
void NcclMember::Impl::leave_group() {
  rank_.reset();
  phase_ = Phase::kIdle;
  buffer_.reset();
  const std::lock_guard lock(mutex_);
  formed_ = 0;
  receiving_.reset();
  changed_.notify_all();
}

void NcclMember::Impl::fail(const Error& why) {
  leave_group();
  tell("weights group " + std::to_string(group_) + " of NCCL failed here: " + why.message);
  say(Report::kFailed, why.message);
}

void NcclMember::Impl::say(Report kind, const std::string& text) {
  if (!link_->write(to_bytes(GroupReport{kind, group_, text})).ok()) broken_ = true;
}

Result<std::unique_ptr<NcclMember>> NcclMember::start(const TlsContext& context, const Hello& own,
                                                      std::unique_ptr<Nccl> nccl,
                                                      const NcclMemberOptions& options) {
  TW_CHECK(options.connect_ms > 0, "a connection takes time");
  auto impl = std::make_unique<Impl>(context, own, std::move(nccl), options);
  TW_TRY(impl->start());
  return std::unique_ptr<NcclMember>(new NcclMember(std::move(impl)));
}

NcclMember::NcclMember(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NcclMember::~NcclMember() = default;

std::optional<WeightsBuffer> NcclMember::wait(const WeightsReady& wanted, TimePoint limit,
                                              const std::function<bool()>& cancelled) {
  return impl_->wait(wanted, limit, cancelled);
}
void NcclMember::wake() { impl_->wake(); }
NcclMemberStatus NcclMember::status() const { return impl_->status(); }

}  // namespace tracewise
