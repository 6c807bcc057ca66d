#include "tests/net/host_lab.hpp"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/process_tree.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;

constexpr uint16_t kSshPort = 2222;
constexpr const char* kSshd = "/usr/sbin/sshd";
constexpr const char* kPrefix = "twlab";

struct Output {
  int code = -1;
  std::string text;
};

Output try_shell(const std::string& command) {
  Output output;
  std::FILE* pipe = ::popen(("exec 2>&1 </dev/null; " + command).c_str(), "r");
  if (pipe == nullptr) return output;
  std::array<char, 4096> buffer;
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
    output.text.append(buffer.data(), got);
  output.code = ::pclose(pipe);
  return output;
}

std::string shell(const std::string& command) {
  Output output = try_shell(command);
  if (output.code != 0) throw std::runtime_error(command + ": " + output.text);
  return output.text;
}

bool has_program(const std::string& name) {
  return try_shell("PATH=$PATH:/usr/sbin:/sbin command -v " + name).code == 0;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// The inode of a network namespace; 0: there is none.
ino_t namespace_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_ino : 0;
}

std::vector<pid_t> processes_in(ino_t space) {
  std::vector<pid_t> pids;
  DIR* proc = ::opendir("/proc");
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0 || namespace_of("/proc/" + std::to_string(pid) + "/ns/net") != space) continue;
    if (process_mark(pid).state != 'Z') pids.push_back(pid);
  }
  ::closedir(proc);
  std::sort(pids.begin(), pids.end());
  return pids;
}

void remove_namespace(const std::string& name) {
  const ino_t space = namespace_of("/run/netns/" + name);
  if (space == 0) return;
  for (const pid_t pid : processes_in(space)) ::kill(pid, SIGKILL);
  for (int i = 0; i < 500 && !processes_in(space).empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  try_shell("ip netns del " + name);
}

// Namespaces are called twlabPID-...: those whose process is gone belong to nobody.
void clear_stale() {
  for (const std::string& name : words_of(try_shell("ip netns list").text)) {
    if (!name.starts_with(kPrefix)) continue;
    const pid_t owner = std::atoi(name.c_str() + std::string(kPrefix).size());
    if (owner <= 0 || process_mark(owner).pid == 0) remove_namespace(name);
  }
}

}  // namespace

std::string HostLab::missing() {
  if (::geteuid() != 0) return "hosts in network namespaces need root";
  for (const char* name : {"ip", "ss", "tc", "nft", "sshd", "ssh", "unshare", "setpriv"}) {
    if (!has_program(name)) return std::string("there is no program called ") + name;
  }
  const std::string name = kPrefix + std::to_string(::getpid()) + "-probe";
  const Output made = try_shell(
      "ip netns add " + name + " && ip -n " + name + " link add bridge0 type bridge && ip -n " +
      name + " link add veth0 type veth peer name veth1 && ip netns exec " + name +
      " unshare --pid --fork --mount-proc true && ip netns exec " + name +
      " nft add table bridge faults && ip netns exec " + name +
      " tc qdisc add dev veth0 root tbf rate 1mbit burst 16kb latency 100ms");
  try_shell("ip netns del " + name);
  if (made.code == 0) return {};
  const std::string why = made.text.substr(0, made.text.find('\n'));
  return "network namespaces are not permitted here: " + why;
}

HostLab::HostLab(size_t hosts) {
  clear_stale();
  static int labs = 0;
  prefix_ = kPrefix + std::to_string(::getpid()) + "-" + std::to_string(labs++);
  net_ = prefix_ + "-net";
  shell("ip netns add " + net_ + " && ip -n " + net_ + " link add bridge0 type bridge && ip -n " +
        net_ + " link set bridge0 up");
  hosts_.resize(hosts);
  for (size_t i = 0; i < hosts; ++i) add_host(i);
  write_client_files();
  for (size_t i = 0; i < hosts; ++i) start_sshd(i);
  apply();
}

HostLab::~HostLab() {
  for (Host& host : hosts_) {
    host.sshd.reset();
    remove_namespace(host.name);
  }
  remove_namespace(net_);
}

