#include "transport/transfer.hpp"

#include <algorithm>
#include <random>
#include <thread>

#include "messages/codec.hpp"
#include "messages/random.hpp"
#include "messages/waits.hpp"
#include "transport/dial.hpp"
#include "transport/hello.hpp"
#include "transport/socket.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

uint64_t random_number() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

Transfer::Transfer(const TlsContext& context, const Hello& own, const TcpReceiverOptions& options,
                   const WeightsReady& wanted, std::span<std::byte> buffer, TimePoint deadline)
    : context_(context),
      own_(own),
      options_(options),
      wanted_(wanted),
      buffer_(buffer),
      deadline_(deadline),
      chunk_bytes_(wanted.place.chunk_bytes > 0 ? wanted.place.chunk_bytes : options.chunk_bytes),
      number_(random_number()),
      book_(chunk_count(buffer.size(), chunk_bytes_), options.attempts),
      doors_(wanted) {}

Result<void> Transfer::run() {
  const auto count = static_cast<size_t>(
      std::min<uint64_t>(static_cast<uint64_t>(options_.connections), book_.chunks()));
  // Their connections stay until all have ended: the sender keeps a replaced version as long.
  workers_ = std::vector<Worker>(count);
  // Fetches begin at different doors, so that all have their part where there are many receivers.
  for (size_t i = 0; i < count; ++i) workers_[i].door = (number_ + i) % doors_.size();
  {
    std::vector<std::jthread> threads;
    try {
      for (size_t i = 1; i < count; ++i) {
        threads.emplace_back([this, i] {
          const NamedThread named("weights connection " + std::to_string(i + 1));
          work(workers_[i]);
        });
      }
    } catch (const std::system_error&) {
      // Without another thread this one brings all.
    }
    if (count > 0) work(workers_[0]);
  }
  for (Worker& worker : workers_) {
    if (worker.stream) worker.stream->shut_down();
  }
  const std::lock_guard lock(mutex_);
  if (failure_) return *failure_;
  if (book_.complete()) {
    if (whole_.sum() == wanted_.manifest.checksum) return {};
    return corrupt(name_of(wanted_.manifest) + " arrived whole, but is not what was announced");
  }
  if (stop_.stop_requested()) {
    return aborted_error(wanted_.manifest);
  }
  return deadline_error();
}

std::vector<std::string> Transfer::warnings() const {
  std::vector<std::string> warnings;
  for (const Error& complaint : doors_.complaints()) warnings.push_back(complaint.message);
  return warnings;
}

Error Transfer::deadline_error() const {
  const WeightsPlace& first = doors_.place(0);
  const size_t others = doors_.size() - 1;
  return {ErrorClass::kDeadline,
          name_of(wanted_.manifest) + ": " + std::to_string(book_.here()) + " of " +
              std::to_string(book_.chunks()) + " chunks arrived from " +
              place_name(first.host, static_cast<uint16_t>(first.port)) +
              (others == 0 ? "" : " and " + std::to_string(others) + " more") + " in time" +
              (last_.empty() ? "" : "; last: " + last_)};
}

// Connects as often as it takes, until nothing is left to ask for, or it is cut: somebody else
// takes over then.
void Transfer::work(Worker& worker) {
  worker.backoff_ms = options_.backoff_ms;
  while (!over()) {
    std::stop_source cut;
    const std::stop_callback with_all(stop_.get_token(), [cut]() mutable { cut.request_stop(); });
    const StopSignal signal(cut.get_token());
    if (signal.fd() < 0) return remember(io_error("no descriptor left"));
    {
      const std::lock_guard lock(mutex_);
      worker.door = doors_.usable(worker.door);
      worker.cut = cut;
    }
    if (bring(worker, cut.get_token(), signal.fd())) return;
    if (!pause(worker, signal.fd())) return;
  }
}

// One connection, from its making to its end. True: nothing is left to ask for, or no use in it.
bool Transfer::bring(Worker& worker, const std::stop_token& cut, int stop_fd) {
  auto stream = connect(worker, cut);
  if (!stream.ok()) {
    const ErrorClass why = stream.error().error_class;
    if (why == ErrorClass::kBadInput || why == ErrorClass::kUnsupported)
      give_up(worker.door, stream.error());
    remember(stream.error());
  } else {
    worker.stream = std::move(*stream);
    const auto pumped = pump(worker, stop_fd);
    if (pumped.ok()) return true;
    worker.stream.reset();
    remember(pumped.error());
  }
  const std::lock_guard lock(mutex_);
  for (const uint64_t chunk : std::exchange(worker.asked, {})) book_.put_back(chunk);
  worker.door = doors_.next(worker.door);
  changed_.notify_all();
  return false;
}

