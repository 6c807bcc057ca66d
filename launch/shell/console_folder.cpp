// The commands of the shell that read the run's folder.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "launch/config_key.hpp"
#include "launch/shell/console.hpp"
#include "launch/shell/json_text.hpp"
#include "launch/text_table.hpp"

namespace tracewise {
namespace {

using nlohmann::ordered_json;

constexpr size_t kPoints = 60;    // of a metric's line
constexpr size_t kLogLines = 40;  // fills a screen or two

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// A bar of one of eight heights for each value; a blank where there is none.
std::string sparkline(const std::vector<MetricPoint>& points, double low, double high) {
  static constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string line;
  for (const MetricPoint& point : points) {
    if (!std::isfinite(point.value)) {
      line += ' ';
      continue;
    }
    const double share = high > low ? (point.value - low) / (high - low) : 0.5;
    line += kBars[std::clamp(static_cast<int>(share * 8), 0, 7)];
  }
  return line;
}

ordered_json finite_or_null(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

}  // namespace

Result<std::string> Console::ledger(const Words&) const {
  TW_ASSIGN(const LedgerCounts counts, view_.ledger());
  if (format_ == Format::kJson) {
    ordered_json j = {{"issued", counts.issued}, {"issued_again", counts.issued_again}};
    for (const auto& [state, groups] : counts.states) j["states"][state] = groups;
    for (const auto& [name, attempts] : counts.failures) j["failures"][name] = attempts;
    return text_of(j);
  }
  std::vector<std::vector<std::string>> rows = {
      {"issued", std::to_string(counts.issued), "groups"},
      {"issued again", std::to_string(counts.issued_again), "attempts"}};
  for (const auto& [state, groups] : counts.states)
    rows.push_back({state, std::to_string(groups), "groups"});
  for (const auto& [name, attempts] : counts.failures)
    rows.push_back({"failed", std::to_string(attempts), "attempts of " + name});
  return aligned(rows);
}

Result<std::string> Console::lineage(const Words& words) const {
  if (words.empty()) return bad_input("lineage needs the number of a group");
  uint64_t group = 0;
  const std::string& word = words[0];
  const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), group);
  if (failure != std::errc() || end != word.data() + word.size())
    return bad_input("lineage: " + word + " is no number of a group");
  TW_ASSIGN(const GroupLineage g, view_.lineage(group));
  if (format_ == Format::kJson) {
    ordered_json j = {{"group", g.group},     {"attempt", g.attempt}, {"state", g.state},
                      {"version", g.version}, {"step", g.step},       {"prompt", g.prompt}};
    j["failures"] = ordered_json::array();
    for (const auto& [attempt, message] : g.failures)
      j["failures"].push_back({{"attempt", attempt}, {"message", message}});
    j["rollouts"] = ordered_json::array();
    for (const auto& r : g.rollouts)
      j["rollouts"].push_back({{"sample", r.sample},
                               {"step", r.step},
                               {"reward", finite_or_null(r.reward)},
                               {"tokens", r.tokens}});
    return text_of(j);
  }
  std::string text = "group " + word + ", attempt " + std::to_string(g.attempt) + ": " + g.state +
                     ", issued at weights version " + std::to_string(g.version);
  text += g.step == 0 ? "" : ", trained in step " + std::to_string(g.step);
  text += "\nprompt " + g.prompt + "\n";
  for (const auto& [attempt, message] : g.failures)
    text += "attempt " + std::to_string(attempt) + " failed: " + message + "\n";
  for (const auto& r : g.rollouts)
    text += "sample " + std::to_string(r.sample) + ": reward " + number(r.reward) + ", " +
            std::to_string(r.tokens) + " tokens\n";
  return text;
}

Result<std::string> Console::metrics(const Words& words) const {
  if (words.empty()) {
    TW_ASSIGN(const auto all, view_.last_metrics());
    ordered_json j = ordered_json::object();
    std::vector<std::vector<std::string>> rows = {{"metric", "value", "step"}};
    for (const auto& [name, point] : all) {
      j[name] = {{"step", point.step}, {"value", finite_or_null(point.value)}};
      rows.push_back({name, number(point.value), std::to_string(point.step)});
    }
    return format_ == Format::kJson ? text_of(j) : aligned(rows);
  }
  TW_ASSIGN(const auto points, view_.metric(words[0], kPoints));
  if (format_ == Format::kJson) {
    ordered_json list = ordered_json::array();
    for (const MetricPoint& p : points)
      list.push_back({{"step", p.step}, {"value", finite_or_null(p.value)}});
    return text_of({{"name", words[0]}, {"points", list}});
  }
  double low = INFINITY, high = -INFINITY;
  for (const MetricPoint& p : points) {
    if (!std::isfinite(p.value)) continue;
    low = std::min(low, p.value);
    high = std::max(high, p.value);
  }
  return sparkline(points, low, high) + "\n" + words[0] + " of steps " +
         std::to_string(points.front().step) + " to " + std::to_string(points.back().step) +
         ": last " + number(points.back().value) + ", least " + number(low) + ", most " +
         number(high) + "\n";
}

Result<std::string> Console::config(const Words& words) const {
  return view_.config(words.empty() ? "" : words[0]);
}

std::optional<std::string> followed(const std::string& line) {
  const auto words = shell_words(line);
  if (!words.ok() || words->size() < 2 || words->front() != "log" || words->back() != "-f")
    return {};
  return words->size() == 2 ? "" : words->at(1);
}

Result<std::string> Console::log_named(const std::string& name) const {
  if (!name.empty()) return name;
  const auto names = view_.logs();
  if (names.size() == 1) return names.front();
  std::string all;
  for (const std::string& known : names) all += (all.empty() ? "" : ", ") + known;
  return bad_input(names.empty() ? "the run has no logs" : "log needs one of " + all);
}

Result<std::string> Console::log(const Words& words) const {
  TW_ASSIGN(const std::string node, log_named(words.empty() ? "" : words[0]));
  return view_.log(node, kLogLines);
}

std::vector<std::string> Console::metric_names() const {
  std::vector<std::string> names;
  if (const auto all = view_.last_metrics(); all.ok())
    for (const auto& [name, point] : *all) names.push_back(name);
  return names;
}

std::vector<std::string> Console::key_names() const {
  std::vector<std::string> names;
  for (const Key& key : config_keys()) names.push_back(key.name);
  return names;
}

std::vector<std::string> Console::log_names() const { return view_.logs(); }

std::vector<std::string> Console::event_kinds() const { return RunView::event_kinds(); }

}  // namespace tracewise