std::string HostLab::address(size_t host) const { return "10.213.0." + std::to_string(host + 1); }

uint16_t HostLab::ssh_port() const { return kSshPort; }

std::vector<std::string> HostLab::ssh_options() const { return {"-F", dir_ / "client"}; }

std::vector<std::string> HostLab::on(size_t host, const std::vector<std::string>& words) const {
  std::vector<std::string> all = {"/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                  "ip",           "netns",
                                  "exec",         hosts_[host].name};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

void HostLab::add_host(size_t index) {
  Host& host = hosts_[index];
  host.name = prefix_ + "-h" + std::to_string(index);
  const std::string in_host = "ip -n " + host.name + " ", in_net = "ip -n " + net_ + " ";
  shell("ip netns add " + host.name + " && " + in_net + "link add " + port(index) +
        " type veth peer name eth0 netns " + host.name + " && " + in_net + "link set " +
        port(index) + " master bridge0 up && " + in_host + "address add " + address(index) +
        "/24 dev eth0 && " + in_host + "link set eth0 up && " + in_host + "link set lo up");
}

void HostLab::write_client_files() {
  const std::string base = dir_.path().string();
  shell("ssh-keygen -q -t ed25519 -N '' -f " + base +
        "/host_key && ssh-keygen -q -t ed25519 -N '' "
        "-f " +
        base + "/user_key && mkdir -p /run/sshd");
  const std::string key = slurp(dir_ / "host_key.pub");
  std::string known;
  for (size_t i = 0; i < hosts_.size(); ++i)
    known += "[" + address(i) + "]:" + std::to_string(kSshPort) + " " + key;
  dir_.put("known_hosts", known);
  dir_.put("client", "Host *\n  IdentityFile " + base +
                         "/user_key\n  IdentitiesOnly yes\n"
                         "  StrictHostKeyChecking yes\n  UserKnownHostsFile " +
                         base + "/known_hosts\n  GlobalKnownHostsFile /dev/null\n");
}

// In process namespaces of their own, so that weights travel between them over TCP, and so that
// nothing outlives them.
void HostLab::start_sshd(size_t index) {
  Host& host = hosts_[index];
  const std::string base = dir_.path().string();
  const auto config =
      dir_.put("sshd" + std::to_string(index),
               "Port " + std::to_string(kSshPort) + "\nListenAddress " + address(index) +
                   "\nHostKey " + base + "/host_key\nAuthorizedKeysFile " + base +
                   "/user_key.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
                   "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\n"
                   "PidFile none\nMaxStartups 100\n");
  std::vector<std::string> words = {"/usr/bin/setpriv", "--pdeathsig", "KILL"};
  for (const std::string& word :
       on(index, {"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", kSshd, "-D", "-e",
                  "-f", config.string()}))
    words.push_back(word);
  const std::string log = "sshd-log" + std::to_string(index);
  host.sshd = std::make_unique<Process>(words, dir_ / log);
  for (int i = 0; host.sshd->err().find("Server listening") == std::string::npos; ++i) {
    if (i == 1000 || host.sshd->wait(std::chrono::milliseconds(0)) != -1)
      throw std::runtime_error("sshd does not start: " + host.sshd->err());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  host.own = pids(host);
}

std::vector<pid_t> HostLab::pids(const Host& host) const {
  return processes_in(namespace_of("/run/netns/" + host.name));
}

std::vector<pid_t> HostLab::processes(size_t host) const {
  std::vector<pid_t> found = pids(hosts_[host]);
  std::erase_if(found, [&](pid_t pid) {
    return std::ranges::find(hosts_[host].own, pid) != hosts_[host].own.end();
  });
  return found;
}

std::vector<pid_t> HostLab::nodes(size_t host) const {
  std::vector<pid_t> found = processes(host);
  std::erase_if(found, [](pid_t pid) {
    std::error_code failure;
    const auto program = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", failure);
    return program != fs::weakly_canonical(TRACEWISE_BINARY, failure);
  });
  return found;
}

void HostLab::black_hole(size_t host, bool on) {
  hosts_[host].black_holed = on;
  apply();
}

void HostLab::lose_packets(size_t host, int percent) {
  hosts_[host].loss_percent = percent;
  apply();
}

void HostLab::mute(size_t from, size_t to, bool on) {
  muted_[{from, to}] = on;
  apply();
}

void HostLab::slow_down(size_t host, uint64_t kilobits) {
  const std::string what = kilobits == 0 ? std::string(" root 2>/dev/null || true")
                                         : " root tbf rate " + std::to_string(kilobits) +
                                               "kbit burst 16kb latency 400ms";
  const std::string verb = kilobits == 0 ? "del" : "replace";
  shell("tc -n " + net_ + " qdisc " + verb + " dev " + port(host) + what);
  shell("tc -n " + hosts_[host].name + " qdisc " + verb + " dev eth0" + what);
}

void HostLab::reset(size_t host, size_t other) {
  const std::string not_ssh =
      " and sport != :" + std::to_string(kSshPort) + " and dport != :" + std::to_string(kSshPort);
  shell("ip netns exec " + hosts_[host].name + " ss -K 'dst " + address(other) + not_ssh + "'");
}

void HostLab::freeze(size_t host, size_t other) {
  std::istringstream connections(shell("ip netns exec " + hosts_[host].name +
                                       " ss -Htn state established dst " + address(other)));
  for (std::string line; std::getline(connections, line);) {
    const auto words = words_of(line);  // two queues, the own place, the other's
    if (words.size() < 4) continue;
    const std::string own = words[2].substr(words[2].rfind(':') + 1);
    const std::string others = words[3].substr(words[3].rfind(':') + 1);
    if (own == std::to_string(kSshPort) || others == std::to_string(kSshPort)) continue;
    frozen_.push_back("ip saddr " + address(host) + " tcp sport " + own + " tcp dport " + others);
    frozen_.push_back("ip daddr " + address(host) + " tcp dport " + own + " tcp sport " + others);
  }
  apply();
}

void HostLab::heal() {
  for (size_t i = 0; i < hosts_.size(); ++i) {
    hosts_[i].black_holed = false;
    hosts_[i].loss_percent = 0;
    slow_down(i, 0);
  }
  muted_.clear();
  frozen_.clear();
  apply();
}

void HostLab::apply() const {
  std::string rules;
  const auto lose = [&rules](const std::string& match) {
    rules += "  " + match + " counter name lost drop\n";
  };
  for (size_t i = 0; i < hosts_.size(); ++i) {
    const std::string percent = std::to_string(hosts_[i].loss_percent);
    for (const char* way : {"iifname", "oifname"}) {
      const std::string match = std::string(way) + " \"" + port(i) + "\"";
      if (hosts_[i].black_holed) lose(match);
      if (hosts_[i].loss_percent > 0) lose(match + " numgen random mod 100 < " + percent);
    }
  }
  for (const std::string& match : frozen_) lose(match);
  for (const auto& [pair, on] : muted_) {
    if (on) lose("iifname \"" + port(pair.first) + "\" oifname \"" + port(pair.second) + "\"");
  }
  const auto file =
      dir_.put("rules",
               "table bridge faults\ndelete table bridge faults\ntable bridge faults {\n"
               " counter lost { }\n chain forward {\n  type filter hook forward priority 0;\n" +
                   rules + " }\n}\n");
  shell("ip netns exec " + net_ + " nft -f " + file.string());
}

uint64_t HostLab::lost_packets() const {
  const std::string text = shell("ip netns exec " + net_ + " nft list counter bridge faults lost");
  const auto at = text.find("packets ");
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 8, nullptr, 10);
}

uint64_t HostLab::bytes_to(size_t host) const {
  return std::strtoull(
      shell("ip netns exec " + net_ + " cat /sys/class/net/" + port(host) + "/statistics/tx_bytes")
          .c_str(),
      nullptr, 10);
}

}  // namespace tracewise
