#include "actors/timeline.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "actors/node_registry.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
const Activity::TimePoint kStart = Activity::TimePoint() + std::chrono::hours(1);

Activity::TimePoint at(int ms) { return kStart + milliseconds(ms); }

}  // namespace

TEST_CASE(
    "states become spans, and pauses of less than ten milliseconds belong to what is around") {
  SpanBuffer buffer;
  {
    Activity activity(&buffer, "generator 0", "idle", at(0));
    activity.was("idle", at(100));
    activity.was("in an engine step", at(150));
    activity.was("between engine steps", at(151));
    activity.was("in an engine step", at(200));
    activity.was("between engine steps", at(209));  // too short for itself
    activity.was("idle", at(300));
  }
  CHECK(buffer.take(at(1000)) ==
        std::vector<Span>{{"generator 0", "idle", "", 1.0, 0.9},
                          {"generator 0", "in an engine step", "", 0.9, 0.791},
                          {"generator 0", "idle", "", 0.791, 0.7}});
  CHECK(buffer.take(at(1000)).empty());
}

TEST_CASE("of the spans that nobody takes the newest are kept, in their order") {
  SpanBuffer buffer;
  for (int i = 0; i < static_cast<int>(SpanBuffer::kMost) + 3; ++i)
    buffer.add("a", std::to_string(i), "", at(i), at(i + 1));
  const auto spans = buffer.take(at(0));
  REQUIRE(spans.size() == SpanBuffer::kMost);
  CHECK(spans.front().name == "3");
  CHECK(spans.back().name == std::to_string(SpanBuffer::kMost + 2));
}

TEST_CASE("an entry of the registry tells of its states and its waits") {
  NodeRegistry registry;
  const auto entry = registry.enlist("learner", "learner", at(0));
  entry->set_state("training", at(20));
  entry->begin_wait("weights version 5", "generator 0", at(30), at(9000));
  entry->begin_wait("a moment", "generator 0", at(40), at(9000));
  entry->end_wait("a moment", at(45));
  entry->end_wait("never begun", at(45));
  entry->end_wait("weights version 5", at(80));
  entry->set_state("idle", at(120));
  entry->set_state("training", at(220));
  CHECK(registry.take_spans(at(220)) ==
        std::vector<Span>{{"learner", "weights version 5", "generator 0", 0.19, 0.14},
                          {"learner", "starting", "", 0.22, 0.2},
                          {"learner", "training", "", 0.2, 0.1}});
}

TEST_CASE("a timeline gives what overlaps some steps, on the clock of whoever heard it") {
  const TempDir dir;
  const auto file = dir / "timeline.db";
  CHECK(Timeline::open(file, Database::Mode::kReadOnly).error().message ==
        file.string() + ": the run has no timeline");
  auto timeline = Timeline::open(file, Database::Mode::kReadWrite).value();
  CHECK(timeline->steps(1, 2).error().message ==
        "the timeline has none of step 1 to 2: it has no step yet");
  REQUIRE(timeline
              ->add("head",
                    std::vector<Span>{{"run", "step 1", "", 5, 4},
                                      {"run", "step 2", "", 4, 2.5},
                                      {"learner", "training", "", 4.5, 3.5}},
                    1000)
              .ok());
  REQUIRE(
      timeline->add("gen0", std::vector<Span>{{"generator 0", "weights", "learner", 2, 1}}, 1000)
          .ok());
  const auto read = Timeline::open(file, Database::Mode::kReadOnly).value();
  CHECK(read->steps(2, 9).value() ==
        std::vector<TimelineSpan>{{995.5, 996.5, "head", "learner", "training", ""},
                                  {996, 997.5, "head", "run", "step 2", ""}});
  CHECK(read->steps(7, 9).error().message ==
        "the timeline has none of step 7 to 9; it has step 1 to 2");
}

TEST_CASE("of a long run the timeline has the newest spans alone") {
  const TempDir dir;
  auto timeline = Timeline::open(dir / "timeline.db", Database::Mode::kReadWrite, 3).value();
  for (int step = 1; step <= 5; ++step) {
    const double began = 100 - 2 * step;
    REQUIRE(
        timeline
            ->add("head",
                  std::vector<Span>{{"run", "step " + std::to_string(step), "", began, began - 2}},
                  1000)
            .ok());
  }
  CHECK(timeline->steps(1, 9)->size() == 3);
  CHECK(timeline->steps(1, 2).error().message ==
        "the timeline has none of step 1 to 2; it has step 3 to 5");
}

TEST_CASE("a trace has a process for each node, a thread for each actor, and waits beside them") {
  const std::vector<TimelineSpan> spans = {
      {100, 101, "head", "learner", "training", ""},
      {100.5, 102, "gen0", "generator 0", "weights", "learner"}};
  const json events = json::parse(chrome_trace(spans))["traceEvents"];
  REQUIRE(events.size() == 7);
  CHECK(events[0]["args"]["name"] == "head");
  CHECK(events[1]["args"]["name"] == "learner");
  CHECK(events[2]["ph"] == "X");
  CHECK(events[2]["ts"] == 0);
  CHECK(events[2]["dur"] == 1e6);
  CHECK(events[5]["ph"] == "b");
  CHECK(events[5]["pid"] == events[3]["pid"]);
  CHECK(events[5]["ts"] == 0.5e6);
  CHECK(events[5]["args"]["waits for"] == "learner");
  CHECK(events[6]["ph"] == "e");
  CHECK(events[6]["id"] == events[5]["id"]);
  CHECK(events[6]["ts"] == 2e6);
}

}  // namespace tracewise
