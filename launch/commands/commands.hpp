// Every command of the program. Each has a file of its own, cmd_NAME.cpp, and a row in main.cpp.
#pragma once

#include <string>
#include <vector>

namespace tracewise {

// What the program ends with.
inline constexpr int kExitDone = 0;
inline constexpr int kExitInternal = 1;        // a failure that the user cannot mend
inline constexpr int kExitBadInput = 2;        // config, data, checkpoint or command line
inline constexpr int kExitGoalNotReached = 3;  // a run did not show what it set out to show
inline constexpr int kExitInterrupted = 130;   // stopped by SIGINT or SIGTERM

// The words after the command's name.
using Args = std::vector<std::string>;

// Each runs one command to its end and returns an exit code; all that went wrong is on stderr.
int cmd_advantages(const Args& args);
int cmd_bench(const Args& args);
int cmd_config(const Args& args);
int cmd_data(const Args& args);
int cmd_demo(const Args& args);
int cmd_doctor(const Args& args);
int cmd_drain(const Args& args);
int cmd_eval(const Args& args);
int cmd_generate(const Args& args);
int cmd_invite(const Args& args);
int cmd_join(const Args& args);
int cmd_launch(const Args& args);
int cmd_node(const Args& args);
int cmd_nodes(const Args& args);
int cmd_report(const Args& args);
int cmd_timeline(const Args& args);
int cmd_merge(const Args& args);
int cmd_score(const Args& args);
int cmd_shell(const Args& args);
int cmd_sft(const Args& args);
int cmd_tokenize(const Args& args);
int cmd_trace(const Args& args);
int cmd_train(const Args& args);
int cmd_verify(const Args& args);

}  // namespace tracewise
