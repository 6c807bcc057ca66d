// The report of finished or running runs, read from their folders.
#pragma once

#include <filesystem>
#include <span>

#include "launch/report/report.hpp"

namespace tracewise {

// Curves and last figures of each run, evaluations where there are some (also of each set, if there
// are several), else training batches, and the last logged rollouts of each with their values. Runs
// may be in use. A file instead of a folder is one of rollouts (launch/rollouts_file.hpp): a row
// for each of its sets, and the first of each. kBadInput names a folder that is no run, and what is
// wrong with a file.
Result<Report> report_runs(std::span<const std::filesystem::path> runs);

}  // namespace tracewise
