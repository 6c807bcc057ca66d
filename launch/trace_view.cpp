#include "launch/trace_view.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "model/tokenizer.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {
namespace {

constexpr const char* kPlain = "\x1b[0m";

constexpr std::pair<const char*, FinishReason> kFinishNames[] = {
    {"stop", FinishReason::kStop},
    {"length", FinishReason::kLength},
    {"cancelled", FinishReason::kCancelled},
    {"failed", FinishReason::kFailed}};

const char* finish_name(FinishReason finish) {
  for (const auto& [name, reason] : kFinishNames)
    if (reason == finish) return name;
  return "unknown";
}

std::string format(const char* pattern, auto... values) {
  char text[160];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

// A number in a column of `width`; "-" where it is unknown.
std::string cell(const std::optional<double>& value, int width, bool sign) {
  if (!value) return format("%*s", width, "-");
  // Nothing is written as -0.000.
  const double shown = std::abs(*value) < 5e-4 ? 0 : *value;
  return sign ? format("%+*.3f", width, shown) : format("%*.3f", width, shown);
}

// ANSI's 6 x 6 x 6 cube: red at 0, yellow at 0.5, green at 1.
std::string colour_of(double value) {
  const double v = std::clamp(value, 0.0, 1.0);
  const int red = static_cast<int>(std::lround(5 * std::min(1.0, 2 - 2 * v)));
  const int green = static_cast<int>(std::lround(5 * std::min(1.0, 2 * v)));
  return format("\x1b[38;5;%dm", 16 + 36 * red + 6 * green);
}

std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) {
      out += format("\\x%02x", byte);
    } else {
      out += c;
    }
  }
  return out;
}

// The lines of a text without the blank ones at its end; at least one.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  const std::string shown = printable(text);
  for (size_t begin = 0; begin <= shown.size();) {
    const size_t end = std::min(shown.find('\n', begin), shown.size());
    lines.push_back(shown.substr(begin, end - begin));
    begin = end + 1;
  }
  while (lines.size() > 1 && lines.back().empty()) lines.pop_back();
  return lines;
}

// "name  first line", further lines indented alike.
std::string field(const char* name, const std::string& text) {
  std::string out;
  for (const std::string& line : lines_of(text)) {
    out += format("%-9s", out.empty() ? name : "") + line + "\n";
  }
  return out;
}

std::string step_text(size_t k, const StepView& step, bool colour) {
  const std::string numbers = format("%4zu", k) + cell(step.value, 8, false) +
                              cell(step.gain, 9, true) + cell(step.advantage, 11, true) +
                              format("%8lld", static_cast<long long>(step.tokens)) + "  ";
  const std::string on = colour && step.value ? colour_of(*step.value) : "";
  std::string out;
  for (const std::string& line : lines_of(step.text)) {
    out += (out.empty() ? numbers : std::string(numbers.size(), ' ')) + on + line;
    out += on.empty() ? "\n" : kPlain + std::string("\n");
  }
  return out;
}

nlohmann::ordered_json json_of(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

std::optional<double> number_of(const nlohmann::json& value) {
  return value.is_null() ? std::nullopt : std::optional<double>(value.get<double>());
}

std::string text_of(const nlohmann::json& value) {
  return value.is_null() ? std::string() : value.get<std::string>();
}

}  // namespace

RolloutView make_view(const TracedRollout& traced, std::span<const double> advantages,
                      bool rewarded, const Tokenizer& tokenizer) {
  const Rollout& rollout = traced.rollout;
  RolloutView view;
  view.prompt = tokenizer.decode(rollout.prompt.tokens, true);
  view.answer = rollout.prompt.gold;
  view.sample = rollout.sample;
  view.group_samples = rollout.group_samples;
  const bool verified =
      !rollout.failure.failed() || rollout.failure.failure_class == FailureClass::kProbe;
  if (rewarded && verified) view.reward = static_cast<double>(traced.reward);
  view.finish = rollout.finish;
  view.tokens = static_cast<int64_t>(rollout.tokens.size());
  view.probe_tokens = traced.probe_tokens;
  view.failure = rollout.failure.message;

  const size_t count = traced.step_ends.size();
  const auto value = [&](size_t k) -> std::optional<double> {
    if (k == count) return view.reward;
    if (traced.values.size() != count) return std::nullopt;
    return static_cast<double>(traced.values[k]);
  };
  if (count > 0) view.start_value = value(0);
  const std::span<const int32_t> tokens = rollout.tokens;
  int32_t begin = 0;
  for (size_t k = 1; k <= count; ++k) {
    const int32_t end = traced.step_ends[k - 1];
    const auto part = tokens.subspan(begin, end - begin);
    StepView step;
    step.text = k == count ? response_text(part, tokenizer) : tokenizer.decode(part, false);
    step.tokens = end - begin;
    step.value = value(k);
    if (step.value && value(k - 1)) step.gain = *step.value - *value(k - 1);
    if (advantages.size() == count) step.advantage = advantages[k - 1];
    view.steps.push_back(std::move(step));
    begin = end;
  }
  return view;
}

