#include "launch/report/run_report.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include "actors/run_store.hpp"
#include "launch/config.hpp"
#include "launch/parts.hpp"
#include "launch/report/rollout_view.hpp"
#include "launch/report/svg_chart.hpp"
#include "launch/rollouts_file.hpp"
#include "launch/run_tokenizer.hpp"

namespace tracewise {
namespace {

constexpr size_t kRolloutsShown = 3;

using StepMetrics = std::map<uint64_t, std::map<std::string, double>>;

double value_or(const std::map<std::string, double>& metrics, const std::string& name,
                double otherwise) {
  const auto found = metrics.find(name);
  return found == metrics.end() ? otherwise : found->second;
}

// Evaluations where the run has them; else every training batch.
std::vector<CurvePoint> curve_of(const StepMetrics& steps) {
  std::vector<CurvePoint> evals, batches;
  for (const auto& [step, m] : steps) {
    if (m.contains("eval/accuracy"))
      evals.push_back({value_or(m, "eval/train_seconds", 0), m.at("eval/accuracy"),
                       value_or(m, "eval/response_tokens", 0)});
    if (m.contains("train/accuracy"))
      batches.push_back({value_or(m, "time/train_seconds", static_cast<double>(step)),
                         m.at("train/accuracy"), value_or(m, "train/response_tokens", 0)});
  }
  return evals.empty() ? batches : evals;
}

std::vector<std::string> table_row(const std::string& name, const StepMetrics& steps) {
  std::map<std::string, double> last;  // newest value of every metric
  for (const auto& [step, metrics] : steps)
    for (const auto& [key, value] : metrics) last[key] = value;
  const auto shown = [&](const char* key, int decimals) {
    const auto found = last.find(key);
    return found == last.end() ? std::string("-") : short_number(found->second, decimals);
  };
  return {name,
          std::to_string(steps.empty() ? 0 : steps.rbegin()->first),
          shown("eval/accuracy", 3),
          shown("eval/response_tokens", 1),
          shown("train/accuracy", 3),
          shown("train/response_tokens", 1),
          shown("train/solving_tokens", 1) + " / " + shown("train/checking_tokens", 1),
          shown("train/brier", 3)};
}

// A row for each of the run's evaluation sets, if it has several.
std::vector<std::vector<std::string>> set_rows(const std::string& name, const StepMetrics& steps,
                                               size_t columns) {
  const std::string before = "eval/", after = "/accuracy";
  std::vector<std::vector<std::string>> rows;
  const auto last = std::find_if(steps.rbegin(), steps.rend(), [](const auto& step) {
    return step.second.contains("eval/accuracy");
  });
  if (last == steps.rend()) return rows;
  const auto& [step, metrics] = *last;
  for (const auto& [key, value] : metrics) {
    if (!key.starts_with(before) || !key.ends_with(after) || key == before + "accuracy") continue;
    const size_t length = key.size() - before.size() - after.size();
    const std::string set = key.substr(before.size(), length);
    std::vector<std::string>& row = rows.emplace_back(columns, "-");
    row[0] = name + ", " + set;
    row[1] = std::to_string(step);
    row[2] = short_number(value, 3);
    row[3] = short_number(value_or(metrics, before + set + "/response_tokens", 0), 1);
  }
  return rows.size() > 1 ? rows : decltype(rows){};
}

Result<std::vector<LoggedRollout>> last_rollouts(RunStore& store) {
  TW_ASSIGN(auto rollouts, store.rollouts(Purpose::kTrain));
  if (rollouts.size() > kRolloutsShown)
    rollouts.erase(rollouts.begin(), rollouts.end() - kRolloutsShown);
  return rollouts;
}

// "a" of "runs/a" and "runs/a/".
std::string name_of(const std::filesystem::path& run) {
  const std::filesystem::path whole = std::filesystem::absolute(run).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

ReportRollout shown(const std::string& title, const RolloutView& view) {
  ReportRollout out{title, view.prompt, view.answer, view.reward.value_or(0), {}};
  std::optional<double> before = view.start_value;
  for (const StepView& step : view.steps) {
    out.steps.push_back({step.text, before, step.value});
    before = step.value;
  }
  return out;
}

// The figures of `tracewise eval`: accuracy is the mean over prompts, tokens over rollouts.
struct SetFigures {
  std::map<std::string, std::pair<double, size_t>> prompts;  // by id: rewards, good rollouts
  double tokens = 0;
  size_t rollouts = 0;
  size_t shown = 0;

  void add(const RolloutView& view) {
    auto& [reward, good] = prompts[view.id];
    reward += view.reward.value_or(0);
    ++good;
    ++rollouts;
    tokens += static_cast<double>(view.tokens);
  }
  double accuracy() const {
    double sum = 0;
    for (const auto& [id, prompt] : prompts)
      sum += prompt.first / static_cast<double>(prompt.second);
    return sum / static_cast<double>(prompts.size());
  }
};

// A row for each set of a file of rollouts, and its first rollouts.
Result<void> add_rollouts_file(Report& report, const std::filesystem::path& file) {
  TW_ASSIGN(const auto rollouts, load_rollouts(file));
  const std::string name = file.filename().string() + ", ";
  std::map<std::string, SetFigures> sets;
  for (const RolloutView& view : rollouts) {
    SetFigures& set = sets[view.set];
    if (!view.reward) continue;  // a failed one
    set.add(view);
    if (set.shown++ < kRolloutsShown)
      report.rollouts.push_back(shown(name + view.set + ", " + view.id, view));
  }
  for (const auto& [set, figures] : sets) {
    std::vector<std::string> row(report.table.header.size(), "-");
    row[0] = name + set;
    if (figures.rollouts > 0) {
      row[2] = short_number(figures.accuracy(), 3);
      row[3] = short_number(figures.tokens / static_cast<double>(figures.rollouts), 1);
    }
    report.table.rows.push_back(std::move(row));
  }
  return {};
}

}  // namespace

Result<Report> report_runs(std::span<const std::filesystem::path> runs) {
  Report report;
  report.title = runs.size() == 1 ? "tracewise run " + name_of(runs[0])
                                  : "tracewise: " + std::to_string(runs.size()) + " runs";
  report.table.header = {"run",
                         "batches",
                         "eval accuracy",
                         "eval tokens",
                         "train accuracy",
                         "train tokens",
                         "solving / checking",
                         "Brier"};
  for (const std::filesystem::path& run : runs) {
    std::error_code none;  // what cannot be seen is no file
    if (std::filesystem::is_regular_file(run, none)) {
      TW_TRY(add_rollouts_file(report, run));
      continue;
    }
    if (!std::filesystem::exists(run / "run.db"))
      return bad_input(run.string() + " is no run folder: it has no run.db");
    TW_ASSIGN(const auto db, Database::open(run / "run.db", Database::Mode::kReadOnly));
    TW_ASSIGN(const auto store, RunStore::open(db.get(), Database::Mode::kReadOnly));
    TW_ASSIGN(const auto metrics, store->metrics(""));
    StepMetrics steps;
    for (const StepMetric& m : metrics) steps[m.step][m.name] = m.value;
    const std::string name = name_of(run);
    report.table.rows.push_back(table_row(name, steps));
    std::ranges::move(set_rows(name, steps, report.table.header.size()),
                      std::back_inserter(report.table.rows));
    report.runs.push_back({name, curve_of(steps)});

    TW_ASSIGN(const auto tokenizer, tokenizer_of(run));
    TW_ASSIGN(const auto rollouts, last_rollouts(*store));
    for (const LoggedRollout& logged : rollouts)
      report.rollouts.push_back(
          rollout_view(name + ", step " + std::to_string(logged.step), logged.traced, *tokenizer));
  }
  return report;
}

}  // namespace tracewise