Result<std::unique_ptr<TlsStream>> Transfer::connect(const Worker& worker,
                                                     const std::stop_token& cut) {
  Hello hello = own_;
  hello.channel = Channel::kWeights;
  const WeightsPlace& place = doors_.place(worker.door);
  const TimePoint limit =
      std::min(deadline_, SteadyClock::now() + milliseconds(options_.connect_ms));
  return dial(place.host, static_cast<uint16_t>(place.port), context_, hello, place.node, limit,
              cut);
}

// An error: the connection is of no use any more, and what was asked for on it will not come.
Result<void> Transfer::pump(Worker& worker, int stop_fd) {
  for (;;) {
    TW_TRY(ask(worker, stop_fd));
    if (worker.asked.empty()) {
      if (!wait_for_missing(worker)) return {};
      continue;
    }
    TW_TRY(take_answer(worker, stop_fd));
  }
}

// What another connection has asked for may become missing again. False: nothing will.
bool Transfer::wait_for_missing(const Worker& worker) {
  const auto missing = [this] { return book_.missing(); };
  std::unique_lock lock(mutex_);
  if (doors_.size() > 1) {
    const TimePoint patience =
        std::min(deadline_, SteadyClock::now() + milliseconds(options_.slow_ms));
    if (!Wait("a part to ask for", "the other connections", patience)
             .on(changed_, lock, stop_.get_token(), missing) &&
        !over())
      cut_slow(worker);
  }
  Wait("a part to ask for", "the other connections", deadline_)
      .on(changed_, lock, stop_.get_token(), missing);
  return book_.missing() && !over() && !worker.cut.stop_requested();
}

// Others still wait for what this one could have had by now, from its own door: it takes that over.
void Transfer::cut_slow(const Worker& idle) {
  if (!doors_.is_good(idle.door)) return;
  for (const Worker& slow : workers_) {
    if (slow.asked.empty() || slow.door == idle.door || !doors_.is_good(slow.door)) continue;
    doors_.leave_slow(slow.door, {ErrorClass::kDeadline, node_of(slow) + " was too slow to give " +
                                                             name_of(wanted_.manifest)});
    for (Worker& worker : workers_) {
      if (worker.door == slow.door) worker.cut.request_stop();
    }
  }
}

Result<void> Transfer::ask(Worker& worker, int stop_fd) {
  std::string frames;
  while (worker.asked.size() < static_cast<size_t>(options_.pulls_ahead)) {
    std::optional<uint64_t> chunk;
    {
      const std::lock_guard lock(mutex_);
      if (!over()) chunk = book_.take();
      if (chunk) worker.asked.push_back(*chunk);
    }
    if (!chunk) break;
    const WeightsManifest& manifest = wanted_.manifest;
    const auto left = std::chrono::ceil<milliseconds>(deadline_ - SteadyClock::now()).count();
    const auto message = encode(WeightsPull{manifest.version, manifest.epoch, manifest.bytes,
                                            manifest.checksum, number_, *chunk, chunk_bytes_,
                                            static_cast<uint64_t>(std::max<int64_t>(left, 0))});
    TW_CHECK(message.ok(), "a pull is small");
    frames += framed(*message);
  }
  return write_all(*worker.stream, std::as_bytes(std::span(frames)), stall_limit(), stop_fd);
}

Result<void> Transfer::take_answer(Worker& worker, int stop_fd) {
  std::array<std::byte, kChunkHeaderBytes> bytes;
  TW_TRY(read_exactly(*worker.stream, bytes, answer_limit(), stop_fd));
  const auto header = chunk_header(bytes);
  if (!header.ok()) return give_up(worker.door, header.error());
  if (header->refusal) return refusal(worker, *header, stop_fd);
  const uint64_t chunk = worker.asked.front();
  const std::span to = place_of(chunk);
  const size_t size = to.size();
  if (header->chunk != chunk || header->bytes != size) {
    return give_up(worker.door,
                   corrupt("chunk " + std::to_string(chunk) + " of " + std::to_string(size) +
                           " bytes was asked for, chunk " + std::to_string(header->chunk) + " of " +
                           std::to_string(header->bytes) + " came"));
  }
  // The stall limit is for each step. They are added up while they are still in the core's cache.
  constexpr size_t kStep = size_t{256} << 10;
  Xxh3 sum;
  for (size_t at = 0; at < size; at += kStep) {
    const std::span step = to.subspan(at, std::min<size_t>(kStep, size - at));
    TW_TRY(read_exactly(*worker.stream, step, stall_limit(), stop_fd));
    sum.add(step);
  }
  return store(worker, *header, sum.sum());
}

