// One fetch of a version over connections: the chunks, and the workers who bring them.
#pragma once

#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "messages/waits.hpp"
#include "transport/checksum.hpp"
#include "transport/chunk_book.hpp"
#include "transport/chunk_wire.hpp"
#include "transport/door_book.hpp"
#include "transport/tcp_receiver.hpp"

namespace tracewise {

// One thread makes it and calls run(); stop() may come from any. What it is made of outlives it.
class Transfer {
 public:
  // Into `buffer`, of as many bytes as `wanted` says, as the node of `own`.
  Transfer(const TlsContext& context, const Hello& own, const TcpReceiverOptions& options,
           const WeightsReady& wanted, std::span<std::byte> buffer, TimePoint deadline);

  // Blocks until all is here and right. Errors as those of WeightsReceiver::fetch().
  Result<void> run();

  void stop() { stop_.request_stop(); }

  // After run(): who gave it, and what was wrong with doors that were given up.
  std::vector<WeightsShare> shares() const { return doors_.shares(); }
  std::vector<std::string> warnings() const;

 private:
  // Of a thread of its own, or of run()'s.
  struct Worker {
    std::unique_ptr<TlsStream> stream;  // null: none, or broken
    int backoff_ms = 0;
    size_t door = 0;
    // Under the lock, but for reads by the worker itself.
    std::deque<uint64_t> asked;  // in the order of their answers
    std::stop_source cut;        // ends what it does with its door
  };

  void work(Worker& worker);
  bool bring(Worker& worker, const std::stop_token& cut, int stop_fd);
  Result<std::unique_ptr<TlsStream>> connect(const Worker& worker, const std::stop_token& cut);
  Result<void> pump(Worker& worker, int stop_fd);
  bool wait_for_missing(const Worker& worker);
  void cut_slow(const Worker& idle);
  Result<void> ask(Worker& worker, int stop_fd);
  Result<void> take_answer(Worker& worker, int stop_fd);
  TimePoint answer_limit();
  Result<void> refusal(Worker& worker, const ChunkHeader& header, int stop_fd);
  Result<void> store(Worker& worker, const ChunkHeader& header, uint64_t sum);
  Error give_up(size_t door, Error why);
  void add_up(std::unique_lock<std::mutex>& lock);
  bool pause(Worker& worker, int stop_fd);
  void fail(Error error);
  void remember(const Error& error);
  Error deadline_error() const;

  std::string node_of(const Worker& worker) const {
    return "node '" + doors_.place(worker.door).node + "'";
  }
  std::span<std::byte> place_of(uint64_t chunk) const {
    return buffer_.subspan(chunk * chunk_bytes_, chunk_size(buffer_.size(), chunk_bytes_, chunk));
  }
  bool over() const {
    return stop_.stop_requested() || std::chrono::steady_clock::now() >= deadline_;
  }
  TimePoint stall_limit() const {
    return std::min(
        deadline_, std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.stall_ms));
  }

  const TlsContext& context_;
  const Hello& own_;
  const TcpReceiverOptions& options_;
  const WeightsReady& wanted_;
  const std::span<std::byte> buffer_;
  const TimePoint deadline_;
  const uint64_t chunk_bytes_;  // as the sender states them, else as we like
  const uint64_t number_;
  // Requested by stop(), by a failure that no other try can mend, and by the last chunk.
  std::stop_source stop_;

  std::mutex mutex_;   // of all below
  Condition changed_;  // a chunk is missing again
  std::vector<Worker> workers_;
  ChunkBook book_;
  DoorBook doors_;
  bool adding_up_ = false;
  Xxh3 whole_;                    // of whoever adds up
  std::optional<Error> failure_;  // the first that no other try can mend
  std::string last_;              // what was last in the way
};

}  // namespace tracewise
