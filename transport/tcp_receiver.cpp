#include "transport/tcp_receiver.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

#include "messages/codec.hpp"
#include "messages/random.hpp"
#include "transport/checksum.hpp"
#include "transport/chunk_book.hpp"
#include "transport/chunk_wire.hpp"
#include "transport/dial.hpp"
#include "transport/hello.hpp"
#include "transport/socket.hpp"
#include "transport/spare_buffer.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

uint64_t random_number() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// One fetch: the chunks, and who brings them.
class Transfer {
 public:
  Transfer(const TlsContext& context, const Hello& own, const TcpReceiverOptions& options,
           const WeightsReady& wanted, std::span<std::byte> buffer, TimePoint deadline)
      : context_(context),
        own_(own),
        options_(options),
        wanted_(wanted),
        buffer_(buffer),
        deadline_(deadline),
        book_(chunk_count(buffer.size(), options.chunk_bytes), options.attempts) {}

  // Blocks until all is here and right.
  Result<void> run();

  void stop() { stop_.request_stop(); }

 private:
  struct Worker {
    std::unique_ptr<TlsStream> stream;  // null: none, or broken
    std::deque<uint64_t> asked;         // in the order of their answers
    int backoff_ms = 0;
  };

  void work(Worker& worker);
  Result<std::unique_ptr<TlsStream>> connect();
  Result<void> pump(Worker& worker, int stop_fd);
  bool wait_for_missing();
  Result<void> ask(Worker& worker, int stop_fd);
  Result<void> take_answer(Worker& worker, int stop_fd);
  TimePoint answer_limit();
  Error refusal(Worker& worker, const ChunkHeader& header, TimePoint limit, int stop_fd);
  std::span<std::byte> place_of(uint64_t chunk) const {
    return buffer_.subspan(chunk * options_.chunk_bytes,
                           chunk_size(buffer_.size(), options_.chunk_bytes, chunk));
  }
  void store(Worker& worker, const ChunkHeader& header, uint64_t sum);
  void add_up(std::unique_lock<std::mutex>& lock);
  bool pause(Worker& worker, int stop_fd);
  void fail(Error error);
  void remember(const Error& error);
  bool over() const { return stop_.stop_requested() || SteadyClock::now() >= deadline_; }
  TimePoint stall_limit() const {
    return std::min(deadline_, SteadyClock::now() + milliseconds(options_.stall_ms));
  }
  Error deadline_error() const;

  const TlsContext& context_;
  const Hello& own_;
  const TcpReceiverOptions& options_;
  const WeightsReady& wanted_;
  const std::span<std::byte> buffer_;
  const TimePoint deadline_;
  const uint64_t number_ = random_number();
  // Requested by abort(), by a failure that no other try can mend, and by the last chunk.
  std::stop_source stop_;

  std::mutex mutex_;                     // of all below
  std::condition_variable_any changed_;  // a chunk is missing again
  ChunkBook book_;
  bool adding_up_ = false;
  Xxh3 whole_;                    // of whoever adds up
  std::optional<Error> failure_;  // the first that no other try can mend
  std::string last_;              // what was last in the way
};

