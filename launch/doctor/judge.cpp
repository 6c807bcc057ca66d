#include "launch/doctor/judge.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "launch/text_table.hpp"

namespace tracewise {
namespace {

// Lines of logs cannot be told apart in time beyond this.
constexpr double kLogSkewSeconds = 2;
// Certificates count from a day before they are made (transport/identity).
constexpr double kCertificateSkewSeconds = 24 * 3600;
// A door holds up to 64 strangers; the rest are libraries, logs, checkpoints and the weights.
constexpr int64_t kOpenFiles = 256, kOpenFilesPerNode = 16;
constexpr int64_t kLeastFreeBytes = int64_t{64} << 20;

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f s", seconds);
  return text;
}

// The findings of one host.
class HostJudge {
 public:
  HostJudge(const HostVisit& host, const std::vector<HostVisit>& all, const Needs& needs,
            std::vector<Finding>* findings)
      : host_(host), all_(all), needs_(needs), findings_(*findings) {}

  void judge() {
    reached();
    if (host_.hello) build();
    if (host_.clock) clock();
    if (!host_.report) return;
    doors();
    if (host_.reached) others();
    open_files();
    cores();
    memory();
    disks();
    say("model folder", host_.report->model.empty() ? Level::kOk : Level::kFail,
        host_.report->model.empty() ? "readable" : host_.report->model,
        "Copy the model to the same path on this host, or set model.dir to one that all hosts "
        "have.");
    devices();
  }

 private:
  void say(const std::string& check, Level level, std::string found, const std::string& fix = "") {
    findings_.push_back(
        {host_.host, check, level, std::move(found), level == Level::kOk ? "" : fix});
  }

  void reached() {
    if (host_.failure.empty()) return say("reachable", Level::kOk, "as " + host_.report->host);
    say("reachable", Level::kFail, host_.failure,
        host_.is_here || !needs_.ssh
            ? "See whether the command works by itself: " + words() + "."
            : "See whether `ssh " + host_.host +
                  " true` works without a password, and whether cluster.binary is there.");
  }

  std::string words() const {
    std::string text;
    for (const std::string& word : host_.nodes.front().argv)
      text += (text.empty() ? "" : " ") + shell_word(word);
    return text;
  }

  void build() {
    const HostHello& theirs = *host_.hello;
    const bool same = theirs.build == needs_.build && theirs.protocol == needs_.protocol;
    say("same build", same ? Level::kOk : Level::kFail,
        same ? theirs.build.substr(0, 12)
             : "build " + theirs.build + ", protocol " + std::to_string(theirs.protocol) +
                   "; here it is build " + needs_.build + ", protocol " +
                   std::to_string(needs_.protocol),
        "Copy this binary there, or set cluster.binary to a path where all hosts have it.");
  }

  void clock() {
    const ClockSkew& skew = *host_.clock;
    // As far from ours as it surely is.
    const double least = skew.least > 0 ? skew.least : skew.most < 0 ? -skew.most : 0;
    const std::string side = skew.least > 0 ? " ahead" : " behind";
    const Level level = least >= kCertificateSkewSeconds ? Level::kFail
                        : least >= kLogSkewSeconds       ? Level::kWarn
                                                         : Level::kOk;
    say("clock", level,
        level == Level::kOk
            ? "within " + seconds_text(std::max(std::abs(skew.least), std::abs(skew.most)))
            : seconds_text(least) + side + " at least",
        level == Level::kFail ? "Set the clock (NTP): certificates of the run are not valid there."
                              : "Set the clock (NTP): times in the logs don't fit together.");
  }

  void doors() {
    for (const PlacedNode& node : host_.nodes) {
      const auto found = host_.report->doors.find(node.name);
      const bool open = found != host_.report->doors.end() && found->second.empty();
      const std::string port =
          node.door.fixed_port ? "port " + std::to_string(node.door.port) : std::string("any port");
      say("door of " + node.name, open ? Level::kOk : Level::kFail,
          open ? port + " of " + node.door.address : found->second,
          node.door.fixed_port
              ? "End what listens there, or choose another port for " + node.name + "."
              : "Set cluster.address to an address that this host has.");
    }
  }

  void others() {
    size_t entered = 0;
    for (const auto& [name, why] : host_.reached->doors) {
      entered += why.empty() ? 1 : 0;
      if (why.empty()) continue;
      const auto other = std::ranges::find(all_, name, &HostVisit::name);
      say("way to " + other->host, Level::kFail, why,
          "Let a firewall pass that port, or set the host to a name by which this one reaches it.");
    }
    const size_t count = host_.reached->doors.size();
    if (entered == count) {
      say("way to others", Level::kOk,
          count == 0 ? "no other host" : "all " + std::to_string(count) + " entered");
    }
  }

  void open_files() {
    const int64_t need = kOpenFiles + kOpenFilesPerNode * static_cast<int64_t>(needs_.nodes);
    const bool enough = host_.report->open_files >= need;
    say("open files", enough ? Level::kOk : Level::kFail,
        "limit " + std::to_string(host_.report->open_files),
        "Raise the limit to " + std::to_string(need) + " at least (ulimit -n, or limits.conf).");
  }

