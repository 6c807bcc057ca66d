#include "transport/segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <string>

#include "transport/checksum.hpp"

namespace tracewise {

// At the start of the segment; the sender alone writes it.
struct SegmentHeader {
  char magic[8];
  uint32_t layout;
  std::atomic<uint32_t> offered;  // 0: withdrawn
  uint64_t version;
  uint64_t epoch;
  uint64_t bytes;
  uint64_t checksum;
};

namespace {

constexpr uint64_t kHeaderBytes = 4096;
constexpr uint64_t kLargePage = uint64_t{2} << 20;
constexpr char kMagic[8] = {'t', 'w', 's', 'e', 'g', 'm', 'n', 't'};
constexpr uint32_t kLayout = 1;
static_assert(sizeof(SegmentHeader) <= kHeaderBytes);
static_assert(std::atomic<uint32_t>::is_always_lock_free, "two processes share it");

// What a receiver relies on: the mapped pages stay, and only the sender writes them.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;

std::string failed(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

Error no_memory(const char* what, uint64_t bytes) {
  return {ErrorClass::kResource,
          failed(what) + " (shared memory of " + std::to_string(bytes) + " bytes)"};
}

bool set_lock(int fd, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;  // from 0 to the end
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

// Maps `bytes` of `fd` at an address that large pages can begin at; null: errno says why.
std::byte* map_pages(int fd, uint64_t bytes, int protection) {
  void* const room = ::mmap(nullptr, bytes + kLargePage, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return nullptr;
  auto* const start = static_cast<std::byte*>(room);
  const auto address = reinterpret_cast<uintptr_t>(room);
  const uint64_t before = (kLargePage - address % kLargePage) % kLargePage;
  const uint64_t used = (bytes + kHeaderBytes - 1) / kHeaderBytes * kHeaderBytes;
  std::byte* const aligned = start + before;
  void* const mapped = ::mmap(aligned, bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  const int failure = errno;
  if (before > 0) ::munmap(start, before);
  if (before + used < bytes + kLargePage) {
    ::munmap(aligned + used, bytes + kLargePage - before - used);
  }
  if (mapped == MAP_FAILED) {
    ::munmap(aligned, used);
    errno = failure;
    return nullptr;
  }
  ::madvise(aligned, bytes, MADV_HUGEPAGE);  // advice: without large pages it does nothing
  return aligned;
}

}  // namespace

Result<std::unique_ptr<Segment>> Segment::create(uint64_t bytes) {
  const uint64_t all = kHeaderBytes + bytes;
  Fd fd(::memfd_create("tracewise-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return unsupported(failed("no memory can be shared with other processes"));
  if (::ftruncate(fd.get(), static_cast<off_t>(all)) != 0) return no_memory("no room", bytes);
  std::byte* const start = map_pages(fd.get(), all, PROT_READ | PROT_WRITE);
  if (start == nullptr) return no_memory("cannot map", bytes);
  std::unique_ptr<Segment> segment(new Segment(std::move(fd), start, all, bytes));
  // All pages now: a lack of memory is an error here, and a signal (SIGBUS) later. Older kernels
  // don't know the request, and neither do they run out of this memory otherwise.
  if (::madvise(start, all, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
    return no_memory("no memory", bytes);
  }
  if (::fcntl(segment->fd(), F_ADD_SEALS, kSeals) != 0) {
    return unsupported(failed("shared memory cannot be sealed"));
  }
  auto* const header = new (start) SegmentHeader{};
  std::memcpy(header->magic, kMagic, sizeof kMagic);
  header->layout = kLayout;
  if (!segment->try_lock()) return unsupported(failed("shared memory cannot be locked"));
  return segment;
}

Segment::Segment(Fd fd, std::byte* start, uint64_t mapped_bytes, uint64_t bytes)
    : fd_(std::move(fd)), start_(start), mapped_bytes_(mapped_bytes), bytes_(bytes) {}

Segment::~Segment() { ::munmap(start_, mapped_bytes_); }

bool Segment::try_lock() { return set_lock(fd_.get(), F_WRLCK); }
void Segment::unlock() {
  TW_CHECK(set_lock(fd_.get(), F_UNLCK), "a lock of one's own can be dropped");
}

std::span<std::byte> Segment::content() const { return {start_ + kHeaderBytes, bytes_}; }

SegmentHeader& Segment::header() const {
  return *std::launder(reinterpret_cast<SegmentHeader*>(start_));
}

void Segment::offer(const WeightsManifest& manifest) {
  TW_CHECK(manifest.bytes <= bytes_, "a version fits its segment");
  SegmentHeader& to = header();
  to.version = manifest.version;
  to.epoch = manifest.epoch;
  to.bytes = manifest.bytes;
  to.checksum = manifest.checksum;
  to.offered.store(1, std::memory_order_release);
  unlock();
}

void Segment::withdraw() { header().offered.store(0, std::memory_order_release); }

namespace {

// A receiver's view of a segment.
struct Mapping {
  Mapping(Fd opened, const struct stat& file, uint64_t mapped_bytes, const std::byte* mapped)
      : fd(std::move(opened)),
        device(file.st_dev),
        inode(file.st_ino),
        bytes(mapped_bytes),
        start(mapped) {}
  ~Mapping() { ::munmap(const_cast<std::byte*>(start), bytes); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const Fd fd;  // the lock is its
  const dev_t device;
  const ino_t inode;
  const uint64_t bytes;
  const std::byte* const start;
};

// Ours if it has the seals: then it is a memfd, and no reader of it can be hurt by its owner.
Result<Fd> open_segment(const WeightsPlace& place, uint64_t bytes, struct stat& file) {
  const std::string path = "/proc/" + std::to_string(place.pid) + "/fd/" + std::to_string(place.fd);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return unsupported(failed(("the shared memory " + path + " cannot be opened").c_str()));
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || ::fstat(fd.get(), &file) != 0 ||
      static_cast<uint64_t>(file.st_size) < bytes) {
    return unsupported(path + " is no shared memory of the learner's any more");
  }
  return fd;
}

// Whether the header says what is wanted.
Result<void> check_header(const SegmentHeader& header, const WeightsManifest& wanted) {
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.layout != kLayout) {
    return unsupported("the shared memory of " + name_of(wanted) + " has an unknown layout");
  }
  const bool offered = header.offered.load(std::memory_order_acquire) != 0;
  if (!offered || header.version != wanted.version || header.epoch != wanted.epoch) {
    return Error{ErrorClass::kCancelled, name_of(wanted) + " was replaced or aborted"};
  }
  if (header.bytes != wanted.bytes || header.checksum != wanted.checksum) {
    return corrupt(name_of(wanted) + " is not the buffer that was announced: checksum " +
                   std::to_string(header.checksum) + " instead of " +
                   std::to_string(wanted.checksum));
  }
  return {};
}

}  // namespace

struct SegmentReader::State {
  std::mutex mutex;
  std::unique_ptr<Mapping> idle;  // the last that was let go of
  bool closed = false;            // the reader is gone

  // The idle mapping, if it is of the segment `file`.
  std::unique_ptr<Mapping> take_idle(const struct stat& file, uint64_t bytes) {
    const std::lock_guard lock(mutex);
    if (!idle || idle->device != file.st_dev || idle->inode != file.st_ino || idle->bytes != bytes)
      return nullptr;
    return std::move(idle);
  }

  void give_back(std::unique_ptr<Mapping> mapping) {
    TW_CHECK(set_lock(mapping->fd.get(), F_UNLCK), "a lock of one's own can be dropped");
    const std::lock_guard lock(mutex);
    if (!closed) std::swap(idle, mapping);
  }
};

SegmentReader::SegmentReader() : state_(std::make_shared<State>()) {}

SegmentReader::~SegmentReader() {
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
  state_->idle.reset();
}

Result<WeightsBuffer> SegmentReader::map(const WeightsManifest& manifest,
                                         const WeightsPlace& place) {
  const uint64_t all = kHeaderBytes + manifest.bytes;
  struct stat file {};
  TW_ASSIGN(Fd fd, open_segment(place, all, file));
  auto mapping = state_->take_idle(file, all);
  if (!mapping) {
    const std::byte* const start = map_pages(fd.get(), all, PROT_READ);
    if (start == nullptr) return unsupported(failed("the shared memory cannot be mapped"));
    mapping = std::make_unique<Mapping>(std::move(fd), file, all, start);
  }
  if (!set_lock(mapping->fd.get(), F_RDLCK)) {
    return Error{ErrorClass::kCancelled, name_of(manifest) + " was replaced"};
  }
  const std::byte* const start = mapping->start;
  const std::shared_ptr<const std::byte[]> content(
      start + kHeaderBytes, [state = state_, held = mapping.release()](const std::byte*) {
        state->give_back(std::unique_ptr<Mapping>(held));
      });
  TW_TRY(check_header(*reinterpret_cast<const SegmentHeader*>(start), manifest));
  if (xxh3({content.get(), manifest.bytes}) != manifest.checksum) {
    return corrupt(name_of(manifest) + " in shared memory is not what was announced");
  }
  return WeightsBuffer{manifest, content};
}

}  // namespace tracewise
