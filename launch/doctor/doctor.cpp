#include "launch/doctor/doctor.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "launch/process_group.hpp"
#include "launch/run_id.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kIdentityDays = 1;
constexpr std::chrono::seconds kWaitNote{3};
constexpr std::chrono::seconds kReachLimit{10};

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class Round {
 public:
  Round(std::vector<HostVisit>& hosts, const DoctorSetup& setup, RunAuthority authority)
      : hosts_(hosts), setup_(setup), authority_(std::move(authority)) {}

  Result<void> run() {
    TW_ASSIGN(group_, ProcessGroup::create());
    for (HostVisit& host : hosts_) {
      open_[host.name];
      const auto started = group_->start(host.name, host.nodes.front().argv);
      if (!started.ok()) fail(host, started.error().message);
    }
    listen(SteadyClock::now() + setup_.limit, [this](const HostVisit& host) {
      return host.report.has_value() || !host.failure.empty();
    });
    const std::string late =
        "it did not report within " + std::to_string(setup_.limit.count() / 1000) + " s";
    for (HostVisit& host : hosts_) {
      if (!host.report && host.failure.empty()) fail(host, late);
    }
    look_for_each_other();
    return group_->end_all(ProcessGroup::kEndLimit);
  }

 private:
  struct Open {
    double pinged = 0;       // our time, seconds since 1970
    std::string last_words;  // on standard error, or of no meaning here
  };

  template <class Done>
  void listen(TimePoint deadline, Done done) {
    TimePoint note = SteadyClock::now() + kWaitNote;
    while (!std::ranges::all_of(hosts_, done) && SteadyClock::now() < deadline) {
      for (const ChildEvent& event : group_->wait(std::min(deadline, note))) handle(event);
      if (SteadyClock::now() < note) continue;
      note = SteadyClock::now() + kWaitNote;
      std::vector<std::string> waiting;
      for (const HostVisit& host : hosts_) {
        if (!done(host)) waiting.push_back(host.host);
      }
      if (setup_.on_wait && !waiting.empty()) setup_.on_wait(waiting);
    }
  }

  void handle(const ChildEvent& event) {
    HostVisit& host = *std::ranges::find(hosts_, event.child, &HostVisit::name);
    Open& open = open_.at(host.name);
    if (event.kind == ChildEvent::Kind::kExit) {
      if (host.report && host.reached) return;
      return fail(
          host, (host.hello ? "its process ended early" : "it cannot be reached") +
                    (open.last_words.empty() ? ", with exit code " + std::to_string(event.exit_code)
                                             : ": " + open.last_words));
    }
    const auto answer =
        event.kind == ChildEvent::Kind::kOut ? host_answer(event.line) : std::nullopt;
    if (!answer) {
      open.last_words = event.line;
      return;
    }
    if (const auto* hello = std::get_if<HostHello>(&*answer)) {
      host.hello = *hello;
      open.pinged = seconds_since_1970();
      tell(host, HostPing{});
    } else if (const auto* time = std::get_if<HostTime>(&*answer)) {
      // It looked at its clock between our two looks at ours.
      host.clock = {time->seconds - seconds_since_1970(), time->seconds - open.pinged};
      ask(host);
    } else if (const auto* report = std::get_if<HostReport>(&*answer)) {
      host.report = *report;
    } else {
      host.reached = std::get<HostReached>(*answer);
    }
  }

  void tell(const HostVisit& host, const DoctorOrder& order) {
    group_->write(host.name, to_line(order));
  }

  void ask(HostVisit& host) {
    HostRequest request;
    auto identity = authority_.issue(host.name, kIdentityDays);
    if (!identity.ok()) return fail(host, identity.error().message);
    request.run = run_id(identity->authority_pem);
    request.identity = std::move(*identity);
    request.config = setup_.config;
    for (const PlacedNode& node : host.nodes) {
      request.nodes.push_back({node.name, node.seats, node.devices, node.rank_device, node.door});
      request.head = request.head || node.name == kHeadName;
    }
    tell(host, request);
  }

  void look_for_each_other() {
    HostDoors doors;
    for (const HostVisit& host : hosts_) {
      if (!host.report || host.report->door_port == 0) continue;
      const std::string& name = host.nodes.front().reached_as;
      doors.push_back({host.name, name.empty() ? host.report->host : name, host.report->door_port});
    }
    for (const HostVisit& host : hosts_) {
      if (!host.report) continue;
      HostDoors others = doors;
      std::erase_if(others, [&](const HostDoor& door) { return door.name == host.name; });
      tell(host, others);
    }
    listen(SteadyClock::now() + kReachLimit, [](const HostVisit& host) {
      return host.reached.has_value() || !host.report || !host.failure.empty();
    });
    for (HostVisit& host : hosts_) {
      if (host.report && !host.reached && host.failure.empty())
        fail(host, "it did not say which hosts it reaches");
    }
  }

  static void fail(HostVisit& host, const std::string& why) {
    if (host.failure.empty()) host.failure = why;
  }

  std::vector<HostVisit>& hosts_;
  const DoctorSetup& setup_;
  const RunAuthority authority_;
  std::unique_ptr<ProcessGroup> group_;
  std::map<std::string, Open> open_;  // by name
};

}  // namespace

std::vector<HostVisit> hosts_of(const Placement& placement) {
  std::vector<HostVisit> hosts;
  for (const PlacedNode& node : placement.nodes) {
    const auto same = std::ranges::find_if(
        hosts, [&](const HostVisit& host) { return host.nodes.front().argv == node.argv; });
    if (same != hosts.end()) {
      same->nodes.push_back(node);
      continue;
    }
    HostVisit host;
    host.host = node.host.empty() ? "any" : node.host;
    host.is_here = node.name == kHeadName;
    host.name = "host" + std::to_string(hosts.size());
    host.nodes = {node};
    hosts.push_back(std::move(host));
  }
  return hosts;
}

Result<void> visit(std::vector<HostVisit>& hosts, const DoctorSetup& setup) {
  TW_ASSIGN(RunAuthority authority, RunAuthority::create(kIdentityDays));
  return Round(hosts, setup, std::move(authority)).run();
}

}  // namespace tracewise