  void cores() {
    uint64_t sampling = 0, training = 0;
    for (const PlacedNode& node : host_.nodes) {
      sampling += uint64_t{node.seats.generators} *
                  (node.threads > 0 ? node.threads : needs_.engine_threads);
      if (node.name == kHeadName || node.seats.ranks > 0) training += needs_.learner_threads;
    }
    const uint64_t threads = needs_.in_turns ? std::max(sampling, training) : sampling + training;
    const bool enough = threads <= host_.report->cores;
    say("cores", enough ? Level::kOk : Level::kWarn,
        std::to_string(host_.report->cores) + " for " + std::to_string(threads) + " threads",
        "Threads in excess starve each other: lower engine.threads, trainer.threads or a node's "
        "threads.");
  }

  void memory() {
    if (needs_.memory.empty()) return;
    int64_t need = 0;
    for (const PlacedNode& node : host_.nodes) need += needs_.memory.at(node.name);
    const HostReport& report = *host_.report;
    const Level level = need > report.memory_bytes      ? Level::kFail
                        : need > report.available_bytes ? Level::kWarn
                                                        : Level::kOk;
    say("memory", level,
        bytes_text(report.available_bytes) + " of " + bytes_text(report.memory_bytes) +
            " free for about " + bytes_text(need),
        level == Level::kFail
            ? "Give this host fewer generators, or lower engine.kv_blocks or engine.max_sequences."
            : "End what else uses the memory, or give this host less.");
  }

  void disks() {
    for (const DiskReport& disk : host_.report->disks) {
      const bool run = disk.what == "run folder";
      const int64_t least =
          run ? std::max(kLeastFreeBytes, needs_.checkpoint_bytes) : kLeastFreeBytes;
      const int64_t wanted =
          run ? needs_.checkpoint_bytes * static_cast<int64_t>(needs_.checkpoints) : least;
      // Only the run's own folder holds what a run cannot be without.
      const Level level = disk.free_bytes < 0 || disk.free_bytes < least
                              ? (run ? Level::kFail : Level::kWarn)
                          : disk.free_bytes < wanted ? Level::kWarn
                                                     : Level::kOk;
      say(disk.what, level,
          disk.path + ": " +
              (disk.free_bytes < 0 ? "cannot be written" : bytes_text(disk.free_bytes) + " free") +
              (wanted > least ? ", checkpoints take " + bytes_text(wanted) : ""),
          run ? "Make room, set run.dir to another disk, or lower checkpoint.keep_last."
              : "Make room there, " + bytes_text(least) + " at least.");
    }
  }

  void devices() {
    const HostReport& report = *host_.report;
    for (const auto& [device, why] : report.devices) {
      say("device " + device, why.empty() ? Level::kOk : Level::kFail, why.empty() ? "usable" : why,
          report.cuda_build
              ? "Name devices that the host has (" + std::to_string(report.cuda_devices) +
                    " CUDA devices), or see to its driver."
              : "This binary is a CPU build: build with TRACEWISE_CUDA, or set devices to cpu.");
    }
    const bool wrong = report.all_reduce && !report.all_reduce->empty();
    say("all-reduce", wrong ? Level::kFail : Level::kOk,
        wrong ? *report.all_reduce : report.all_reduce_found,
        "See what NCCL says with NCCL_DEBUG=INFO; often shared memory or peer access is barred.");
  }

  const HostVisit& host_;
  const std::vector<HostVisit>& all_;
  const Needs& needs_;
  std::vector<Finding>& findings_;
};

}  // namespace

const char* to_string(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kWarn:
      return "warn";
    case Level::kFail:
      return "FAIL";
  }
  return "";
}

std::vector<Finding> judge(const std::vector<HostVisit>& hosts, const Needs& needs) {
  std::vector<Finding> findings;
  for (const HostVisit& host : hosts) HostJudge(host, hosts, needs, &findings).judge();
  return findings;
}

bool has_failure(const std::vector<Finding>& findings) {
  return std::ranges::any_of(findings, [](const Finding& f) { return f.level == Level::kFail; });
}

std::string findings_table(const std::vector<Finding>& findings) {
  std::vector<std::vector<std::string>> rows = {{"host", "check", "", "found"}};
  std::string fixes;
  for (const Finding& f : findings) {
    rows.push_back({f.host, f.check, to_string(f.level), f.found});
    if (f.level != Level::kOk)
      fixes +=
          std::string(to_string(f.level)) + " " + f.host + ", " + f.check + ": " + f.fix + "\n";
  }
  return aligned(rows) + (fixes.empty() ? "" : "\n" + fixes);
}

std::string findings_json(const std::vector<Finding>& findings) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& f : findings) {
    list.push_back({{"host", f.host},
                    {"check", f.check},
                    {"level", to_string(f.level)},
                    {"found", f.found},
                    {"fix", f.fix}});
  }
  const nlohmann::json all = {{"ok", !has_failure(findings)}, {"findings", list}};
  return all.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tracewise
