// A node with fake parts, as a process of its own: fake_node IDENTITY HEAD_PORT GENERATORS TRACERS
// BUILDERS LOG. Ends with 0 when the run is over, else with 3 and the error on stderr.
#include <cstdio>
#include <string>

#include "tests/actors/fake_cluster.hpp"
#include "tests/actors/fakes.hpp"

int main(int argc, char** argv) {
  using namespace tracewise;
  if (argc != 7) return 2;
  const auto number = [&](int i) { return static_cast<uint32_t>(std::stoul(argv[i])); };
  FakeWorld world;
  WorkerSetup setup;
  setup.node = fake_node_setup(read_identity(argv[1]).value());
  setup.head = {"head", "127.0.0.1", static_cast<uint16_t>(number(2))};
  setup.seats = {number(3), number(4), number(5)};
  setup.log_file = argv[6];
  setup.make_parts = [&](const std::string& config) -> Result<WorkerParts> {
    if (config != "fake") return bad_input("no config of the fakes");
    return WorkerParts{RunOptions{}, fake_parts(&world, kFakeSeed)};
  };
  setup.on_event = [](const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  };
  const Result<void> end = run_worker(setup, {});
  if (end.ok()) return 0;
  std::fprintf(stderr, "%s\n", end.error().message.c_str());
  return 3;
}
