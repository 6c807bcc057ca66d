#include "launch/rollouts_file.hpp"

#include <map>

#include "model/file_io.hpp"
#include "model/tokenizer.hpp"
#include "rollout/data/rows.hpp"

namespace tracewise {
namespace {

using json = RowJson;

constexpr const char* kFormat = "tracewise rollouts 1";

// Text of a model may be cut inside of a character.
std::string dumped(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string line_of(const std::string& set, const TracedRollout& traced,
                    const Tokenizer& tokenizer) {
  std::string head = dumped({{"set", set},
                             {"id", traced.rollout.prompt.id},
                             {"token_ids", traced.rollout.tokens},
                             {"reward_shaping", traced.shaping}});
  head.back() = ',';
  return head + view_json(make_view(traced, {}, true, tokenizer)).substr(1) + "\n";
}

Result<StoredRollout> stored_of(const Row& row) {
  TW_ASSIGN(std::string set, row.text("set"));
  TW_ASSIGN(std::string id, row.text("id"));
  auto view = view_of_json(dumped(row.object));
  if (!view.ok()) return row.wrong(view.error().message);
  return StoredRollout{std::move(set), std::move(id), std::move(view).value()};
}

}  // namespace

Result<void> save_rollouts(const std::filesystem::path& file, const EvalResult& result,
                           std::span<const TracedRollout> rollouts, const Tokenizer& tokenizer) {
  std::map<uint64_t, std::string> names;  // by the sets' first groups
  for (const SetResult& set : result.sets) names[first_eval_group(set.name)] = set.name;
  std::string text = dumped({{"format", kFormat},
                             {"rollouts", rollouts.size()},
                             {"step", result.step},
                             {"weights_version", result.version}}) +
                     "\n";
  for (const TracedRollout& traced : rollouts) {
    const auto next = names.upper_bound(traced.rollout.key.group);
    TW_CHECK(next != names.begin(), "a rollout of no set");
    text += line_of(std::prev(next)->second, traced, tokenizer);
  }
  return write_file(file, text);
}

Result<std::vector<StoredRollout>> load_rollouts(const std::filesystem::path& file) {
  std::vector<StoredRollout> rollouts;
  json head;
  TW_TRY(for_each_row(file, [&](const Row& row) -> Result<void> {
    if (row.number == 1) {
      head = row.object;
      if (head.value("format", json()) == json(kFormat)) return {};
      return row.wrong("this is no file of rollouts: its first line does not say \"format\": \"" +
                       std::string(kFormat) + "\"");
    }
    TW_ASSIGN(StoredRollout stored, stored_of(row));
    rollouts.push_back(std::move(stored));
    return {};
  }));
  const json told = head.value("rollouts", json());
  if (told == json(rollouts.size())) return rollouts;
  return bad_input(file.string() + ":1: tells of " + told.dump() + " rollouts, and there are " +
                   std::to_string(rollouts.size()) + "; the file was cut");
}

}  // namespace tracewise
