#include "learner/batch_dump.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tracewise {
namespace {

Result<void> write_lines(const std::filesystem::path& file, const std::vector<std::string>& lines) {
  std::ofstream out(file);
  for (const std::string& line : lines) out << line << '\n';
  out.flush();
  if (!out) return io_error("cannot write " + file.string() + ": " + std::strerror(errno));
  return {};
}

}  // namespace

Result<void> dump(const std::filesystem::path& file, std::span<const SampleGroup> groups) {
  std::vector<std::string> lines;
  for (const SampleGroup& group : groups) {
    for (const AdvantageRollout& r : group.rollouts) {
      lines.push_back(nlohmann::json{
          {"group", group.key.group},
          {"sample", r.sample},
          {"prompt_tokens", r.prompt_tokens},
          {"tokens", r.tokens},
          {"logprobs", r.logprobs},
          {"advantages",
           r.advantages}}.dump());
    }
  }
  return write_lines(file, lines);
}

Result<void> dump(const std::filesystem::path& file, std::span<const SupervisedExample> examples) {
  std::vector<std::string> lines;
  for (const SupervisedExample& e : examples)
    lines.push_back(nlohmann::json{
        {"prompt_tokens", e.prompt_tokens}, {"tokens", e.tokens}, {"weights", e.weights}}
                        .dump());
  return write_lines(file, lines);
}

}  // namespace tracewise
