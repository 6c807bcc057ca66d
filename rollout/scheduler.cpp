#include "rollout/scheduler.hpp"

#include <algorithm>

#include "messages/check.hpp"
#include "rollout/engine_work.hpp"

namespace tracewise {
namespace {

using SequenceList = std::list<std::unique_ptr<Sequence>>;

// Keeps a list ordered by age; equal ages stay in the order they came.
Sequence* insert(SequenceList& list, std::unique_ptr<Sequence> sequence) {
  auto at = list.end();
  while (at != list.begin() && (*std::prev(at))->age > sequence->age) --at;
  return list.insert(at, std::move(sequence))->get();
}

std::unique_ptr<Sequence> take(SequenceList& list, const Sequence* sequence) {
  for (auto it = list.begin(); it != list.end(); ++it) {
    if (it->get() != sequence) continue;
    std::unique_ptr<Sequence> taken = std::move(*it);
    list.erase(it);
    return taken;
  }
  return nullptr;
}

}  // namespace

Scheduler::Scheduler(int64_t blocks, int64_t block_tokens, int64_t max_sequences,
                     int64_t max_batch_tokens)
    : allocator_(blocks),
      block_tokens_(block_tokens),
      max_sequences_(max_sequences),
      max_batch_tokens_(max_batch_tokens) {}

Sequence* Scheduler::add(std::unique_ptr<Sequence> sequence) {
  // A forked sequence keeps its parent's age, so it is not overtaken by groups that came later.
  if (sequence->age == 0) sequence->age = ++next_age_;
  return insert(waiting_, std::move(sequence));
}

std::vector<int32_t> Scheduler::fork(const std::vector<int32_t>& blocks, int64_t tokens) {
  const int64_t count = (tokens + block_tokens_ - 1) / block_tokens_;
  TW_CHECK(count <= static_cast<int64_t>(blocks.size()), "a fork is longer than its origin");
  std::vector<int32_t> forked(blocks.begin(), blocks.begin() + count);
  for (int32_t block : forked) allocator_.share(block);
  return forked;
}

bool Scheduler::held(const Sequence& s) const {
  return holding_ && s.kind == Sequence::Kind::kPrompt && s.cached == 0;
}

void Scheduler::admit() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (static_cast<int64_t>(running_.size()) >= max_sequences_) return;
    if (held(**it)) {
      ++it;
      continue;
    }
    insert(running_, std::move(*it))->running = true;
    it = waiting_.erase(it);
  }
}

Pass Scheduler::plan() {
  admit();
  Pass pass;
  for (const bool decoding : {true, false}) {
    std::vector<Sequence*> candidates;
    for (const auto& s : running_)
      if ((s->pending() == 1) == decoding) candidates.push_back(s.get());
    for (Sequence* s : candidates) {
      const int64_t tokens = std::min(s->pending(), max_batch_tokens_ - pass.tokens);
      if (tokens <= 0) break;
      // A younger candidate may have been put back for the sake of an older one.
      if (!s->running || !reserve(*s, tokens, pass)) continue;
      pass.items.push_back({s, tokens});
      pass.tokens += tokens;
    }
  }
  return pass;
}

// Makes blocks for `tokens` more tokens that nobody else writes to. False: the sequence was put
// back or failed.
bool Scheduler::reserve(Sequence& sequence, int64_t tokens, Pass& pass) {
  const int64_t first = sequence.cached / block_tokens_;
  const int64_t last = (sequence.cached + tokens - 1) / block_tokens_;
  for (int64_t b = first; b <= last; ++b) {
    const bool exists = b < static_cast<int64_t>(sequence.blocks.size());
    if (exists && !allocator_.shared(sequence.blocks[b])) continue;
    const int32_t fresh = allocate(sequence, pass);
    if (fresh < 0) {
      put_back(&sequence, pass);
      return false;
    }
    if (exists) {
      pass.copies.emplace_back(sequence.blocks[b], fresh);
      allocator_.release(sequence.blocks[b]);
      sequence.blocks[b] = fresh;
    } else {
      sequence.blocks.push_back(fresh);
    }
  }
  return true;
}

// A free block, taken from leases and from sequences behind `wanting` if it must be. -1: there are
// none. Siblings share an age; among them the order of the lists decides, running before waiting.
// So `wanting` counts even while it holds no block: else two siblings put each other back for ever.
int32_t Scheduler::allocate(const Sequence& wanting, Pass& pass) {
  for (;;) {
    if (const int32_t block = allocator_.allocate(); block >= 0) return block;
    const auto lease = std::find_if(leases_.begin(), leases_.end(),
                                    [](const auto& entry) { return !entry.second.blocks.empty(); });
    if (lease != leases_.end()) {
      drop_blocks(lease->second.blocks);
      lease->second.cached = 0;
      ++expired_leases_;
      continue;
    }
    Sequence* youngest = nullptr;
    for (SequenceList* list : {&running_, &waiting_}) {
      for (const auto& s : *list) {
        const bool candidate = !s->blocks.empty() || s.get() == &wanting;
        if (candidate && (youngest == nullptr || s->age >= youngest->age)) youngest = s.get();
      }
    }
    if (youngest == nullptr || youngest == &wanting) return -1;
    put_back(youngest, pass);
  }
}

