#include "launch/report/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "launch/report/svg_chart.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --line: #d8d8d8; --soft: #6a6a6a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181b; --line: #3a3d42; --soft: #9a9a9a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { padding: .35rem .8rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
p.note { color: var(--soft); font-size: .9rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; } .charts svg { width: 520px; max-width: 100%; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); } svg .grid { stroke: var(--line); }
.rollouts { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.rollout { border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; min-width: 250px; }
.rollout h3 { font-size: .95rem; margin: 0 0 .4rem; }
.rollout .prompt { font-family: ui-monospace, monospace; color: var(--soft); }
.step { font-family: ui-monospace, monospace; display: grid; gap: .8rem; padding: .1rem .4rem;
  grid-template-columns: 1fr 3.2rem 3.6rem; border-left: 6px solid; margin: .15rem 0; }
.step span { text-align: right; color: var(--soft); }
)";

std::string paragraph(const std::string& text, const char* style = "") {
  return "<p" + std::string(style) + ">" + escape_html(text) + "</p>\n";
}

std::string row(const std::vector<std::string>& cells, const char* tag) {
  std::string html = "<tr>";
  for (const std::string& cell : cells)
    html += "<" + std::string(tag) + ">" + escape_html(cell) + "</" + tag + ">";
  return html + "</tr>\n";
}

std::string table_html(const ReportTable& table) {
  std::string html = "<div class=\"wide\"><table>\n" + row(table.header, "th");
  for (const auto& cells : table.rows) html += row(cells, "td");
  html += "</table></div>\n";
  if (!table.note.empty()) html += paragraph(table.note, " class=\"note\"");
  return html;
}

std::string curves_html(const std::vector<ReportRun>& runs) {
  Chart accuracy{"accuracy over training time", "training seconds", "accuracy", {}, true};
  Chart tokens{"response tokens over training time", "training seconds", "tokens", {}, false};
  for (const ReportRun& run : runs) {
    ChartLine a{run.name, {}}, t{run.name, {}};
    for (const CurvePoint& point : run.curve) {
      a.points.emplace_back(point.seconds, point.accuracy);
      t.points.emplace_back(point.seconds, point.tokens);
    }
    accuracy.lines.push_back(std::move(a));
    tokens.lines.push_back(std::move(t));
  }
  return "<div class=\"charts\">\n" + chart_svg(accuracy) + chart_svg(tokens) + "</div>\n";
}

// Two decimals; with `sign` also a plus, and a true minus sign. Never "-0.00".
std::string fixed(double value, bool sign = false) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", std::abs(value));
  const bool zero = std::string_view(text) == "0.00";
  const char* mark = zero ? "" : value < 0 ? "\u2212" : sign ? "+" : "";
  return mark + std::string(text);
}

std::string rollout_html(const ReportRollout& rollout) {
  std::string html = "<div class=\"rollout\"><h3>" + escape_html(rollout.title) +
                     (rollout.reward > 0.5 ? " &#10003;" : " &#10007;") + "</h3>\n";
  html += "<div class=\"prompt\">" + escape_html(rollout.prompt) + " &rarr; " +
          escape_html(rollout.gold) + "</div>\n";
  for (const ReportStep& step : rollout.steps) {
    const auto [before, after] = std::pair(step.value_before, step.value_after);
    const std::string colour = after ? value_colour(*after) : "currentColor";
    html += "<div class=\"step\" style=\"border-color:" + colour + "\"><code>" +
            escape_html(step.text) + "</code><span>" + (after ? fixed(*after) : "\u2013") +
            "</span><span>" + (before && after ? fixed(*after - *before, true) : "\u2013") +
            "</span></div>\n";
  }
  return html + "</div>\n";
}

}  // namespace

std::string value_colour(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "hsl(%.0f 70%% 45%%)", 130 * std::clamp(value, 0.0, 1.0));
  return text;
}

std::string report_html(const Report& report) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\"><title>" +
      escape_html(report.title) + "</title><style>" + kStyle + "</style></head><body>\n<h1>" +
      escape_html(report.title) + "</h1>\n";
  for (const std::string& text : report.paragraphs) html += paragraph(text);
  if (!report.table.rows.empty()) html += "<h2>Results</h2>\n" + table_html(report.table);
  if (!report.runs.empty()) html += "<h2>Learning curves</h2>\n" + curves_html(report.runs);
  if (!report.rollouts.empty()) {
    html += "<h2>Rollouts</h2>\n" +
            paragraph(
                "Each line is a step: the value V after it (how likely the policy's answer "
                "is to be right if it had to answer there; after the last step the reward) and "
                "what the step gained. A dash: not probed.") +
            "<div class=\"rollouts\">\n";
    for (const ReportRollout& rollout : report.rollouts) html += rollout_html(rollout);
    html += "</div>\n";
  }
  return html + "</body></html>\n";
}

Result<void> write_report(const std::filesystem::path& file, const Report& report) {
  return write_file(file, report_html(report));
}

}  // namespace tracewise