std::string view_text(const RolloutView& view, bool colour) {
  std::string out;
  if (!view.set.empty()) out += field("set", view.set + ", prompt " + view.id);
  out += field("prompt", view.prompt);
  out += field("answer", view.answer.empty() ? "(none)" : view.answer);
  out += field("rollout",
               format("%u in a group of %u, ", view.sample, view.group_samples) +
                   (view.reward ? format("reward %g", *view.reward) : "no reward") +
                   format(", ended by %s, %lld tokens in %zu steps, V_0 ", finish_name(view.finish),
                          static_cast<long long>(view.tokens), view.steps.size()) +
                   cell(view.start_value, 0, false));
  if (!view.failure.empty()) out += field("failure", view.failure);
  if (view.steps.empty()) return out;
  out += "\n   k     V_k     gain  advantage  tokens  step\n";
  for (size_t k = 0; k < view.steps.size(); ++k) out += step_text(k + 1, view.steps[k], colour);
  return out;
}

std::string view_json(const RolloutView& view) {
  auto steps = nlohmann::ordered_json::array();
  for (const StepView& step : view.steps) {
    steps.push_back({{"text", step.text},
                     {"tokens", step.tokens},
                     {"value", json_of(step.value)},
                     {"gain", json_of(step.gain)},
                     {"advantage", json_of(step.advantage)}});
  }
  nlohmann::ordered_json line;
  if (!view.set.empty()) line = {{"set", view.set}, {"id", view.id}};
  line.update({{"prompt", view.prompt},
               {"answer", view.answer},
               {"sample", view.sample},
               {"group_samples", view.group_samples},
               {"reward", json_of(view.reward)},
               {"finish", finish_name(view.finish)},
               {"tokens", view.tokens},
               {"probe_tokens", view.probe_tokens},
               {"start_value", json_of(view.start_value)},
               {"steps", std::move(steps)},
               {"failure", view.failure}});
  if (view.failure.empty()) line["failure"] = nullptr;
  if (view.answer.empty()) line["answer"] = nullptr;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<RolloutView> view_of_json(const std::string& line) {
  try {
    const auto o = nlohmann::json::parse(line);
    RolloutView view;
    view.set = o.at("set");
    view.id = o.at("id");
    view.prompt = o.at("prompt");
    view.answer = text_of(o.at("answer"));
    view.sample = o.at("sample");
    view.group_samples = o.at("group_samples");
    view.reward = number_of(o.at("reward"));
    view.start_value = number_of(o.at("start_value"));
    view.tokens = o.at("tokens");
    view.probe_tokens = o.at("probe_tokens");
    view.failure = text_of(o.at("failure"));
    const std::string finish = o.at("finish");
    const auto* known = std::ranges::find_if(
        kFinishNames, [&](const auto& entry) { return finish == entry.first; });
    if (known == std::end(kFinishNames)) return bad_input("no response ends by '" + finish + "'");
    view.finish = known->second;
    for (const auto& s : o.at("steps")) {
      view.steps.push_back({s.at("text"), s.at("tokens"), number_of(s.at("value")),
                            number_of(s.at("gain")), number_of(s.at("advantage"))});
    }
    return view;
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception.out_of_range.403] key 'steps' not found"
    const std::string what = error.what();
    const size_t end = what.find("] ");
    return bad_input("no rollout of an evaluation: " +
                     (end == std::string::npos ? what : what.substr(end + 2)));
  }
}

}  // namespace tracewise
