// One asynchronous run over several processes, and many faults drawn from a seed:
//
//   chaos [--faults N] [--seed S]
//
// Over hosts in network namespaces where those are permitted, else over processes of this machine.
// What must be true afterwards: the ledger balances, each group was trained exactly once, no token
// was too old, learning went on, every process is gone. Exit code 0: all of it is.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <random>
#include <string>

#include "tests/chaos/chaos_run.hpp"
#include "tests/net/host_lab.hpp"

int main(int argc, char** argv) {
  uint64_t faults = 10, seed = std::random_device()();
  for (int i = 1; i < argc; i += 2) {
    const bool is_faults = std::strcmp(argv[i], "--faults") == 0;
    char* end = nullptr;
    const uint64_t value = i + 1 < argc ? std::strtoull(argv[i + 1], &end, 10) : 0;
    if ((!is_faults && std::strcmp(argv[i], "--seed") != 0) || end == nullptr || *end != '\0') {
      std::fprintf(stderr, "usage: chaos [--faults N] [--seed S]\n");
      return 2;
    }
    (is_faults ? faults : seed) = value;
  }
  // A line of it is worth something although the program is killed by a time limit.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("chaos --faults %lu --seed %lu\n", faults, seed);
  const std::string no_lab = tracewise::HostLab::missing();
  if (!no_lab.empty()) std::printf("processes of this machine alone: %s\n", no_lab.c_str());
  try {
    return tracewise::chaos_run(faults, seed, no_lab.empty()) ? 0 : 1;
  } catch (const std::exception& failure) {
    std::printf("%s\n", failure.what());
    return 1;
  }
}