void Scheduler::put_back(Sequence* sequence, Pass& pass) {
  const auto item = std::find_if(pass.items.begin(), pass.items.end(),
                                 [&](const PassItem& i) { return i.sequence == sequence; });
  if (item != pass.items.end()) {
    pass.tokens -= item->tokens;
    pass.items.erase(item);
  }
  if (sequence->cached > 0) ++preemptions_;  // else it only goes on waiting: nothing is lost
  drop_blocks(sequence->blocks);
  sequence->cached = 0;
  if (!sequence->running) return;  // it was waiting, with forked blocks
  auto taken = take(running_, sequence);
  taken->running = false;
  const auto length = static_cast<int64_t>(sequence->tokens.size());
  const int64_t needed = (length + block_tokens_ - 1) / block_tokens_;
  if (needed > allocator_.total()) {
    pass.failed.push_back(std::move(taken));
  } else {
    insert(waiting_, std::move(taken));
  }
}

std::unique_ptr<Sequence> Scheduler::remove(Sequence* sequence) {
  auto taken = take(sequence->running ? running_ : waiting_, sequence);
  TW_CHECK(taken != nullptr, "a sequence was removed twice");
  drop_blocks(taken->blocks);
  return taken;
}

uint64_t Scheduler::lease(Sequence* sequence, Clock::time_point expires) {
  Lease lease{sequence->tokens, sequence->cached, {}, expires};
  lease.blocks.swap(sequence->blocks);
  const uint64_t id = next_lease_++;
  leases_.emplace(id, std::move(lease));
  remove(sequence);
  return id;
}

uint64_t Scheduler::adopt(std::vector<int32_t> tokens) {
  const uint64_t id = next_lease_++;
  leases_.emplace(id, Lease{std::move(tokens), 0, {}, Clock::time_point::max()});
  return id;
}

Lease* Scheduler::find_lease(uint64_t id) {
  const auto it = leases_.find(id);
  return it == leases_.end() ? nullptr : &it->second;
}

void Scheduler::release(uint64_t id) {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  drop_blocks(it->second.blocks);
  leases_.erase(it);
}

void Scheduler::expire(Clock::time_point now) {
  // The tokens outlive the blocks for a while, so that late probes can prefill them again.
  constexpr auto kForget = std::chrono::minutes(10);
  for (auto it = leases_.begin(); it != leases_.end();) {
    Lease& lease = it->second;
    if (!lease.blocks.empty() && lease.expires <= now) {
      drop_blocks(lease.blocks);
      lease.cached = 0;
      ++expired_leases_;
    }
    it = lease.blocks.empty() && now - lease.expires >= kForget ? leases_.erase(it) : ++it;
  }
}

void Scheduler::hold_starts(bool on) {
  holding_ = on;
  // A held prompt must not take the place of one that was put back and has to go on.
  for (auto it = running_.begin(); it != running_.end();) {
    if (!held(**it)) {
      ++it;
      continue;
    }
    insert(waiting_, std::move(*it))->running = false;
    it = running_.erase(it);
  }
}

bool Scheduler::under_way() const {
  const auto goes_on = [this](const auto& s) { return !held(*s); };
  return !running_.empty() || std::ranges::any_of(waiting_, goes_on) ||
         std::ranges::any_of(leases_, [](const auto& l) { return !l.second.blocks.empty(); });
}

int64_t Scheduler::forget_partial_prompts() {
  int64_t tokens = 0;
  for (SequenceList* list : {&running_, &waiting_}) {
    for (const auto& s : *list) {
      if (s->kind == Sequence::Kind::kPrompt) tokens += forget(*s);
    }
  }
  return tokens;
}

int64_t Scheduler::forget_cache() {
  int64_t tokens = 0;
  for (SequenceList* list : {&running_, &waiting_})
    for (const auto& s : *list) tokens += forget(*s);
  for (auto& [id, lease] : leases_) {
    drop_blocks(lease.blocks);
    lease.cached = 0;
  }
  return tokens;
}

int64_t Scheduler::forget(Sequence& sequence) {
  drop_blocks(sequence.blocks);
  return std::exchange(sequence.cached, 0);
}

std::vector<std::shared_ptr<ProbeWork>> Scheduler::take_probes() {
  std::vector<std::shared_ptr<ProbeWork>> probes;
  for (SequenceList* list : {&running_, &waiting_}) {
    for (auto it = list->begin(); it != list->end();) {
      if (!(*it)->probe) {
        ++it;
        continue;
      }
      drop_blocks((*it)->blocks);
      if (std::ranges::find(probes, (*it)->probe) == probes.end()) probes.push_back((*it)->probe);
      it = list->erase(it);
    }
  }
  return probes;
}

bool Scheduler::decoding() const {
  const auto samples = [](const auto& s) { return s->kind == Sequence::Kind::kSample; };
  return std::ranges::any_of(running_, samples) || std::ranges::any_of(waiting_, samples);
}

std::vector<Sequence*> Scheduler::sequences_of(GroupKey key) {
  std::vector<Sequence*> found;
  for (SequenceList* list : {&waiting_, &running_})
    for (const auto& s : *list)
      if (s->group && s->group->task.key == key) found.push_back(s.get());
  return found;
}

void Scheduler::drop_blocks(std::vector<int32_t>& blocks) {
  for (int32_t block : blocks) allocator_.release(block);
  blocks.clear();
}

void Scheduler::fill(EngineStats& stats) const {
  stats.preemptions = preemptions_;
  stats.expired_leases = expired_leases_;
  stats.waiting = waiting_.size();
  stats.running = running_.size();
  stats.leased = static_cast<uint64_t>(std::count_if(
      leases_.begin(), leases_.end(), [](const auto& l) { return !l.second.blocks.empty(); }));
  stats.free_blocks = allocator_.free();
  stats.total_blocks = allocator_.total();
}

}  // namespace tracewise
