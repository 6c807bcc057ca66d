#include "launch/rollouts_file.hpp"

#include <map>

#include "messages/check.hpp"
#include "messages/failure_name.hpp"
#include "model/file_io.hpp"
#include "model/tokenizer.hpp"
#include "rollout/data/rows.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {
namespace {

using json = RowJson;

constexpr const char* kFormat = "tracewise rollouts 1";

// Text of a model may be cut inside of a character.
std::string dumped(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The view and what only programs ask for.
std::string line_of(const std::string& set, const TracedRollout& traced,
                    std::span<const double> advantages, const Tokenizer& tokenizer) {
  RolloutView view = make_view(traced, advantages, true, tokenizer);
  view.set = set;
  view.id = traced.rollout.prompt.id;
  std::string line = view_json(view);
  const Failure& failure = traced.rollout.failure;
  std::string more =
      dumped({{"failure_class",
               failure.failed() ? json(failure_name(failure.failure_class)) : json(nullptr)},
              {"reward_shaping", traced.shaping},
              {"response", response_text(traced.rollout.tokens, tokenizer)},
              {"token_ids", traced.rollout.tokens}});
  line.back() = ',';
  return line + more.substr(1) + "\n";
}

}  // namespace

Result<void> save_rollouts(const std::filesystem::path& file, const EvalResult& result,
                           std::span<const TracedRollout> rollouts,
                           std::span<const std::vector<double>> advantages,
                           const Tokenizer& tokenizer) {
  TW_CHECK(advantages.empty() || advantages.size() == rollouts.size(),
           "advantages of other rollouts");
  std::map<uint64_t, std::string> names;  // by the sets' first groups
  for (const SetResult& set : result.sets) names[first_eval_group(set.name)] = set.name;
  std::string text = dumped({{"format", kFormat},
                             {"rollouts", rollouts.size()},
                             {"step", result.step},
                             {"weights_version", result.version}}) +
                     "\n";
  for (size_t i = 0; i < rollouts.size(); ++i) {
    const auto next = names.upper_bound(rollouts[i].rollout.key.group);
    TW_CHECK(next != names.begin(), "a rollout of no set");
    const auto steps = advantages.empty() ? std::span<const double>() : advantages[i];
    text += line_of(std::prev(next)->second, rollouts[i], steps, tokenizer);
  }
  return write_file(file, text);
}

Result<std::vector<RolloutView>> load_rollouts(const std::filesystem::path& file) {
  std::vector<RolloutView> rollouts;
  json head;
  TW_TRY(for_each_row(file, [&](const Row& row) -> Result<void> {
    if (row.number == 1) {
      head = row.object;
      if (head.value("format", json()) == json(kFormat)) return {};
      return row.wrong("this is no file of rollouts: its first line does not say \"format\": \"" +
                       std::string(kFormat) + "\"");
    }
    auto view = view_of_json(dumped(row.object));
    if (!view.ok()) return row.wrong(view.error().message);
    rollouts.push_back(std::move(view).value());
    return {};
  }));
  const json told = head.value("rollouts", json());
  if (told == json(rollouts.size())) return rollouts;
  return bad_input(file.string() + ":1: tells of " + told.dump() + " rollouts, and there are " +
                   std::to_string(rollouts.size()) + "; the file was cut");
}

}  // namespace tracewise
