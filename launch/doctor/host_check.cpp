#include "launch/doctor/host_check.hpp"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

#include "launch/build_id.hpp"
#include "launch/config.hpp"
#include "launch/memory_estimate.hpp"
#include "learner/all_reduce_check.hpp"
#include "model/device.hpp"
#include "model/safetensors.hpp"
#include "model/tokenizer.hpp"
#include "transport/dial.hpp"

namespace tracewise {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kAllReduceMs = 20'000;
constexpr std::chrono::seconds kReachLimit{9}, kDialLimit{3};
constexpr size_t kMaxOrderBytes = size_t{16} << 20;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "this host";
}

// A line "NAME:   N kB" of /proc/meminfo, in bytes; 0: there is none.
int64_t memory_line(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::atoll(line.c_str() + name.size() + 1) * 1024;
  }
  return 0;
}

// Of the file system that `path` is on, or would be made on.
DiskReport disk(const std::string& what, fs::path path) {
  DiskReport report{what, path.string(), -1};
  std::error_code ignored;
  while (!path.empty() && path != path.root_path() && !fs::exists(path, ignored))
    path = path.parent_path();
  struct statvfs found {};
  if (::access(path.c_str(), W_OK | X_OK) == 0 && ::statvfs(path.c_str(), &found) == 0)
    report.free_bytes = static_cast<int64_t>(found.f_bavail) * static_cast<int64_t>(found.f_frsize);
  return report;
}

// All of the model that is needed there, but for the weights' bytes.
Result<void> check_model(const Config& config) {
  TW_TRY(read_run_model(config));
  const fs::path dir = config.launch.model_dir;
  TW_TRY(load_tokenizer(dir / "tokenizer.json"));
  TW_TRY(SafetensorsFile::open(dir / "model.safetensors"));
  return {};
}

std::string sentence(const Result<void>& result) {
  return result.ok() ? std::string() : result.error().message;
}

// What the config's generators, and the head's learner, compute with here.
std::set<std::string> wanted_devices(const HostRequest& request, const Config& config) {
  std::set<std::string> devices;
  for (const WantedNode& node : request.nodes) {
    if (node.seats.generators > 0 && node.devices.empty()) devices.insert(config.engine.device);
    devices.insert(node.devices.begin(), node.devices.end());
    if (node.seats.ranks > 0)
      devices.insert(node.rank_device.empty() ? config.trainer.device : node.rank_device);
  }
  if (request.head) devices.insert(config.trainer.device);
  return devices;
}

Result<void> check_present(const std::string& device, const CudaFacts& cuda) {
  TW_TRY(check_device(device));
  if (device == "cpu") return {};
  if (std::stoul(device.substr(5)) >= static_cast<size_t>(cuda.devices)) {
    return unsupported("device " + device + " is not there: the host has " +
                       std::to_string(cuda.devices) + " usable ones");
  }
  return {};
}

void examine_devices(HostReport& report, const std::set<std::string>& wanted) {
  const CudaFacts cuda = cuda_facts();
  report.cuda_build = cuda.build;
  report.cuda_devices = cuda.devices;
  report.nccl = nccl_version();
  for (const std::string& device : wanted)
    report.devices[device] = sentence(check_present(device, cuda));
  if (!cuda.build) {
    report.all_reduce_found = "CPU build: not checked";
  } else if (cuda.devices < 2) {
    report.all_reduce_found =
        std::to_string(cuda.devices) + " usable GPUs, two are needed: not checked";
  } else {
    const auto summed = check_all_reduce({"cuda:0", "cuda:1"}, kAllReduceMs);
    report.all_reduce = summed.ok() ? "" : summed.error().message;
    char text[96] = {};
    if (summed.ok()) {
      std::snprintf(text, sizeof text, "NCCL %s: two ranks summed %lld MiB in %.1f ms",
                    report.nccl.c_str(), static_cast<long long>(summed->bytes >> 20),
                    1e3 * summed->seconds);
    }
    report.all_reduce_found = text;
  }
}

}  // namespace

