// The commands of the shell that tell of the past: events, and rollouts as they were written.
#include <algorithm>
#include <charconv>
#include <ctime>

#include "launch/shell/console.hpp"
#include "launch/shell/json_text.hpp"
#include "launch/text_table.hpp"
#include "launch/trace_view.hpp"

namespace tracewise {
namespace {

using nlohmann::ordered_json;

constexpr size_t kEvents = 40;  // fills a screen or two

// In the reader's time zone.
std::string date_of(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  std::tm local{};
  ::localtime_r(&whole, &local);
  char text[32];
  std::strftime(text, sizeof text, "%F %T", &local);
  return text;
}

template <class Number>
bool reads(std::string_view text, Number* number) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return failure == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<std::string> Console::events(const Words& words) const {
  TW_ASSIGN(const auto events, view_.events(words.empty() ? "" : words[0], kEvents));
  if (format_ == Format::kJson) {
    ordered_json list = ordered_json::array();
    for (const RunEvent& event : events)
      list.push_back(
          {{"time", event.time}, {"kind", event.kind}, {"who", event.who}, {"text", event.text}});
    return text_of({{"events", list}});
  }
  if (events.empty()) return std::string("nothing has happened\n");
  std::vector<std::vector<std::string>> rows = {{"time", "kind", "who", "event"}};
  std::vector<Tone> tones = {Tone::kHead};
  for (const RunEvent& event : events) {
    rows.push_back({date_of(event.time), event.kind, event.who, event.text});
    tones.push_back(event.kind == "stall" ? Tone::kBad : Tone::kPlain);
  }
  return table(rows, tones);
}

// "12" or "12/3".
Result<std::string> Console::show(const Words& words) const {
  const std::string asked = words.empty() ? "" : words[0];
  const size_t slash = asked.find('/');
  uint64_t group = 0;
  uint32_t sample = 0;
  const bool one = slash != std::string::npos;
  if (!reads(std::string_view(asked).substr(0, slash), &group) ||
      (one && !reads(std::string_view(asked).substr(slash + 1), &sample)))
    return bad_input("show needs GROUP or GROUP/SAMPLE, but there is '" + asked + "'");
  TW_ASSIGN(const auto views,
            view_.rollouts(group, one ? std::optional<uint32_t>(sample) : std::nullopt));
  std::string text;
  for (const LoggedView& view : views) {
    if (format_ == Format::kJson) {
      text += view_json(view.rollout) + "\n";
      continue;
    }
    text += (text.empty() ? "" : "\n") + std::string("group ") + std::to_string(group) + ", step " +
            std::to_string(view.step) + "\n" + view_text(view.rollout, format_ == Format::kColours);
  }
  return text;
}

}  // namespace tracewise
