// A demo's result for people and scripts.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launch/demo/demo.hpp"

namespace tracewise::demo {
namespace {

std::string format(const char* pattern, auto... values) {
  char text[200];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

double per_probed(const Evaluation& e, uint64_t tokens) {
  return e.stats.probed_rollouts == 0
             ? 0
             : static_cast<double>(tokens) / static_cast<double>(e.stats.probed_rollouts);
}

ReportTable table(const DemoResult& result) {
  ReportTable table;
  table.header = {"method", "accuracy", "95 % interval", "tokens",     "solving / checking",
                  "steps",  "batches",  "training s",    "probe share"};
  for (const Outcome& o : result.outcomes) {
    const EvalResult& r = o.final.result;
    table.rows.push_back(
        {o.title, format("%.3f", r.accuracy), format("%.3f-%.3f", r.accuracy_low, r.accuracy_high),
         format("%.1f", r.tokens_mean),
         format("%.1f / %.1f", per_probed(o.final, o.final.stats.solving_tokens),
                per_probed(o.final, o.final.stats.checking_tokens)),
         format("%.1f", r.steps_mean), format("%lu", static_cast<unsigned long>(o.train_steps)),
         format("%.0f", o.wall_seconds), format("%.1f %%", 100 * o.probe_share)});
  }
  table.note = format(
      "Accuracy at temperature 1 on %lu fresh prompts. Tokens and steps are means of a "
      "response; solving tokens come before the first step end with V above 0.9.",
      static_cast<unsigned long>(result.outcomes.front().final.result.prompts));
  return table;
}

nlohmann::json outcome_json(const Outcome& o) {
  const EvalResult& r = o.final.result;
  return {{"accuracy", r.accuracy},       {"accuracy_ci", {r.accuracy_low, r.accuracy_high}},
          {"tokens_mean", r.tokens_mean}, {"steps_mean", r.steps_mean},
          {"wall_s", o.wall_seconds},     {"train_steps", o.train_steps},
          {"probe_share", o.probe_share}, {"samples_per_s", o.samples_per_second}};
}

}  // namespace

std::string result_table(const DemoResult& result) {
  const ReportTable t = table(result);
  std::vector<size_t> widths;
  for (const std::string& cell : t.header) widths.push_back(cell.size());
  for (const auto& row : t.rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  const auto add = [&](const std::vector<std::string>& row) {
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - row[c].size(), ' ');
      text += c == 0 ? row[c] + pad : "  " + pad + row[c];
    }
    text += '\n';
  };
  add(t.header);
  for (const auto& row : t.rows) add(row);
  return text + t.note + "\n";
}

std::string result_json(const DemoResult& result) {
  nlohmann::json json = {{"seed", result.options.seed}, {"task", result.options.task}};
  for (const Outcome& o : result.outcomes) json[o.key] = outcome_json(o);
  return json.dump(2) + "\n";
}

Report result_report(const DemoResult& result) {
  Report report;
  report.title =
      "tracewise demo: " + result.options.task + ", seed " + std::to_string(result.options.seed);
  report.paragraphs.push_back(
      "One tiny model, warmed up on reasoning traces, then trained by each method from the same "
      "start for the same training time, probing counted.");
  for (const Claim& claim : check_claims(result))
    report.paragraphs.push_back((claim.holds ? "Shown: " : "Not shown: ") + claim.text + ".");
  report.table = table(result);
  for (const Outcome& o : result.outcomes)
    if (!o.curve.empty()) report.runs.push_back({o.title, o.curve});
  report.rollouts = result.rollouts;
  return report;
}

}  // namespace tracewise::demo
