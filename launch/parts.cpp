#include "launch/parts.hpp"

#include "launch/device_pool.hpp"
#include "launch/rollouts_file.hpp"
#include "learner/rank_group.hpp"
#include "model/adapter.hpp"
#include "model/adapter_folder.hpp"
#include "model/device.hpp"
#include "model/merge_adapter.hpp"
#include "rollout/engine.hpp"

namespace tracewise {

void cast_model(ModelFolder& model, ModelDtype dtype) {
  if (dtype == ModelDtype::kStored) return;
  const std::string name = dtype == ModelDtype::kFloat32 ? "F32" : "BF16";
  model.weights = cast_weights(model.config, model.weights, name);
  model.config.dtype = name;
}

Result<ModelFolder> load_model(const std::filesystem::path& dir, ModelDtype dtype) {
  TW_ASSIGN(ModelFolder model, load_model_folder(dir));
  cast_model(model, dtype);
  return model;
}

namespace {

// Without the adapter of config.lora.
Result<ModelFolder> load_base(const Config& config) {
  if (config.launch.model_dir.empty())
    return bad_input("model.dir is not set; it names the Hugging Face folder to start from");
  return load_model(config.launch.model_dir, config.launch.model_dtype);
}

}  // namespace

Result<void> merge_adapter_folder(ModelFolder& model, const std::filesystem::path& dir) {
  TW_ASSIGN(const WeightsPtr adapter, load_adapter(dir, model.weights, model.config));
  model.weights = merge_adapter(model.config, *adapter);
  return {};
}

Result<ModelFolder> load_model(const Config& config) {
  TW_ASSIGN(ModelFolder model, load_base(config));
  if (!config.lora.adapter_dir.empty())
    TW_TRY(merge_adapter_folder(model, config.lora.adapter_dir));
  return model;
}

Result<ModelFolder> load_start_model(const Config& config) {
  TW_ASSIGN(ModelFolder model, load_base(config));
  if (!config.lora.on()) return model;
  TW_ASSIGN(model.config.adapter, adapter_config(config.lora));
  if (config.lora.adapter_dir.empty()) {
    model.weights = initial_adapter(model.config, model.weights, config.seed);
  } else {
    TW_ASSIGN(model.weights, load_adapter(config.lora.adapter_dir, model.weights, model.config));
  }
  return model;
}

EngineOptions engine_options(const Config& config, const ModelConfig& model) {
  EngineOptions options = config.engine;
  if (options.stop_tokens.empty()) options.stop_tokens = model.eos_tokens;
  return options;
}

TracerOptions tracer_options(const Config& config, const ModelConfig& model) {
  TracerOptions options{config.steps, config.verifier,   config.reward_terms,
                        config.probe, model.max_context, {}};
  options.worth_probing = [group = config.group](std::span<const TracedRollout> rollouts) {
    return carries_signal(rollouts, group);
  };
  return options;
}

namespace {

// What the parts of a run would refuse when they are made: by then there is a run folder.
Result<void> check_seats(const Config& config, const ModelFolder& model) {
  TW_TRY(check_training(config));
  TW_TRY(check_engine_options(engine_options(config, model.config), true));
  TW_TRY(Tracer::make(tracer_options(config, model.config), *model.tokenizer));
  return {};
}

// A checkpoint of an adapter holds it as PEFT stores it.
void add_adapter_files(RunParts& parts, const std::shared_ptr<const ModelFolder>& model,
                       const std::string& base) {
  parts.weights_folder = "adapter";
  parts.save_model = [model, base](const std::filesystem::path& dir, const Weights& weights) {
    return save_adapter(dir, model->config, weights, base);
  };
  parts.load_model = [model](const std::filesystem::path& dir) -> Result<WeightsPtr> {
    ModelConfig stored = model->config;
    TW_ASSIGN(WeightsPtr adapter, load_adapter(dir, model->weights->base(), stored));
    if (stored.adapter == model->config.adapter) return adapter;
    return bad_input(dir.string() + " holds another adapter than the run's config describes");
  };
}

}  // namespace

Result<RunParts> seat_parts(std::shared_ptr<const Config> config,
                            std::shared_ptr<const ModelFolder> model, const SeatOptions& seats) {
  TW_TRY(check_seats(*config, *model));
  std::vector<std::string> devices = seats.devices;
  if (devices.empty()) devices.push_back(config->engine.device);
  for (const std::string& device : devices) TW_TRY(check_device(device));
  EngineOptions options = engine_options(*config, model->config);
  if (seats.threads > 0) options.threads = static_cast<int>(seats.threads);
  RunParts parts;
  // Shared by the engines' threads.
  const auto pool = std::make_shared<DevicePool>(std::move(devices));
  parts.make_engine = [options, model, pool](uint32_t) {
    return pool->make([&](const std::string& device) {
      EngineOptions placed = options;
      placed.device = device;
      return make_engine(placed, model->config, model->weights, model->tokenizer.get());
    });
  };
  parts.make_tracer = [config, model] {
    return Tracer::make(tracer_options(*config, model->config), *model->tokenizer);
  };
  TrainerOptions trainer = config->trainer;
  if (!seats.rank_device.empty()) {
    TW_TRY(check_device(seats.rank_device));
    trainer.device = seats.rank_device;
  }
  parts.make_rank_trainer =
      [trainer, model](
          RankGroupOptions ranks, std::shared_ptr<RankStore> store,
          const std::function<void(RunParts::EndRanks)>& met) -> Result<std::unique_ptr<Trainer>> {
    ranks.device = trainer.device;
    TW_ASSIGN(const auto group, RankGroup::connect(ranks, std::move(store)));
    met([group] { group->abort(); });
    return make_trainer(trainer, model->config, model->weights, group);
  };
  parts.group_options = config->group;
  return parts;
}

Result<RunParts> run_parts(std::shared_ptr<const Config> config,
                           std::shared_ptr<const ModelFolder> model, RunData data) {
  TW_TRY(check_device(config->trainer.device));
  TW_ASSIGN(RunParts parts, seat_parts(config, model, {}));
  parts.prompts = std::move(data.train.prompts);
  for (EvalData& eval : data.eval) parts.eval_sets.push_back(std::move(eval.set));
  parts.save_outputs = [model](const std::filesystem::path& file, const EvalResult& result,
                               std::span<const TracedRollout> rollouts) {
    return save_rollouts(file, result, rollouts, {}, *model->tokenizer);
  };
  parts.make_trainer = [config, model] {
    return make_trainer(config->trainer, model->config, model->weights);
  };
  const SaveOptions save{model->files, config->launch.max_shard_bytes};
  if (model->config.adapter.rank > 0) {
    add_adapter_files(parts, model, config->launch.model_dir);
    return parts;
  }
  parts.save_model = [model, save](const std::filesystem::path& dir, const Weights& weights) {
    return save_model_folder(dir, model->config, *model->tokenizer, weights, save);
  };
  parts.load_model = [model](const std::filesystem::path& dir) -> Result<WeightsPtr> {
    TW_ASSIGN(const ModelFolder stored, load_model_weights(dir));
    return stored.weights;
  };
  return parts;
}

}  // namespace tracewise
