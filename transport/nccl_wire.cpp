#include "transport/nccl_wire.hpp"

#include <algorithm>
#include <cstring>

#include "transport/little_endian.hpp"

namespace tracewise {
namespace {

constexpr uint32_t kOrderMagic = 0x6f677774;   // "twgo"
constexpr uint32_t kReportMagic = 0x72677774;  // "twgr"
constexpr uint32_t kMaxRanks = 65536;
constexpr uint64_t kMaxLimitMs = 86'400'000;  // a day

// A frame as it is filled and emptied, field by field.
class Writer {
 public:
  explicit Writer(std::span<std::byte> frame) : frame_(frame) {}
  template <class T>
  void put(T value) {
    put_little_endian(frame_.data() + at_, value);
    at_ += sizeof(T);
  }
  void put(std::span<const std::byte> bytes) {
    std::copy(bytes.begin(), bytes.end(), frame_.begin() + static_cast<ptrdiff_t>(at_));
    at_ += bytes.size();
  }

 private:
  std::span<std::byte> frame_;
  size_t at_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> frame) : frame_(frame) {}
  template <class T>
  void get(T& value) {
    value = get_little_endian<T>(frame_.data() + at_);
    at_ += sizeof(T);
  }
  template <class T>
  T get() {
    T value;
    get(value);
    return value;
  }
  std::span<const std::byte> rest() const { return frame_.subspan(at_); }

 private:
  std::span<const std::byte> frame_;
  size_t at_ = 0;
};

bool printable(char c) { return c >= ' ' && c <= '~'; }

}  // namespace

std::array<std::byte, kGroupOrderBytes> to_bytes(const GroupOrder& order) {
  std::array<std::byte, kGroupOrderBytes> frame{};
  Writer to(frame);
  to.put(kOrderMagic);
  to.put(static_cast<uint32_t>(order.kind));
  to.put(order.group);
  to.put(order.rank);
  to.put(order.ranks);
  for (const uint64_t field : {order.bucket_bytes, order.limit_ms, order.version, order.epoch,
                               order.bytes, order.checksum}) {
    to.put(field);
  }
  to.put(std::span<const std::byte>(order.id));
  return frame;
}

Result<GroupOrder> group_order(std::span<const std::byte> frame) {
  TW_CHECK(frame.size() == kGroupOrderBytes, "a frame has its length");
  Reader from(frame);
  const auto magic = from.get<uint32_t>();
  const auto kind = from.get<uint32_t>();
  GroupOrder order;
  order.kind = static_cast<GroupOrder::Kind>(kind);
  from.get(order.group);
  from.get(order.rank);
  from.get(order.ranks);
  for (uint64_t* field : {&order.bucket_bytes, &order.limit_ms, &order.version, &order.epoch,
                          &order.bytes, &order.checksum}) {
    from.get(*field);
  }
  std::memcpy(order.id.data(), from.rest().data(), order.id.size());
  const bool forms = order.kind == GroupOrder::Kind::kForm;
  const bool casts = order.kind == GroupOrder::Kind::kCast;
  if (magic != kOrderMagic || kind > static_cast<uint32_t>(GroupOrder::Kind::kElsewhere) ||
      (forms && (order.rank < 1 || order.rank >= order.ranks || order.ranks > kMaxRanks ||
                 order.bucket_bytes < 1 || order.bucket_bytes > kMaxBucketBytes)) ||
      ((forms || casts) && order.limit_ms > kMaxLimitMs)) {
    return corrupt("what came is no order for a group");
  }
  return order;
}

std::array<std::byte, kGroupReportBytes> to_bytes(const GroupReport& report) {
  std::array<std::byte, kGroupReportBytes> frame{};
  std::string text = report.text.substr(0, kMaxReportText);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return !printable(c); }, '?');
  Writer to(frame);
  to.put(kReportMagic);
  to.put(static_cast<uint32_t>(report.kind));
  to.put(report.group);
  to.put(static_cast<uint32_t>(text.size()));
  to.put(std::as_bytes(std::span(text)));
  return frame;
}

Result<GroupReport> group_report(std::span<const std::byte> frame) {
  TW_CHECK(frame.size() == kGroupReportBytes, "a frame has its length");
  Reader from(frame);
  const auto magic = from.get<uint32_t>();
  const auto kind = from.get<uint32_t>();
  GroupReport report;
  report.kind = static_cast<GroupReport::Kind>(kind);
  from.get(report.group);
  const auto length = from.get<uint32_t>();
  if (magic != kReportMagic || kind > static_cast<uint32_t>(GroupReport::Kind::kLeft) ||
      length > kMaxReportText) {
    return corrupt("what came is no report of a group's member");
  }
  report.text.assign(reinterpret_cast<const char*>(from.rest().data()), length);
  if (!std::all_of(report.text.begin(), report.text.end(), printable)) {
    return corrupt("a report of a group's member is no printable text");
  }
  return report;
}

}  // namespace tracewise
