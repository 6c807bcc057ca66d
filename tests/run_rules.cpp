#include "tests/run_rules.hpp"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "actors/run_folder.hpp"
#include "actors/run_store.hpp"
#include "actors/sqlite.hpp"

namespace tracewise {
namespace {

class Rules {
 public:
  void expect(bool kept, const std::string& sentence) {
    if (!kept) broken_ += sentence + "\n";
  }
  template <class T>
  T take(Result<T> result) {
    if (result.ok()) return std::move(result).value();
    expect(false, result.error().message);
    return {};
  }
  std::string take() { return std::move(broken_); }

 private:
  std::string broken_;
};

std::string group_name(int64_t id) { return "group " + std::to_string(id); }

void check_ledger(Database& db, const RunRules& rules, Rules& out) {
  const uint64_t groups = rules.steps * rules.groups_per_batch;
  auto issued = db.prepare("SELECT groups FROM issued");
  if (!issued.ok() || !issued->step().ok()) return out.expect(false, "the ledger is unreadable");
  out.expect(
      static_cast<uint64_t>(issued->integer(0)) == groups,
      std::to_string(issued->integer(0)) + " groups were issued, not " + std::to_string(groups));
  auto rows = db.prepare("SELECT id, state, step FROM groups ORDER BY id");
  if (!rows.ok()) return out.expect(false, rows.error().message);
  std::map<uint64_t, uint64_t> of_step;
  uint64_t next = 0;
  while (out.take(rows->step())) {
    const int64_t id = rows->integer(0);
    const auto step = static_cast<uint64_t>(rows->integer(2));
    out.expect(static_cast<uint64_t>(id) == next++, group_name(id) + " follows a gap");
    out.expect(rows->text(1) == "committed", group_name(id) + " is " + rows->text(1));
    ++of_step[step];
  }
  out.expect(next == groups, std::to_string(next) + " groups are in the ledger");
  for (uint64_t step = 1; step <= rules.steps; ++step) {
    out.expect(
        of_step[step] == rules.groups_per_batch,
        "step " + std::to_string(step) + " has " + std::to_string(of_step[step]) + " groups");
  }
}

void check_rollouts(Database& db, const RunRules& rules, Rules& out) {
  auto store = RunStore::open(&db, Database::Mode::kReadOnly);
  if (!store.ok()) return out.expect(false, store.error().message);
  const auto logged = out.take((*store)->rollouts(Purpose::kTrain));
  out.expect(!logged.empty(), "no rollout is logged");
  for (const LoggedRollout& one : logged) {
    const Rollout& rollout = one.traced.rollout;
    for (const uint64_t version : rollout.versions) {
      if (version + 1 + rules.max_staleness >= one.step && version < one.step) continue;
      out.expect(false, group_name(static_cast<int64_t>(rollout.key.group)) +
                            " was trained in step " + std::to_string(one.step) +
                            " with tokens of version " + std::to_string(version));
      break;
    }
  }
}

void check_metrics(const std::filesystem::path& file, const RunRules& rules, Rules& out) {
  std::ifstream lines(file);
  uint64_t step = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto parsed = nlohmann::json::parse(line, nullptr, false);
    if (parsed.is_discarded() || !parsed.contains("step"))
      return out.expect(false, "a line of metrics.jsonl is no metrics: " + line);
    ++step;
    out.expect(parsed["step"] == step, "metrics of step " + parsed["step"].dump() +
                                           " stand in the place of step " + std::to_string(step));
    step = parsed["step"];
  }
  out.expect(step == rules.steps, "the last metrics are of step " + std::to_string(step));
}

}  // namespace

std::string broken_rules(const std::filesystem::path& root, const RunRules& rules) {
  Rules out;
  auto db = Database::open(root / "run.db", Database::Mode::kReadOnly);
  if (!db.ok()) return db.error().message + "\n";
  check_ledger(**db, rules, out);
  check_rollouts(**db, rules, out);
  check_metrics(root / "metrics.jsonl", rules, out);
  const auto last = read_checkpoint(root / "checkpoints" / ("step-" + std::to_string(rules.steps)));
  out.expect(last.ok(), last.ok() ? "" : last.error().message);
  return out.take();
}

}  // namespace tracewise
