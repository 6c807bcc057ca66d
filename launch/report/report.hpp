// A run, or several side by side, as one self-contained HTML page: no network, no scripts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

// One measurement of a learning curve.
struct CurvePoint {
  double seconds = 0;   // of training time
  double accuracy = 0;  // in [0, 1]
  double tokens = 0;    // mean of a response
};

struct ReportRun {
  std::string name;
  std::vector<CurvePoint> curve;
};

// One row of the table; cells.size() equals the header's.
struct ReportTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::string note;  // plain text below the table; may be empty
};

struct ReportStep {
  std::string text;
  std::optional<double> value_before;  // V_{k-1} in [0, 1]; none where it was not probed
  std::optional<double> value_after;   // V_k; of the last step the reward
};

struct ReportRollout {
  std::string title;  // "before", "SSPO, after"
  std::string prompt;
  std::string gold;
  double reward = 0;
  std::vector<ReportStep> steps;
};

struct Report {
  std::string title;
  std::vector<std::string> paragraphs;  // plain text
  ReportTable table;
  std::vector<ReportRun> runs;
  std::vector<ReportRollout> rollouts;
};

// The page. Text is escaped; the same report gives the same bytes.
std::string report_html(const Report& report);

// report_html written beside and renamed.
Result<void> write_report(const std::filesystem::path& file, const Report& report);

// Red over yellow to green for a value in [0, 1], as "hsl(...)".
std::string value_colour(double value);

}  // namespace tracewise
