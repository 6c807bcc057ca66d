#include "launch/shell/run_view.hpp"

#include <algorithm>
#include <deque>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "actors/event_log.hpp"
#include "actors/run_store.hpp"
#include "actors/sqlite.hpp"
#include "launch/config.hpp"
#include "launch/nearest.hpp"
#include "launch/run_tokenizer.hpp"
#include "messages/failure_name.hpp"

namespace tracewise {
namespace fs = std::filesystem;
namespace {

constexpr std::streamoff kLogTail = 256 << 10;  // bytes of a log that are looked at

Result<std::unique_ptr<Database>> open_database(const fs::path& root) {
  std::error_code failure;
  if (!fs::exists(root / "run.db", failure))
    return bad_input(root.string() + ": there is no run in this folder");
  TW_ASSIGN(auto db, Database::open(root / "run.db", Database::Mode::kReadOnly));
  TW_TRY(RunStore::open(db.get(), Database::Mode::kReadOnly));  // a newer format is refused
  return db;
}

// "name, count" rows.
Result<std::vector<std::pair<std::string, uint64_t>>> counts(Database& db, const char* sql) {
  TW_ASSIGN(Statement get, db.prepare(sql));
  std::vector<std::pair<std::string, uint64_t>> rows;
  for (;;) {
    TW_ASSIGN(const bool more, get.step());
    if (!more) return rows;
    rows.emplace_back(get.text(0), static_cast<uint64_t>(get.integer(1)));
  }
}

double real_or_nan(const Statement& get, int column) {
  return get.is_null(column) ? std::numeric_limits<double>::quiet_NaN() : get.real(column);
}

}  // namespace

Result<LedgerCounts> RunView::ledger() const {
  TW_ASSIGN(const auto db, open_database(root_));
  LedgerCounts counted;
  TW_ASSIGN(Statement issued,
            db->prepare("SELECT coalesce(max(groups), 0), (SELECT coalesce(sum(attempt), 0) FROM "
                        "groups) FROM issued"));
  TW_ASSIGN(const bool there, issued.step());
  if (there) {
    counted.issued = static_cast<uint64_t>(issued.integer(0));
    counted.issued_again = static_cast<uint64_t>(issued.integer(1));
  }
  TW_ASSIGN(counted.states,
            counts(*db, "SELECT state, count(*) FROM groups GROUP BY state ORDER BY min(id) DESC"));
  TW_ASSIGN(counted.failures,
            counts(*db, "SELECT class, count(*) FROM failures GROUP BY class ORDER BY 2 DESC"));
  for (auto& [name, count] : counted.failures)
    name = failure_name(static_cast<FailureClass>(std::stoi(name)));
  return counted;
}

Result<GroupLineage> RunView::lineage(uint64_t group) const {
  TW_ASSIGN(const auto db, open_database(root_));
  GroupLineage lineage;
  lineage.group = group;
  TW_ASSIGN(Statement get,
            db->prepare("SELECT attempt, state, version, step, prompt FROM groups WHERE id = ?"));
  TW_ASSIGN(const bool there, get.bind(0, group).step());
  if (!there) {
    TW_ASSIGN(Statement last, db->prepare("SELECT coalesce(max(groups), 0) FROM issued"));
    TW_TRY(last.step());
    const int64_t issued = last.integer(0);
    return bad_input("the ledger has no group " + std::to_string(group) + "; " +
                     (issued == 0 ? "none was issued"
                                  : "groups 0 to " + std::to_string(issued - 1) + " were issued"));
  }
  lineage.attempt = static_cast<uint32_t>(get.integer(0));
  lineage.state = get.text(1);
  lineage.version = static_cast<uint64_t>(get.integer(2));
  lineage.step = static_cast<uint64_t>(get.integer(3));
  lineage.prompt = get.text(4);
  TW_ASSIGN(Statement failed,
            db->prepare("SELECT attempt, message FROM failures WHERE group_id = ? "
                        "ORDER BY attempt"));
  for (failed.bind(0, group);;) {
    TW_ASSIGN(const bool more, failed.step());
    if (!more) break;
    lineage.failures.emplace_back(static_cast<uint32_t>(failed.integer(0)), failed.text(1));
  }
  TW_ASSIGN(Statement logged, db->prepare("SELECT sample, step, reward, tokens FROM rollouts WHERE "
                                          "group_id = ? AND purpose = 0 ORDER BY step, sample"));
  for (logged.bind(0, group);;) {
    TW_ASSIGN(const bool more, logged.step());
    if (!more) return lineage;
    lineage.rollouts.push_back({static_cast<uint32_t>(logged.integer(0)),
                                static_cast<uint64_t>(logged.integer(1)), real_or_nan(logged, 2),
                                static_cast<uint64_t>(logged.integer(3))});
  }
}

Result<std::vector<std::pair<std::string, MetricPoint>>> RunView::last_metrics() const {
  TW_ASSIGN(const auto db, open_database(root_));
  // With max() the other columns are those of its row.
  TW_ASSIGN(Statement get,
            db->prepare("SELECT name, max(step), value FROM metrics GROUP BY name ORDER BY name"));
  std::vector<std::pair<std::string, MetricPoint>> all;
  for (;;) {
    TW_ASSIGN(const bool more, get.step());
    if (!more) return all;
    all.push_back({get.text(0), {static_cast<uint64_t>(get.integer(1)), real_or_nan(get, 2)}});
  }
}

Result<std::vector<MetricPoint>> RunView::metric(const std::string& name, size_t count) const {
  TW_ASSIGN(const auto db, open_database(root_));
  TW_ASSIGN(Statement get, db->prepare("SELECT step, value FROM metrics WHERE name = ? ORDER BY "
                                       "step DESC LIMIT ?"));
  std::vector<MetricPoint> points;
  for (get.bind(0, std::string_view(name)).bind(1, static_cast<uint64_t>(count));;) {
    TW_ASSIGN(const bool more, get.step());
    if (!more) break;
    points.push_back({static_cast<uint64_t>(get.integer(0)), real_or_nan(get, 1)});
  }
  std::ranges::reverse(points);
  if (!points.empty()) return points;
  TW_ASSIGN(const auto known, last_metrics());
  std::vector<std::string> names;
  for (const auto& [other, point] : known) names.push_back(other);
  return bad_input("there is no metric " + name + did_you_mean(name, names));
}

Result<std::string> RunView::config(const std::string& name) const {
  std::error_code failure;
  if (!fs::exists(root_ / "config.toml", failure))
    return bad_input(root_.string() + ": there is no run in this folder");
  TW_ASSIGN(const Config config, load_config({{root_ / "config.toml"}, {}}));
  std::string text = config_toml(config, false, name);
  if (!text.empty()) return text;
  const std::string near = nearest_key(name);
  return bad_input("there is no key " + name +
                   (near.empty() ? std::string() : "; did you mean " + near + "?"));
}

std::vector<std::string> RunView::event_kinds() {
  std::vector<std::string> kinds;
  for (const EventKind kind : kEventKinds) kinds.emplace_back(to_string(kind));
  return kinds;
}

Result<std::vector<RunEvent>> RunView::events(const std::string& kind, size_t count) const {
  const auto kinds = event_kinds();
  if (!kind.empty() && std::ranges::find(kinds, kind) == kinds.end())
    return bad_input("there are no events of kind " + kind + did_you_mean(kind, kinds));
  std::ifstream file(root_ / "events.jsonl");
  std::deque<RunEvent> newest;
  for (std::string line; std::getline(file, line);) {
    const auto event = nlohmann::json::parse(line, nullptr, false);
    if (!event.is_object()) continue;  // a crash may have torn it
    RunEvent read{event.value("time", 0.0), event.value("kind", ""), event.value("who", ""),
                  event.value("text", "")};
    if (!kind.empty() && read.kind != kind) continue;
    newest.push_back(std::move(read));
    if (newest.size() > count) newest.pop_front();
  }
  return std::vector<RunEvent>(newest.begin(), newest.end());
}

Result<std::vector<LoggedView>> RunView::rollouts(uint64_t group,
                                                  std::optional<uint32_t> sample) const {
  TW_ASSIGN(const GroupLineage lineage, this->lineage(group));
  std::string there;
  for (const auto& logged : lineage.rollouts)
    there += (there.empty() ? "" : ", ") + std::to_string(logged.sample);
  const std::string name = "group " + std::to_string(group);
  if (there.empty()) return bad_input("no rollout of " + name + " was logged (run.log_rollouts)");
  TW_ASSIGN(const auto db, open_database(root_));
  TW_ASSIGN(const auto store, RunStore::open(db.get(), Database::Mode::kReadOnly));
  TW_ASSIGN(const auto logged, store->rollouts_of(group));
  TW_ASSIGN(const auto tokenizer, tokenizer_of(root_));
  std::vector<LoggedView> views;
  for (const LoggedRollout& l : logged) {
    if (sample && l.traced.rollout.sample != *sample) continue;
    const std::vector<double> advantages(l.advantages.begin(), l.advantages.end());
    views.push_back({l.step, make_view(l.traced, advantages, true, *tokenizer)});
  }
  if (views.empty())
    return bad_input("sample " + std::to_string(*sample) + " of " + name +
                     " was not logged; there are: " + there);
  return views;
}

std::string RunView::last_words() const {
  const auto last = events(to_string(EventKind::kRun), 1);
  return last.ok() && !last->empty() ? last->front().text : "";
}

fs::path RunView::log_file(const std::string& node) const {
  return root_ / "logs" / (node + ".log");
}

std::vector<std::string> RunView::logs() const {
  std::vector<std::string> names;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(root_ / "logs", failure)) {
    if (entry.path().extension() == ".log") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

Result<std::string> RunView::log(const std::string& node, size_t lines) const {
  const std::vector<std::string> known = logs();
  if (std::ranges::find(known, node) == known.end()) {
    std::string all;
    for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
    return bad_input("there is no log of " + node + "; there are: " + all);
  }
  const fs::path path = log_file(node);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return io_error(path.string() + ": cannot be opened");
  const std::streamoff size = file.tellg();
  const std::streamoff from = std::max<std::streamoff>(0, size - kLogTail);
  file.seekg(from);
  std::string text(static_cast<size_t>(size - from), 0);
  file.read(text.data(), size - from);
  if (!file) return io_error(path.string() + ": cannot be read");
  size_t begin = text.size();
  if (begin > 0 && text.back() == '\n') --begin;
  for (size_t found = 0; begin > 0; --begin) {
    if (text[begin - 1] == '\n' && ++found == lines) break;
  }
  return text.substr(begin);
}

}  // namespace tracewise
