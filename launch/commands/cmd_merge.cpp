// tracewise merge: an adapter and its base as one model folder.
#include <CLI/CLI.hpp>

#include "launch/commands/cli.hpp"
#include "launch/parts.hpp"

namespace tracewise {
namespace {

struct Options {
  std::string model_dir;
  std::string adapter_dir;
  std::string out_dir;
  std::string dtype = "stored";
  uint64_t max_shard_bytes = LaunchOptions{}.max_shard_bytes;
};

Result<void> run(const Options& options) {
  TW_TRY(check_model_target(options.out_dir));
  ModelDtype dtype = ModelDtype::kStored;
  if (options.dtype != "stored")
    dtype = options.dtype == "float32" ? ModelDtype::kFloat32 : ModelDtype::kBfloat16;
  TW_ASSIGN(ModelFolder model, load_model(options.model_dir, ModelDtype::kStored));
  // Adding comes before rounding, so that it is rounded once.
  if (dtype == ModelDtype::kFloat32) cast_model(model, dtype);
  TW_TRY(merge_adapter_folder(model, options.adapter_dir));
  cast_model(model, dtype);
  return save_model_folder(options.out_dir, model.config, *model.tokenizer, *model.weights,
                           {model.files, options.max_shard_bytes});
}

}  // namespace

int cmd_merge(const Args& args) {
  CLI::App app(
      "Adds an adapter in PEFT's format to the model that it was trained on and writes the sum as "
      "a "
      "Hugging Face folder of its own.",
      "tracewise merge");
  Options options;
  app.add_option("--model", options.model_dir, "Hugging Face folder of the base")
      ->required()
      ->type_name("DIR");
  app.add_option("--adapter", options.adapter_dir, "PEFT folder")->required()->type_name("DIR");
  app.add_option("--out", options.out_dir, "folder to write; a model's there is replaced")
      ->required()
      ->type_name("DIR");
  app.add_option("--dtype", options.dtype,
                 "write stored (the base's; default), float32 or bfloat16")
      ->check(CLI::IsMember({"stored", "float32", "bfloat16"}).description(""))
      ->type_name("DTYPE");
  app.add_option("--max-shard-bytes", options.max_shard_bytes,
                 "largest file of weights; more are written in shards")
      ->check(CLI::Range(uint64_t{1}, UINT64_MAX).description(""))
      ->type_name("N");
  if (const auto exit = parse_args(app, args)) return *exit;
  const auto result = run(options);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
