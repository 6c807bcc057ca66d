#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "launch/build_id.hpp"
#include "launch/commands/cli.hpp"
#include "launch/commands/commands.hpp"
#include "launch/nearest.hpp"
#include "model/buffer_pool.hpp"

namespace tracewise {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Args& args);
};

constexpr Command kCommands[] = {
    {"advantages", "step advantages of groups, JSON lines in and out", cmd_advantages},
    {"data", "what a run would make of a prompt file", cmd_data},
    {"demo", "SSPO against GRPO on a tiny model, in minutes", cmd_demo},
    {"train", "a training run: SSPO, GRPO and relatives", cmd_train},
    {"launch", "a training run over several processes and hosts", cmd_launch},
    {"doctor", "whether the hosts of a config are fit for its run", cmd_doctor},
    {"invite", "a token with which a node joins a run that goes on", cmd_invite},
    {"join", "a node that joins a run that goes on", cmd_join},
    {"nodes", "who belongs to a run that goes on", cmd_nodes},
    {"shell", "looks into a run that goes on: who does what, who waits for whom", cmd_shell},
    {"drain", "lets a node finish what it has and leave its run", cmd_drain},
    {"report", "runs as one HTML page", cmd_report},
    {"timeline", "who did what when in some steps of a run, for Perfetto", cmd_timeline},
    {"bench", "speed against references measured in the same run", cmd_bench},
    {"config", "every config key with its value and meaning", cmd_config},
    {"eval", "accuracy and response length on a prompt file", cmd_eval},
    {"generate", "samples responses to a prompt", cmd_generate},
    {"score", "log-probabilities of given token ids, JSON lines in and out", cmd_score},
    {"merge", "an adapter and its base as one model folder", cmd_merge},
    {"verify", "rewards of given responses, JSON lines in and out", cmd_verify},
    {"sft", "supervised warm start on prompts with responses", cmd_sft},
    {"tokenize", "token ids of texts and back, JSON lines in and out", cmd_tokenize},
    {"node", "one process of such a run; launch starts it", cmd_node},
    {"trace", "the steps of a rollout, each with value, gain and advantage", cmd_trace},
};

void print_usage(std::FILE* out) {
  std::fputs("usage: tracewise COMMAND [OPTIONS]\n\n", out);
  for (const Command& command : kCommands) {
    std::fprintf(out, "  %-11s  %s\n", command.name, command.summary);
  }
  std::fprintf(out, "  %-11s  %s\n", "test", "all tests; of the ./tracewise script alone");
  std::fputs("\ntracewise COMMAND --help shows a command's options.\n", out);
}

int unknown_command(const std::string& name) {
  if (name == "test") {
    std::fputs("tracewise: the tests are run by the script ./tracewise test\n", stderr);
    return kExitBadInput;
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  const std::string near = nearest_of(name, names);
  std::fprintf(
      stderr, "tracewise: there is no command %s%s\n", name.c_str(),
      near.empty() ? "; tracewise --help lists them" : ("; did you mean " + near + "?").c_str());
  return kExitBadInput;
}

int run(const Args& words) {
  if (words.empty()) {
    print_usage(stderr);
    return kExitBadInput;
  }
  const std::string& name = words.front();
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return kExitDone;
  }
  if (name == "--version") {
    std::printf("tracewise %s, build %s\n", TRACEWISE_VERSION, build_id().c_str());
    return kExitDone;
  }
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run(Args(words.begin() + 1, words.end()));
  }
  return unknown_command(name);
}

}  // namespace
}  // namespace tracewise

int main(int argc, char** argv) {
  int code = tracewise::kExitInternal;
  tracewise::pool_large_buffers();
  // What a library threw and no seam of ours expected.
  try {
    code = tracewise::run(tracewise::Args(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tracewise: internal error: %s\n", e.what());
  }
  if (const auto flushed = tracewise::flush_output(); code == tracewise::kExitDone && !flushed.ok())
    code = tracewise::fail(flushed.error());
  // Without destructors of globals: an actor that missed its deadline may still be computing.
  std::fflush(nullptr);
  std::_Exit(code);
}
