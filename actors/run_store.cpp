#include "actors/run_store.hpp"

#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include "messages/codec.hpp"

namespace tracewise {
namespace {

constexpr const char* kFormatKey = "format";

constexpr const char* kSchema = R"sql(
  CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS metrics (
    step INTEGER NOT NULL, name TEXT NOT NULL, value REAL, PRIMARY KEY (step, name)) WITHOUT ROWID;
  -- record: a TracedRollout of messages/tracewise.proto; advantages: little-endian fp32, one a step
  CREATE TABLE IF NOT EXISTS rollouts (
    purpose INTEGER NOT NULL, step INTEGER NOT NULL, group_id INTEGER NOT NULL,
    sample INTEGER NOT NULL, prompt TEXT NOT NULL, reward REAL, tokens INTEGER NOT NULL,
    record BLOB NOT NULL, advantages BLOB NOT NULL,
    PRIMARY KEY (purpose, step, group_id, sample));
)sql";

std::string float_bytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

Result<std::unique_ptr<RunStore>> RunStore::open(Database* db, Database::Mode mode) {
  std::unique_ptr<RunStore> store(new RunStore(db));
  TW_TRY(store->check_format());
  if (mode == Database::Mode::kReadOnly) return store;
  TW_TRY(db->execute(kSchema));
  TW_TRY(store->set_value(kFormatKey, std::to_string(kRunFormat)));
  return store;
}

// Runs from before there was a number are of the first format.
Result<void> RunStore::check_format() {
  TW_ASSIGN(Statement table, db_->prepare("SELECT 1 FROM sqlite_master WHERE name = 'run'"));
  TW_ASSIGN(const bool there, table.step());
  if (!there) return {};  // a new one
  TW_ASSIGN(const auto written, value(kFormatKey));
  const std::string text = written.value_or("1");
  uint64_t format = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), format);
  if (failure != std::errc() || end != text.data() + text.size())
    return corrupt(db_->file().string() + ": '" + text + "' is no format of a run");
  if (format <= kRunFormat) return {};
  return bad_input(db_->file().string() + ": a newer tracewise wrote this run, in format " + text +
                   "; this one reads formats up to " + std::to_string(kRunFormat));
}

Result<void> RunStore::set_value(const std::string& key, const std::string& value) {
  TW_ASSIGN(Statement put, db_->prepare("INSERT INTO run VALUES (?, ?) ON CONFLICT (key) DO UPDATE "
                                        "SET value = excluded.value"));
  return put.bind(0, std::string_view(key)).bind(1, std::string_view(value)).run();
}

Result<std::optional<std::string>> RunStore::value(const std::string& key) {
  TW_ASSIGN(Statement get, db_->prepare("SELECT value FROM run WHERE key = ?"));
  TW_ASSIGN(const bool row, get.bind(0, std::string_view(key)).step());
  if (!row) return std::optional<std::string>();
  return std::optional<std::string>(get.text(0));
}

Result<void> RunStore::put_metrics(uint64_t step, std::span<const Metric> metrics) {
  TW_ASSIGN(Statement put, db_->prepare("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?)"));
  for (const Metric& metric : metrics) {
    put.bind(0, step).bind(1, std::string_view(metric.name));
    // SQLite stores infinities, but JSON and the charts cannot show them.
    TW_TRY(put.bind(2, std::isfinite(metric.value) ? metric.value : std::nan("")).run());
  }
  return {};
}

Result<void> RunStore::put_rollout(const LoggedRollout& logged) {
  const Rollout& rollout = logged.traced.rollout;
  TW_ASSIGN(const std::string record, encode(logged.traced));
  TW_ASSIGN(Statement put,
            db_->prepare("INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  put.bind(0, static_cast<int64_t>(rollout.purpose)).bind(1, logged.step);
  put.bind(2, rollout.key.group).bind(3, int64_t{rollout.sample});
  put.bind(4, std::string_view(rollout.prompt.id));
  put.bind(5, double{logged.traced.reward}).bind(6, uint64_t{rollout.tokens.size()});
  put.bind_blob(7, record).bind_blob(8, float_bytes(logged.advantages));
  return put.run();
}

Result<uint64_t> RunStore::last_step() {
  TW_ASSIGN(Statement newest, db_->prepare("SELECT coalesce(max(step), 0) FROM metrics"));
  TW_ASSIGN(const bool row, newest.step());
  TW_CHECK(row, "an aggregate has one row");
  return static_cast<uint64_t>(newest.integer(0));
}

Result<void> RunStore::forget_after(uint64_t step) {
  for (const char* sql :
       {"DELETE FROM metrics WHERE step > ?", "DELETE FROM rollouts WHERE step > ?"}) {
    TW_ASSIGN(Statement forget, db_->prepare(sql));
    TW_TRY(forget.bind(0, step).run());
  }
  return {};
}

Result<std::vector<StepMetric>> RunStore::metrics(const std::string& name) {
  std::vector<StepMetric> metrics;
  TW_ASSIGN(Statement get, db_->prepare("SELECT step, name, value FROM metrics WHERE ?1 = '' OR "
                                        "name = ?1 ORDER BY step, name"));
  get.bind(0, std::string_view(name));
  while (true) {
    TW_ASSIGN(const bool row, get.step());
    if (!row) break;
    metrics.push_back({static_cast<uint64_t>(get.integer(0)), get.text(1), get.real(2)});
  }
  return metrics;
}

// Rows of step, record, advantages.
Result<std::vector<LoggedRollout>> RunStore::read_rollouts(Statement get) {
  std::vector<LoggedRollout> rollouts;
  while (true) {
    TW_ASSIGN(const bool row, get.step());
    if (!row) return rollouts;
    LoggedRollout& logged = rollouts.emplace_back();
    logged.step = static_cast<uint64_t>(get.integer(0));
    TW_TRY(decode(get.text(1), logged.traced));
    const std::string advantages = get.text(2);
    logged.advantages.resize(advantages.size() / sizeof(float));
    if (!advantages.empty()) {
      std::memcpy(logged.advantages.data(), advantages.data(),
                  logged.advantages.size() * sizeof(float));
    }
  }
}

Result<std::vector<LoggedRollout>> RunStore::rollouts(Purpose purpose) {
  TW_ASSIGN(Statement get, db_->prepare("SELECT step, record, advantages FROM rollouts WHERE "
                                        "purpose = ? ORDER BY step, group_id, sample"));
  get.bind(0, static_cast<int64_t>(purpose));
  return read_rollouts(std::move(get));
}

Result<std::vector<LoggedRollout>> RunStore::rollouts_of(uint64_t group) {
  TW_ASSIGN(Statement get,
            db_->prepare("SELECT step, record, advantages FROM rollouts WHERE purpose = ? AND "
                         "group_id = ? ORDER BY step, sample"));
  get.bind(0, static_cast<int64_t>(Purpose::kTrain)).bind(1, group);
  return read_rollouts(std::move(get));
}

}  // namespace tracewise
