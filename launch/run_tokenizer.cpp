#include "launch/run_tokenizer.hpp"

#include "launch/config.hpp"

namespace tracewise {

Result<std::unique_ptr<Tokenizer>> tokenizer_of(const std::filesystem::path& run) {
  TW_ASSIGN(const Config config, load_config({{run / "config.toml"}, {}}));
  const std::filesystem::path start = config.launch.model_dir;
  auto tokenizer = load_tokenizer(start / "tokenizer.json");
  std::error_code none;
  for (std::filesystem::directory_iterator it(run / "checkpoints", none), end;
       !tokenizer.ok() && !none && it != end; it.increment(none)) {
    auto copy = load_tokenizer(it->path() / "model/tokenizer.json");
    if (copy.ok()) return copy;
  }
  return tokenizer;
}

}  // namespace tracewise
