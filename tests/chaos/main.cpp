// One asynchronous run over several processes, and many faults drawn from a seed:
//
//   chaos [--faults N] [--seed S] [--ranks 1|2]
//
// Over hosts in network namespaces where those are permitted, else over processes of this machine.
// What must be true afterwards: the ledger balances, each group was trained exactly once, no token
// was too old, learning went on, every process is gone. Exit code 0: all of it is.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>

#include "tests/chaos/chaos_run.hpp"
#include "tests/net/host_lab.hpp"

int main(int argc, char** argv) {
  tracewise::Chaos chaos;
  chaos.seed = std::random_device()();
  bool understood = argc % 2 == 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string word = argv[i];
    uint64_t* to = word == "--faults"  ? &chaos.faults
                   : word == "--seed"  ? &chaos.seed
                   : word == "--ranks" ? &chaos.ranks
                                       : nullptr;
    char* end = nullptr;
    const uint64_t value = std::strtoull(argv[i + 1], &end, 10);
    understood = understood && to != nullptr && *end == '\0';
    if (understood) *to = value;
  }
  if (!understood || chaos.ranks < 1 || chaos.ranks > 2) {
    std::fprintf(stderr, "usage: chaos [--faults N] [--seed S] [--ranks 1|2]\n");
    return 2;
  }
  // A line of it is worth something although the program is killed by a time limit.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("chaos --faults %lu --seed %lu --ranks %lu\n", chaos.faults, chaos.seed, chaos.ranks);
  const std::string no_lab = tracewise::HostLab::missing();
  chaos.over_hosts = no_lab.empty();
  if (!chaos.over_hosts) std::printf("processes of this machine alone: %s\n", no_lab.c_str());
  try {
    return tracewise::chaos_run(chaos) ? 0 : 1;
  } catch (const std::exception& failure) {
    std::printf("%s\n", failure.what());
    return 1;
  }
}