Hello HostCheck::hello() const {
  Hello hello;
  hello.build = build_id();
  hello.run = request_.run;
  hello.node = request_.identity.node;
  return hello;
}

// One is a real door, for the other hosts; of the other nodes' it is enough that the ports are
// free.
void HostCheck::open_doors(HostReport& report) {
  const auto context = TlsContext::create(request_.identity);
  for (const WantedNode& node : request_.nodes) {
    std::string& why = report.doors[node.name];
    if (!context.ok()) {
      why = context.error().message;
    } else if (!door_) {
      auto door = Door::open(node.door, *context, hello());
      if (!door.ok()) {
        why = door.error().message;
        continue;
      }
      door_ = std::move(*door);
      door_->serve(Channel::kActors, [](std::unique_ptr<TlsStream>, const Hello&) {});
      report.door_port = door_->port();
    } else {
      auto port = listen_on(node.door.address, node.door.port, node.door.port);
      if (port.ok()) {
        ports_.push_back(std::move(port->fd));
      } else {
        why = port.error().message;
      }
    }
  }
}

HostReport HostCheck::report() {
  HostReport report;
  report.host = host_name();
  report.cores = std::thread::hardware_concurrency();
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0)
    report.open_files = static_cast<int64_t>(std::min<rlim_t>(files.rlim_cur, INT64_MAX));
  report.memory_bytes = memory_line("MemTotal");
  report.available_bytes = memory_line("MemAvailable");
  open_doors(report);
  const auto config = load_config({{}, {}, request_.config});
  if (!config.ok()) {
    report.model = config.error().message;
    return report;
  }
  if (request_.head) report.disks.push_back(disk("run folder", config->launch.run_dir));
  std::error_code failure;
  report.disks.push_back(disk("temporary files", fs::temp_directory_path(failure)));
  report.disks.push_back(disk("shared memory", "/dev/shm"));
  report.model = sentence(check_model(*config));
  examine_devices(report, wanted_devices(request_, *config));
  return report;
}

HostReached HostCheck::reach(const HostDoors& doors) const {
  HostReached reached;
  const auto context = TlsContext::create(request_.identity);
  const TimePoint end = std::chrono::steady_clock::now() + kReachLimit;
  for (const HostDoor& door : doors) {
    if (!context.ok()) {
      reached.doors[door.name] = context.error().message;
      continue;
    }
    const TimePoint until = std::min(end, std::chrono::steady_clock::now() + kDialLimit);
    const auto stream = dial(door.host, door.port, *context, hello(), door.name, until);
    reached.doors[door.name] = stream.ok() ? "" : stream.error().message;
  }
  return reached;
}

Result<void> serve_doctor(int in, int out) {
  const auto answer = [out](const HostAnswer& what) {
    const std::string line = to_line(what);
    for (size_t done = 0; done < line.size();) {
      const ssize_t put = ::write(out, line.data() + done, line.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return;  // the doctor is gone: the end of its orders says so too
      done += static_cast<size_t>(put);
    }
  };
  answer(HostHello{build_id(), kProtocol});
  std::unique_ptr<HostCheck> check;
  std::string line;
  for (char c = 0; ::read(in, &c, 1) == 1;) {
    if (c != '\n') {
      line += c;
      if (line.size() > kMaxOrderBytes) break;
      continue;
    }
    TW_ASSIGN(DoctorOrder order, doctor_order(line));
    line.clear();
    if (std::holds_alternative<HostPing>(order)) {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      answer(HostTime{std::chrono::duration<double>(now).count()});
    } else if (auto* request = std::get_if<HostRequest>(&order)) {
      check = std::make_unique<HostCheck>(std::move(*request));
      answer(check->report());
    } else if (check) {
      answer(check->reach(std::get<HostDoors>(order)));
      // Its own door stays open until all others are done: the doctor ends the input then.
    }
  }
  return {};
}

}  // namespace tracewise
