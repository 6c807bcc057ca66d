// The doctor's process on a host: looks at the host, and at the other hosts from there.
#pragma once

#include <memory>
#include <vector>

#include "launch/doctor/host_report.hpp"
#include "transport/door.hpp"

namespace tracewise {

// One thread uses it. Its doors are open until it ends.
class HostCheck {
 public:
  explicit HostCheck(HostRequest request) : request_(std::move(request)) {}

  // Once. Loads no weights; sums over two GPUs where the request and the host have them, which
  // takes a minute at most.
  HostReport report();

  // Enters the doors one after the other, 3 s each at most, and all within 9 s.
  HostReached reach(const HostDoors& doors) const;

 private:
  void open_doors(HostReport& report);
  Hello hello() const;

  HostRequest request_;
  std::unique_ptr<Door> door_;
  std::vector<Fd> ports_;  // of the host's other nodes
};

// Serves one doctor: reads its orders from `in` and writes answers to `out`, until `in` ends. Doors
// stay open until then, for hosts that are slower.
[[nodiscard]] Result<void> serve_doctor(int in, int out);

}  // namespace tracewise
