#include "actors/timeline.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace tracewise {
namespace {

constexpr const char* kSchema = R"sql(
  CREATE TABLE IF NOT EXISTS spans (
    begin REAL NOT NULL, end REAL NOT NULL, node TEXT NOT NULL, actor TEXT NOT NULL,
    name TEXT NOT NULL, awaited TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS spans_end ON spans (end);
  CREATE INDEX IF NOT EXISTS spans_actor ON spans (actor, end) WHERE actor = 'run';
  CREATE VIEW IF NOT EXISTS steps AS
    SELECT CAST(substr(name, 6) AS INTEGER) AS step, max(end) AS time FROM spans
    WHERE actor = 'run' GROUP BY name;
)sql";

}  // namespace

Result<std::unique_ptr<Timeline>> Timeline::open(const std::filesystem::path& file,
                                                 Database::Mode mode, uint64_t most) {
  std::error_code failure;
  if (mode == Database::Mode::kReadOnly && !std::filesystem::exists(file, failure))
    return bad_input(file.string() + ": the run has no timeline");
  TW_ASSIGN(auto db, Database::open(file, mode));
  if (mode == Database::Mode::kReadWrite) TW_TRY(db->execute(kSchema));
  return std::unique_ptr<Timeline>(new Timeline(std::move(db), most));
}

Result<void> Timeline::add(const std::string& node, std::span<const Span> spans, double now) {
  if (spans.empty()) return {};
  return db_->transaction(false, [&]() -> Result<void> {
    TW_ASSIGN(Statement put, db_->prepare("INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?)"));
    for (const Span& span : spans) {
      put.bind(0, now - span.began_seconds).bind(1, now - span.ended_seconds);
      put.bind(2, std::string_view(node)).bind(3, std::string_view(span.actor));
      put.bind(4, std::string_view(span.name)).bind(5, std::string_view(span.awaited));
      TW_TRY(put.run());
    }
    TW_ASSIGN(Statement forget, db_->prepare("DELETE FROM spans WHERE rowid <= (SELECT max(rowid) "
                                             "FROM spans) - ?"));
    return forget.bind(0, most_).run();
  });
}

Result<std::vector<TimelineSpan>> Timeline::steps(uint64_t first, uint64_t last) {
  const auto label = [](uint64_t step) { return "step " + std::to_string(step); };
  TW_ASSIGN(Statement range, db_->prepare("SELECT min(begin), max(end), count(*) FROM spans WHERE "
                                          "actor = 'run' AND CAST(substr(name, 6) AS INTEGER) "
                                          "BETWEEN ? AND ?"));
  TW_ASSIGN(const bool row, range.bind(0, first).bind(1, last).step());
  TW_CHECK(row, "an aggregate has one row");
  if (range.integer(2) == 0) {
    TW_ASSIGN(Statement known, db_->prepare("SELECT min(step), max(step), count(*) FROM steps"));
    TW_ASSIGN(const bool any, known.step());
    TW_CHECK(any, "an aggregate has one row");
    return bad_input("the timeline has none of " + label(first) + " to " + std::to_string(last) +
                     (known.integer(2) == 0
                          ? ": it has no step yet"
                          : "; it has " + label(static_cast<uint64_t>(known.integer(0))) + " to " +
                                std::to_string(known.integer(1))));
  }
  const double begin = range.real(0), end = range.real(1);
  TW_ASSIGN(Statement get, db_->prepare("SELECT begin, end, node, actor, name, awaited FROM spans "
                                        "WHERE end > ? AND begin < ? ORDER BY begin, end DESC"));
  get.bind(0, begin).bind(1, end);
  std::vector<TimelineSpan> spans;
  for (;;) {
    TW_ASSIGN(const bool more, get.step());
    if (!more) return spans;
    spans.push_back({get.real(0), get.real(1), get.text(2), get.text(3), get.text(4), get.text(5)});
  }
}

std::string chrome_trace(std::span<const TimelineSpan> spans) {
  using nlohmann::ordered_json;
  ordered_json events = ordered_json::array();
  std::map<std::string, int> nodes;
  std::map<std::pair<std::string, std::string>, int> actors;
  const auto named = [&](const char* what, int pid, int tid, const std::string& name) {
    events.push_back(
        {{"ph", "M"}, {"name", what}, {"pid", pid}, {"tid", tid}, {"args", {{"name", name}}}});
  };
  double first = 0;
  for (const TimelineSpan& span : spans)
    first = &span == spans.data() ? span.begin : std::min(first, span.begin);
  int waits = 0;
  for (const TimelineSpan& span : spans) {
    const auto [node, new_node] = nodes.emplace(span.node, static_cast<int>(nodes.size()) + 1);
    const int pid = node->second;
    if (new_node) named("process_name", pid, 0, span.node);
    const auto [actor, new_actor] =
        actors.emplace(std::pair(span.node, span.actor), static_cast<int>(actors.size()) + 1);
    const int tid = actor->second;
    if (new_actor) named("thread_name", pid, tid, span.actor);
    const double begin = (span.begin - first) * 1e6, end = (span.end - first) * 1e6;
    ordered_json event = {{"name", span.name}, {"pid", pid}, {"tid", tid}, {"ts", begin}};
    if (span.awaited.empty()) {
      event["ph"] = "X";
      event["dur"] = end - begin;
      events.push_back(std::move(event));
      continue;
    }
    // Waits of an actor overlap, which a thread's own events may not.
    event["cat"] = "wait";
    event["id"] = ++waits;
    event["ph"] = "b";
    event["args"] = {{"waits for", span.awaited}, {"actor", span.actor}};
    events.push_back(event);
    event["ph"] = "e";
    event["ts"] = end;
    event.erase("args");
    events.push_back(std::move(event));
  }
  const ordered_json trace = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  return trace.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tracewise
