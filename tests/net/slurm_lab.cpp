#include "tests/net/slurm_lab.hpp"

#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <random>
#include <stdexcept>
#include <thread>

#include "tests/process_tree.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr std::array kPrograms = {"/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd",
                                  "/usr/bin/srun",    "/usr/bin/salloc",     "/usr/bin/sbatch",
                                  "/usr/bin/scancel", "/usr/bin/setpriv"};

// A port that nobody has now.
uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool got = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                   ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(fd);
  if (!got) throw std::runtime_error("there is no free port");
  return ntohs(address.sin_port);
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  const std::string full = name;
  return full.substr(0, full.find('.'));
}

std::string config_text(const std::string& dir) {
  const std::string host = host_name();
  const std::string user = ::geteuid() == 0 ? "root" : std::to_string(::geteuid());
  return "ClusterName=tracewise-test\nSlurmctldHost=" + host + "(127.0.0.1)\nSlurmUser=" + user +
         "\nSlurmdUser=" + user + "\nAuthInfo=socket=" + dir +
         "/munge.socket\nSlurmctldPort=" + std::to_string(free_port()) +
         "\nSlurmdPort=" + std::to_string(free_port()) + "\nStateSaveLocation=" + dir +
         "/state\nSlurmdSpoolDir=" + dir + "/spool\nSlurmctldPidFile=" + dir +
         "/slurmctld.pid\nSlurmdPidFile=" + dir +
         "/slurmd.pid\n"
         "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n"
         "JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n"
         "SwitchType=switch/none\nMpiDefault=none\nReturnToService=2\nKillWait=5\n"
         "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n"
         "SlurmdParameters=config_overrides\nNodeName=" +
         host + " NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000\nPartitionName=all Nodes=" + host +
         " Default=YES MaxTime=30 State=UP\n";
}

}  // namespace

std::string SlurmLab::missing() {
  for (const char* program : kPrograms) {
    if (!fs::exists(program)) return std::string("there is no ") + program;
  }
  if (::geteuid() != 0) return "slurmd starts jobs as root alone";
  return {};
}

SlurmLab::SlurmLab() {
  const std::string dir = dir_.path().string();
  fs::create_directories(dir_ / "state");
  fs::create_directories(dir_ / "spool");
  fs::permissions(dir_.path(), fs::perms::owner_all | fs::perms::others_exec);
  std::random_device random;
  std::string key;
  while (key.size() < 1024) key += static_cast<char>(random());
  fs::permissions(dir_.put("munge.key", key), fs::perms::owner_read | fs::perms::owner_write);
  config_ = std::make_unique<Environment>("SLURM_CONF", dir_.put("slurm.conf", config_text(dir)));

  munged_ =
      start({"/usr/sbin/munged", "--foreground", "--force", "--key-file=" + dir + "/munge.key",
             "--socket=" + dir + "/munge.socket", "--pid-file=" + dir + "/munged.pid",
             "--log-file=" + dir + "/munged.log", "--seed-file=" + dir + "/munge.seed"},
            "munged");
  for (int i = 0; i < 1000 && !fs::exists(dir_ / "munge.socket"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  controller_ = start({"/usr/sbin/slurmctld", "-D", "-c"}, "slurmctld");
  daemon_ = start({"/usr/sbin/slurmd", "-D", "-c"}, "slurmd");
  // The first job is let in once both know each other.
  for (int i = 0; i < 60; ++i) {
    Process job({"/usr/bin/srun", "--immediate=1", "--ntasks=1", "/bin/true"}, dir_ / "first");
    if (job.wait(seconds(10)) == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw std::runtime_error("Slurm runs no job: " + slurp(dir_ / "first.err") + controller_->err() +
                           daemon_->err() + munged_->err());
}

SlurmLab::~SlurmLab() {
  for (auto* one : {&daemon_, &controller_, &munged_}) one->reset();
  for (const pid_t pid : all()) ::kill(pid, SIGKILL);
}

// The daemons end with the test, however it ends.
std::unique_ptr<Process> SlurmLab::start(const std::vector<std::string>& words,
                                         const std::string& name) {
  std::vector<std::string> bound = {"/usr/bin/setpriv", "--pdeathsig", "KILL"};
  bound.insert(bound.end(), words.begin(), words.end());
  return std::make_unique<Process>(bound, dir_ / name);
}

// Jobs inherit the environment of who submitted them.
std::vector<pid_t> SlurmLab::all() const {
  const std::string mark = "SLURM_CONF=" + (dir_ / "slurm.conf").string();
  std::vector<pid_t> found;
  DIR* proc = ::opendir("/proc");
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0 || pid == ::getpid() || process_mark(pid).state == 'Z') continue;
    if (slurp("/proc/" + std::to_string(pid) + "/environ").find(mark) != std::string::npos)
      found.push_back(pid);
  }
  ::closedir(proc);
  return found;
}

std::vector<pid_t> SlurmLab::processes() const {
  std::vector<pid_t> found = all();
  std::erase_if(found, [](pid_t pid) {
    std::error_code failure;
    const auto program = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", failure);
    const std::string name = program.filename();
    return name.starts_with("slurm") || name == "munged";
  });
  return found;
}

}  // namespace tracewise
