// How a run ended, in the words of the commands that run one.
#pragma once

#include "actors/run_control.hpp"

namespace tracewise {

void print_summary(const RunSummary& summary);  // on standard output

}  // namespace tracewise