Result<void> Transfer::run() {
  const auto count = static_cast<size_t>(
      std::min<uint64_t>(static_cast<uint64_t>(options_.connections), book_.chunks()));
  // Their connections stay until all have ended: the sender keeps a replaced version as long.
  std::vector<Worker> workers(count);
  {
    std::vector<std::jthread> threads;
    try {
      for (size_t i = 1; i < count; ++i) {
        threads.emplace_back([this, &worker = workers[i]] { work(worker); });
      }
    } catch (const std::system_error&) {
      // Without another thread this one brings all.
    }
    if (count > 0) work(workers[0]);
  }
  for (Worker& worker : workers) {
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

Error Transfer::deadline_error() const {
  return {ErrorClass::kDeadline,
          name_of(wanted_.manifest) + ": " + std::to_string(book_.here()) + " of " +
              std::to_string(book_.chunks()) + " chunks arrived from " +
              place_name(wanted_.place.host, static_cast<uint16_t>(wanted_.place.port)) +
              " in time" + (last_.empty() ? "" : "; last: " + last_)};
}

// Connects as often as it takes, until nothing is left to ask for.
void Transfer::work(Worker& worker) {
  const StopSignal signal(stop_.get_token());
  if (signal.fd() < 0) return remember(io_error("no descriptor left"));
  worker.backoff_ms = options_.backoff_ms;
  while (!over()) {
    auto stream = connect();
    if (stream.ok()) {
      worker.stream = std::move(*stream);
      const auto pumped = pump(worker, signal.fd());
      if (pumped.ok()) return;
      worker.stream.reset();
      remember(pumped.error());
      const std::lock_guard lock(mutex_);
      for (const uint64_t chunk : std::exchange(worker.asked, {})) book_.put_back(chunk);
      changed_.notify_all();
    } else {
      const ErrorClass why = stream.error().error_class;
      if (why == ErrorClass::kBadInput || why == ErrorClass::kUnsupported) {
        return fail(stream.error());
      }
      remember(stream.error());
    }
    if (!pause(worker, signal.fd())) return;
  }
}

Result<std::unique_ptr<TlsStream>> Transfer::connect() {
  Hello hello = own_;
  hello.channel = Channel::kWeights;
  const WeightsPlace& place = wanted_.place;
  const TimePoint limit =
      std::min(deadline_, SteadyClock::now() + milliseconds(options_.connect_ms));
  return dial(place.host, static_cast<uint16_t>(place.port), context_, hello, place.node, limit,
              stop_.get_token());
}

// An error: the connection is of no use any more, and what was asked for on it will not come.
Result<void> Transfer::pump(Worker& worker, int stop_fd) {
  for (;;) {
    TW_TRY(ask(worker, stop_fd));
    if (worker.asked.empty()) {
      if (!wait_for_missing()) return {};
      continue;
    }
    TW_TRY(take_answer(worker, stop_fd));
  }
}

// What another connection has asked for may become missing again. False: nothing will.
bool Transfer::wait_for_missing() {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, stop_.get_token(), deadline_, [this] { return book_.missing(); });
  return book_.missing() && !over();
}

Result<void> Transfer::ask(Worker& worker, int stop_fd) {
  std::string frames;
  while (worker.asked.size() < static_cast<size_t>(options_.pulls_ahead)) {
    std::optional<uint64_t> chunk;
    {
      const std::lock_guard lock(mutex_);
      chunk = book_.take();
    }
    if (!chunk) break;
    worker.asked.push_back(*chunk);
    const WeightsManifest& manifest = wanted_.manifest;
    const auto left = std::chrono::ceil<milliseconds>(deadline_ - SteadyClock::now()).count();
    const auto message = encode(WeightsPull{
        manifest.version, manifest.epoch, manifest.bytes, manifest.checksum, number_, *chunk,
        options_.chunk_bytes, static_cast<uint64_t>(std::max<int64_t>(left, 0))});
    TW_CHECK(message.ok(), "a pull is small");
    frames += framed(*message);
  }
  return write_all(*worker.stream, std::as_bytes(std::span(frames)), stall_limit(), stop_fd);
}

Result<void> Transfer::take_answer(Worker& worker, int stop_fd) {
  std::array<std::byte, kChunkHeaderBytes> bytes;
  TW_TRY(read_exactly(*worker.stream, bytes, answer_limit(), stop_fd));
  const auto header = chunk_header(bytes);
  if (!header.ok()) {
    fail(header.error());
    return header.error();
  }
  if (header->refusal) return refusal(worker, *header, stall_limit(), stop_fd);
  const uint64_t chunk = worker.asked.front();
  const std::span to = place_of(chunk);
  const size_t size = to.size();
  if (header->chunk != chunk || header->bytes != size) {
    fail(corrupt("chunk " + std::to_string(chunk) + " of " + std::to_string(size) +
                 " bytes was asked for, chunk " + std::to_string(header->chunk) + " of " +
                 std::to_string(header->bytes) + " came"));
    return Error{ErrorClass::kCorrupt, ""};
  }
  // The stall limit is for each step. They are added up while they are still in the core's cache.
  constexpr size_t kStep = size_t{256} << 10;
  Xxh3 sum;
  for (size_t at = 0; at < size; at += kStep) {
    const std::span step = to.subspan(at, std::min<size_t>(kStep, size - at));
    TW_TRY(read_exactly(*worker.stream, step, stall_limit(), stop_fd));
    sum.add(step);
  }
  store(worker, *header, sum.sum());
  return {};
}

// Until something has come the version may still be to be published, which isn't a stall.
TimePoint Transfer::answer_limit() {
  const std::lock_guard lock(mutex_);
  return book_.here() > 0 ? stall_limit() : deadline_;
}

Error Transfer::refusal(Worker& worker, const ChunkHeader& header, TimePoint limit, int stop_fd) {
  std::string sentence(header.bytes, '\0');
  const auto read =
      read_exactly(*worker.stream, std::as_writable_bytes(std::span(sentence)), limit, stop_fd);
  if (!read.ok()) return read.error();
  Error error{*header.refusal, "node '" + wanted_.place.node + "': " + sentence};
  fail(error);
  return error;
}

void Transfer::store(Worker& worker, const ChunkHeader& header, uint64_t sum) {
  worker.asked.pop_front();
  worker.backoff_ms = options_.backoff_ms;
  std::unique_lock lock(mutex_);
  if (sum == header.checksum) {
    book_.arrived(header.chunk);
    if (book_.complete()) stop_.request_stop();  // wakes those who wait
    return add_up(lock);
  }
  if (book_.spoiled(header.chunk)) return changed_.notify_all();
  lock.unlock();
  fail(corrupt("chunk " + std::to_string(header.chunk) + " of " + name_of(wanted_.manifest) +
               " came with a wrong checksum " + std::to_string(options_.attempts) + " times"));
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
  const auto stopped = wait_readable(stop_fd, std::min(deadline_, SteadyClock::now() + length));
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

class TcpReceiver final : public WeightsReceiver {
 public:
  TcpReceiver(const TlsContext& context, const Hello& own, const TcpReceiverOptions& options)
      : context_(context), own_(own), options_(options) {}

  Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint deadline) override {
    const WeightsManifest& manifest = wanted.manifest;
    auto buffer = spare_.take(manifest.bytes);
    if (!buffer) {
      return Error{ErrorClass::kResource, "no memory for " + name_of(manifest) + " of " +
                                              std::to_string(manifest.bytes) + " bytes"};
    }
    const std::span bytes(buffer.get(), manifest.bytes);
    Transfer transfer(context_, own_, options_, wanted, bytes, deadline);
    if (!begin(transfer, manifest.epoch)) return aborted_error(manifest);
    Result<void> run = transfer.run();
    if (!end(manifest.epoch)) return aborted_error(manifest);
    TW_TRY(std::move(run));
    return FetchedWeights{{manifest, std::move(buffer)}, "tcp"};
  }

  void abort(uint64_t epoch) override {
    const std::lock_guard lock(mutex_);
    first_live_epoch_ = std::max(first_live_epoch_, epoch + 1);
    if (running_ != nullptr && running_epoch_ <= epoch) running_->stop();
  }

 private:
  // Lets abort() know of a fetch; false: its epoch was aborted.
  bool begin(Transfer& transfer, uint64_t epoch) {
    const std::lock_guard lock(mutex_);
    TW_CHECK(running_ == nullptr, "a receiver makes one fetch at a time");
    if (epoch < first_live_epoch_) return false;
    running_ = &transfer;
    running_epoch_ = epoch;
    return true;
  }
  bool end(uint64_t epoch) {
    const std::lock_guard lock(mutex_);
    running_ = nullptr;
    return epoch >= first_live_epoch_;
  }

  const TlsContext context_;
  const Hello own_;
  const TcpReceiverOptions options_;
  SpareBuffer spare_;
  std::mutex mutex_;
  Transfer* running_ = nullptr;  // the caller of fetch() has it
  uint64_t running_epoch_ = 0;
  uint64_t first_live_epoch_ = 0;
};

}  // namespace

std::unique_ptr<WeightsReceiver> make_tcp_receiver(const TlsContext& context, const Hello& own,
                                                   const TcpReceiverOptions& options) {
  TW_CHECK(options.connections > 0 && options.pulls_ahead > 0 && options.attempts > 0 &&
               options.chunk_bytes > 0 && options.chunk_bytes <= kMaxChunkBytes &&
               options.connect_ms > 0 && options.stall_ms > 0 && options.backoff_ms > 0,
           "a receiver has a connection, a chunk and time for them");
  return std::make_unique<TcpReceiver>(context, own, options);
}

}  // namespace tracewise
