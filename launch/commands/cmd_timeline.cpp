// tracewise timeline: who did what when in some steps of a run, as a trace.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>

#include "actors/timeline.hpp"
#include "launch/commands/cli.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace {

struct Steps {
  uint64_t first = 0, last = 0;
};

// "12" or "12..40".
Result<Steps> steps_of(const std::string& text) {
  Steps steps;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, steps.first);
  bool good = first.ec == std::errc();
  steps.last = steps.first;
  if (good && first.ptr != end) {
    const auto gap = text.find("..");
    good = first.ptr == text.data() + gap;
    if (good) {
      const auto last = std::from_chars(first.ptr + 2, end, steps.last);
      good = last.ec == std::errc() && last.ptr == end;
    }
  }
  if (good && steps.first <= steps.last) return steps;
  return bad_input("--steps " + text + ": these are no steps; 12 and 12..40 are");
}

}  // namespace

int cmd_timeline(const Args& args) {
  CLI::App app(
      "Writes who did what when in some steps of a run, and who waited for whom, as trace events\n"
      "that https://ui.perfetto.dev and chrome://tracing open.",
      "tracewise timeline");
  std::filesystem::path run, out = "timeline.json";
  std::string range;
  app.add_option("RUN", run, "run folder")->required();
  app.add_option("--steps", range, "one step, or first..last")->required()->type_name("A..B");
  app.add_option("--out", out, "file to write")->capture_default_str()->type_name("FILE");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto steps = steps_of(range);
  if (!steps.ok()) return fail(steps.error());
  auto timeline = Timeline::open(run / "timeline.db", Database::Mode::kReadOnly);
  if (!timeline.ok()) return fail(timeline.error());
  const auto spans = (*timeline)->steps(steps->first, steps->last);
  if (!spans.ok()) return fail(spans.error());
  if (auto written = write_file(out, chrome_trace(*spans)); !written.ok())
    return fail(written.error());
  std::printf("wrote %s\n", out.c_str());
  return kExitDone;
}

}  // namespace tracewise