// Until something has come the version may still be to be published, which isn't a stall; several
// doors are named only when all have it.
TimePoint Transfer::answer_limit() {
  const std::lock_guard lock(mutex_);
  return book_.here() > 0 || doors_.size() > 1 ? stall_limit() : deadline_;
}

Result<void> Transfer::refusal(Worker& worker, const ChunkHeader& header, int stop_fd) {
  std::string sentence(header.bytes, '\0');
  TW_TRY(read_exactly(*worker.stream, std::as_writable_bytes(std::span(sentence)), stall_limit(),
                      stop_fd));
  return give_up(worker.door, {*header.refusal, node_of(worker) + ": " + sentence});
}

// A chunk that came, whose content adds up to `sum`. An error: its door is given up.
Result<void> Transfer::store(Worker& worker, const ChunkHeader& header, uint64_t sum) {
  const uint64_t chunk = header.chunk;
  const std::string what = "chunk " + std::to_string(chunk) + " of " + name_of(wanted_.manifest);
  const auto& stated = wanted_.place.chunk_checksums;
  worker.backoff_ms = options_.backoff_ms;
  std::unique_lock lock(mutex_);
  if (sum == header.checksum && !stated.empty() && stated[chunk] != sum) {
    lock.unlock();  // the chunk stays asked for, hence is put back
    return give_up(worker.door, corrupt(node_of(worker) + " gave " + what +
                                        " with other bytes than were announced"));
  }
  if (sum == header.checksum) {
    worker.asked.pop_front();
    doors_.gave(worker.door, header.bytes);
    book_.arrived(chunk);
    if (book_.complete()) stop_.request_stop();  // wakes those who wait
    add_up(lock);
    return {};
  }
  if (book_.spoiled(chunk)) {
    worker.asked.pop_front();
    changed_.notify_all();
    return {};
  }
  lock.unlock();  // as above: nobody asks for it once more before its door is given up
  return give_up(worker.door, corrupt(what + " came with a wrong checksum " +
                                      std::to_string(options_.attempts) + " times"));
}

// The fetch fails of it if there is no other door; `why` again, for the caller.
Error Transfer::give_up(size_t door, Error why) {
  std::unique_lock lock(mutex_);
  if (!doors_.give_up(door, why)) {
    Error first = doors_.first_failure();  // rank 0 knows best
    lock.unlock();
    fail(std::move(first));
  }
  return why;
}

// Adds what is here in one piece from the start to the whole's checksum. One worker at a time does
// it, for all; the last chunk's at the latest.
void Transfer::add_up(std::unique_lock<std::mutex>& lock) {
  if (std::exchange(adding_up_, true)) return;
  while (const auto chunk = book_.follow()) {
    lock.unlock();
    whole_.add(place_of(*chunk));
    lock.lock();
  }
  adding_up_ = false;
}

// False: it is over.
bool Transfer::pause(Worker& worker, int stop_fd) {
  // All receivers of a sender that is gone come back: not at once.
  thread_local SplitMix jitter(random_number());
  const auto length =
      milliseconds(static_cast<int64_t>(worker.backoff_ms * (0.5 + jitter.uniform() / 2)));
  worker.backoff_ms = std::min(2 * worker.backoff_ms, options_.max_backoff_ms);
  const auto stopped = wait_readable(stop_fd, std::min(deadline_, SteadyClock::now() + length), -1,
                                     "its next attempt");
  return !stopped.ok() && !over();
}

void Transfer::fail(Error error) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(error);
  }
  stop_.request_stop();
}

void Transfer::remember(const Error& error) {
  if (error.error_class == ErrorClass::kCancelled) return;
  const std::lock_guard lock(mutex_);
  // What the fetch's own deadline cut short says less than what was in the way before.
  const bool cut_short =
      error.error_class == ErrorClass::kDeadline && SteadyClock::now() >= deadline_;
  if (!cut_short || last_.empty()) last_ = error.message;
}

}  // namespace tracewise
