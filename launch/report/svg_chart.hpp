// Line charts as inline SVG.
#pragma once

#include <string>
#include <vector>

namespace tracewise {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // ascending in x
};

struct Chart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<ChartLine> lines;
  bool unit_interval = false;  // y runs from 0 to 1; else from 0 to the largest value
};

// An <svg> element with axes, grid, a legend and a <title> for every point.
std::string chart_svg(const Chart& chart);

// "&", "<", ">" and quotes as entities.
std::string escape_html(const std::string& text);

// Fewest digits that show `value` to `decimals` places: "0.5", "12".
std::string short_number(double value, int decimals);

}  // namespace tracewise
