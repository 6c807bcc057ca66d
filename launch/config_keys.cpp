// The table of keys. A new option gets one row here and nothing else: the row parses it, checks it,
// prints it and documents it; its default is the bound member's own.
#include <string>
#include <utility>
#include <vector>

#include "launch/config_key.hpp"

namespace tracewise {
namespace {

using Keys = std::vector<Key>;

// The member of Config that a key is bound to.
#define AT(path) \
  [](Config & c) -> auto& { return c.path; }

template <class At>
Key device_key(std::string name, At at, std::string meaning) {
  Key key = text_key(std::move(name), at, std::move(meaning), "cpu or cuda:N");
  key.set = [set = std::move(key.set)](Config& c, const Value& v) {
    const auto* device = std::get_if<std::string>(&v);
    return device != nullptr && is_device_name(*device) && set(c, v);
  };
  return key;
}

void add_run_keys(Keys& k) {
  k.push_back(path_key("run.dir", AT(launch.run_dir), "Run folder; empty: runs/ and the time."));
  k.push_back(integer_key("run.seed", AT(seed), at_least(0),
                          "Seed of everything random: prompt order, sampling, batch splits."));
  k.push_back(integer_key("run.generators", AT(run.generators), at_least(1),
                          "Generators, each with an engine of its own; in_process alone."));
  k.push_back(
      integer_key("run.tracers", AT(run.tracers), at_least(1), "Tracers; in_process alone."));
  k.push_back(integer_key("run.builders", AT(run.builders), at_least(1),
                          "Preference builders; in_process alone."));
  k.push_back(integer_key("run.groups_per_batch", AT(run.groups_per_batch), at_least(1),
                          "Prompt groups of one training batch."));
  k.push_back(integer_key("run.max_refilled_groups", AT(run.max_refilled_groups), between(0, 1e6),
                          "Groups without a signal that a batch may leave out, each for a new "
                          "prompt's (DAPO's dynamic sampling); 0: they keep their places, empty."));
  k.push_back(integer_key("run.group_size", AT(run.group_size), at_least(1),
                          "Rollouts sampled for each prompt of a batch (G)."));
  k.push_back(integer_key("run.max_staleness", AT(run.max_staleness),
                          between(0, static_cast<double>(kMaxStaleness)),
                          "Weights versions that a sampled token may be behind the learner; 0 is "
                          "synchronous and bit-reproducible."));
  k.push_back(
      integer_key("run.steps", AT(run.steps), at_least(0), "Training batches; 0: no limit."));
  k.push_back(real_key("run.budget_seconds", AT(run.budget_seconds), at_least(0),
                       "Training time in seconds (sampling, probing, updates); 0: no limit. The "
                       "learning rate then depends on the machine's speed."));
  k.push_back(flag_key("run.shuffle", AT(run.shuffle), "Shuffle the prompts of each epoch."));
  k.push_back(integer_key("run.max_attempts", AT(run.max_attempts), at_least(1),
                          "Times a failed group is issued before it counts as empty."));
  k.push_back(integer_key(
      "run.restarts", AT(run.restarts), at_least(0),
      "Generators, tracers and builders that may die and be replaced over the whole run."));
  k.push_back(integer_key("run.window_samples", AT(run.window_samples), at_least(1),
                          "Rollouts that a generator may owe at a time."));
  k.push_back(integer_key("run.window_rollouts", AT(run.window_rollouts), at_least(1),
                          "Rollouts on their way to a tracer, or from it to a builder."));
  k.push_back(integer_key("run.log_rollouts", AT(run.log_rollouts), at_least(0),
                          "Rollouts of each step and evaluation kept in run.db."));
  k.push_back(real_key("run.progress_seconds", AT(run.progress_seconds), at_least(0),
                       "Seconds between two progress lines; 0: none."));
}

void add_deadline_keys(Keys& k) {
  k.push_back(integer_key("deadlines.start_ms", AT(run.deadlines.start_ms), at_least(1),
                          "Milliseconds for an actor to build its model."));
  k.push_back(integer_key("deadlines.group_ms", AT(run.deadlines.group_ms), at_least(1),
                          "Milliseconds for a group, from its generator to its sample group."));
  k.push_back(integer_key("deadlines.probe_ms", AT(run.deadlines.probe_ms), at_least(1),
                          "Milliseconds for a rollout's values; then the rollout has failed."));
  k.push_back(integer_key("deadlines.train_ms", AT(run.deadlines.train_ms), at_least(1),
                          "Milliseconds for a whole batch, until its commit."));
  k.push_back(integer_key("deadlines.collective_ms", AT(run.deadlines.collective_ms), at_least(1),
                          "Milliseconds for a collective of the learner's ranks, and for their "
                          "meeting."));
  k.push_back(integer_key("deadlines.weights_ms", AT(run.deadlines.weights_ms), at_least(1),
                          "Milliseconds for a generator to acknowledge a weights version."));
  k.push_back(integer_key("deadlines.checkpoint_ms", AT(run.deadlines.checkpoint_ms), at_least(1),
                          "Milliseconds for a checkpoint to be on disk."));
  k.push_back(integer_key("deadlines.stop_ms", AT(run.deadlines.stop_ms), at_least(1),
                          "Milliseconds for the checkpoint of a stop that was asked for."));
  k.push_back(integer_key("deadlines.exit_ms", AT(run.deadlines.exit_ms), at_least(1),
                          "Milliseconds for all actors to be gone."));
}

void add_model_keys(Keys& k) {
  k.push_back(path_key("model.dir", AT(launch.model_dir),
                       "Hugging Face folder of the model that training starts from."));
  k.push_back(
      choice_key("model.dtype", AT(launch.model_dtype),
                 {{"stored", ModelDtype::kStored},
                  {"float32", ModelDtype::kFloat32},
                  {"bfloat16", ModelDtype::kBfloat16}},
                 "What the model computes in; stored: as its folder has it (float16 and mixed "
                 "dtypes as float32)."));
  k.push_back(integer_key("model.max_shard_bytes", AT(launch.max_shard_bytes), at_least(1),
                          "Largest file of a saved model's weights; more are saved in shards."));
}

void add_tracing_keys(Keys& k) {
  k.push_back(list_key("steps.delimiters", AT(steps.delimiters), "a list of texts", {},
                       "A step ends with one of these texts."));
  k.push_back(list_key("steps.restart_words", AT(steps.restart_words), "a list of texts", {},
                       "A step shorter than min_step_tokens joins the one before it where the next "
                       "starts with one of these words."));
  k.push_back(list_key("steps.final_markers", AT(steps.final_markers), "a list of texts", {},
                       "The last occurrence of one of these opens the final answer, which is not "
                       "cut."));
  k.push_back(integer_key("steps.min_step_tokens", AT(steps.min_step_tokens), at_least(1),
                          "Shorter steps join a neighbour."));
  k.push_back(integer_key("steps.max_steps", AT(steps.max_steps), at_least(0),
                          "Steps of a response; above it the shortest neighbours join; 0: no "
                          "limit."));
  add_reward_keys(k);
  k.push_back(choice_key("probe.mode", AT(probe.mode),
                         {{"none", ProbeMode::kNone},
                          {"likelihood", ProbeMode::kLikelihood},
                          {"answer", ProbeMode::kAnswer},
                          {"verbal", ProbeMode::kVerbal}},
                         "How a state's value is probed: likelihood of the gold answer, share of "
                         "right answers sampled, confidence that the model states."));
  k.push_back(text_key("probe.text", AT(probe.probe_text),
                       "Appended to every state before the answer is asked for; empty in mode "
                       "answer: the reasoning goes on."));
  k.push_back(integer_key("probe.continuations", AT(probe.continuations), at_least(1),
                          "Answers sampled at a state, for modes answer and verbal."));
}

void add_sft_keys(Keys& k) {
  k.push_back(path_key("sft.data", AT(sft.data.path), "Examples, JSON lines."));
  k.push_back(text_key("sft.prompt_column", AT(sft.data.prompt_column), "Column of the prompt."));
  k.push_back(
      text_key("sft.response_column", AT(sft.data.response_column), "Column of the response."));
  k.push_back(path_key("sft.out", AT(sft.out_dir), "Hugging Face folder that is written."));
  k.push_back(integer_key("sft.steps", AT(sft.steps), at_least(1), "Optimizer steps."));
  k.push_back(
      integer_key("sft.batch_size", AT(sft.batch_size), at_least(1), "Examples of a step."));
  k.push_back(integer_key("sft.max_tokens", AT(sft.data.max_tokens), at_least(0),
                          "Tokens above which an example is an error; 0: no limit."));
  k.push_back(text_key("sft.answer_prefix", AT(sft.answer_prefix),
                       "Text whose last occurrence in a response opens its answer, for "
                       "answer_weight; empty: no answer is set apart."));
  k.push_back(real_key("sft.answer_weight", AT(sft.answer_weight), at_least(0),
                       "Weight of the answer's tokens in the loss; the others weigh 1."));
}

template <class At>
void add_sampling_keys(Keys& k, const std::string& group, At at) {
  const auto row = [&](auto make, const char* name, auto field, auto... rest) {
    k.push_back(make(
        group + name, [ at, field ](Config & c) -> auto& { return at(c).*field; }, rest...));
  };
  const auto real = [](auto... a) { return real_key(std::move(a)...); };
  const auto integer = [](auto... a) { return integer_key(std::move(a)...); };
  using S = SamplingParams;
  row(real, ".temperature", &S::temperature, at_least(0), "Temperature; 0 is greedy.");
  row(integer, ".top_k", &S::top_k, at_least(0), "Likeliest tokens kept; 0 keeps all.");
  row(real, ".top_p", &S::top_p, Range{.low = 0, .high = 1, .low_open = true},
      "The smallest set of tokens with at least this probability is kept.");
  row(real, ".min_p", &S::min_p, Range{.low = 0, .high = 1, .high_open = true},
      "Tokens below this share of the likeliest one's probability are dropped.");
  row(integer, ".max_new_tokens", &S::max_new_tokens, at_least(1),
      "Tokens at which a response is cut off.");
}

void add_engine_keys(Keys& k) {
  k.push_back(integer_key("engine.block_tokens", AT(engine.block_tokens), at_least(16),
                          "Tokens of one block of the KV cache; a multiple of 16."));
  k.push_back(integer_key("engine.kv_blocks", AT(engine.kv_blocks), at_least(0),
                          "Blocks of the KV cache; 0: as many as max_sequences full contexts need, "
                          "within a quarter of the memory."));
  k.push_back(integer_key("engine.max_sequences", AT(engine.max_sequences), at_least(1),
                          "Sequences that decode side by side."));
  k.push_back(
      integer_key("engine.max_batch_tokens", AT(engine.max_batch_tokens), at_least(0),
                  "Tokens of one packed pass: decode, prefill chunks, probe tails; 0: 512 on "
                  "the CPU, 4096 on a GPU."));
  k.push_back(integer_key("engine.lease_ms", AT(engine.lease_ms), at_least(0),
                          "Milliseconds for which a finished rollout keeps its cache for probes."));
  k.push_back(choice_key("engine.on_new_weights", AT(engine.on_new_weights),
                         {{"keep_cache", OnNewWeights::kKeepCache},
                          {"recompute_cache", OnNewWeights::kRecomputeCache},
                          {"finish_first", OnNewWeights::kFinishFirst}},
                         "What new weights mean for the rollouts under way. keep_cache: they go on "
                         "at once, on the cache that older weights left; recompute_cache: their "
                         "cache is computed again first; finish_first: they end on the old "
                         "weights, and nothing is started meanwhile."));
  k.push_back(integer_key("engine.threads", AT(engine.threads), at_least(1),
                          "Compute threads of one generator."));
  k.push_back(device_key("engine.device", AT(engine.device), "Where generators compute."));
  k.push_back(list_key("engine.stop_tokens", AT(engine.stop_tokens), "a list of token ids",
                       at_least(0), "Tokens that end a response; empty: the model's own."));
  k.push_back(list_key("engine.stop_strings", AT(engine.stop_strings), "a list of texts", {},
                       "Texts whose last token ends a response."));
}

void add_advantage_keys(Keys& k) {
  k.push_back(choice_key("advantage.kind", AT(group.advantage.kind),
                         {{"step_group", AdvantageKind::kStepGroup},
                          {"plug_in", AdvantageKind::kPlugIn},
                          {"outcome", AdvantageKind::kOutcome}},
                         "step_group: step advantages in the group's standard deviations; plug_in: "
                         "base + beta * (step advantage - group mean); outcome: base alone."));
  k.push_back(choice_key("advantage.base", AT(group.advantage.base),
                         {{"grpo", OutcomeBase::kGrpo},
                          {"dr_grpo", OutcomeBase::kDrGrpo},
                          {"rloo", OutcomeBase::kRloo},
                          {"reinforce_pp", OutcomeBase::kReinforcePp},
                          {"reinforce_pp_baseline", OutcomeBase::kReinforcePpBaseline}},
                         "Outcome advantage that plug_in and outcome start from. reinforce_pp and "
                         "reinforce_pp_baseline are normalised over the batch, the latter after "
                         "the group's mean is taken away."));
  k.push_back(real_key("advantage.beta", AT(group.advantage.beta), at_least(0),
                       "Weight of the step part, for plug_in."));
  k.push_back(real_key("advantage.gamma", AT(group.advantage.gamma),
                       Range{.low = 0, .high = 1, .low_open = true},
                       "Discount of the value after a step."));
  k.push_back(real_key("advantage.lambda", AT(group.advantage.lambda), between(0, 1),
                       "Step GAE's lambda; 0: one-step gains, 1: outcome minus value."));
  k.push_back(flag_key("advantage.length_aware", AT(group.advantage.length_aware),
                       "Take a step's discount from its length instead of gamma: "
                       "max(gamma_min, 1 - length / length_ref * (1 - gamma_min))."));
  k.push_back(real_key("advantage.gamma_min", AT(group.advantage.gamma_min),
                       Range{.low = 0, .high = 1, .low_open = true},
                       "Discount of a step of length_ref tokens and above, if length_aware."));
  k.push_back(real_key("advantage.length_ref", AT(group.advantage.length_ref), above(0),
                       "Tokens of a step at which gamma_min is reached."));
  k.push_back(real_key("advantage.eps", AT(group.advantage.eps), above(0),
                       "Beside the standard deviation, for step_group."));
  k.push_back(flag_key("advantage.divide_by_std", AT(group.advantage.divide_by_std),
                       "Divide base grpo by the group's standard deviation; else by base_scale."));
  k.push_back(real_key("advantage.base_scale", AT(group.advantage.base_scale), above(0),
                       "What base grpo is divided by without divide_by_std, in units of reward."));
  k.push_back(real_key("advantage.length_penalty", AT(group.advantage.length_penalty),
                       between(0, 1),
                       "c: the base sees reward * (1 - c * min(1, tokens / length_penalty_ref)); "
                       "0: off."));
  k.push_back(real_key("advantage.length_penalty_ref", AT(group.advantage.length_penalty_ref),
                       above(0), "Response tokens at which the length penalty is full."));
  k.push_back(choice_key("advantage.uniform_groups", AT(group.uniform_groups),
                         {{"drop", UniformGroups::kDrop},
                          {"keep_solved", UniformGroups::kKeepSolved},
                          {"keep", UniformGroups::kKeep}},
                         "What becomes of groups whose rewards are all equal; keep_solved keeps "
                         "those in which all are right, in different words."));
  k.push_back(integer_key("advantage.min_good_rollouts", AT(group.min_good_rollouts), at_least(1),
                          "Rollouts without failure that a group needs; else it has failed."));
  k.push_back(flag_key("advantage.shuffle_values", AT(group.shuffle_values),
                       "Control: permute each rollout's values but the first."));
  k.push_back(real_key("preference.min_margin", AT(group.preference.min_margin), above(0),
                       "Least difference of value gains for a step preference pair."));
  k.push_back(integer_key("preference.max_pairs", AT(group.preference.max_pairs), at_least(0),
                          "Step preference pairs of a group, largest margins first; 0: none."));
}

void add_loss_keys(Keys& k) {
  k.push_back(
      choice_key("loss.aggregation", AT(trainer.loss.aggregation),
                 {{"token_mean", LossAggregation::kTokenMean},
                  {"sequence_mean", LossAggregation::kSequenceMean},
                  {"sequence_sum_norm", LossAggregation::kSequenceSumNorm}},
                 "token_mean: mean over all tokens (DAPO); sequence_mean: mean of rollouts' "
                 "means (GRPO); sequence_sum_norm: rollouts' sums over a constant (Dr.GRPO)."));
  k.push_back(
      choice_key("loss.ratio", AT(trainer.loss.ratio),
                 {{"token", LossRatio::kToken}, {"sequence", LossRatio::kSequence}},
                 "What has a probability ratio, to be clipped and capped: token: each "
                 "token; sequence: each rollout, the geometric mean of its tokens' (GSPO)."));
  k.push_back(real_key("loss.clip_low", AT(trainer.loss.clip_low), between(0, 1),
                       "The probability ratio is clipped below 1 - clip_low."));
  k.push_back(real_key("loss.clip_high", AT(trainer.loss.clip_high), at_least(0),
                       "The probability ratio is clipped above 1 + clip_high."));
  k.push_back(real_key("loss.kl_beta", AT(trainer.loss.kl_beta), at_least(0),
                       "Weight of the k3 KL to the starting weights; 0: no reference is kept."));
  k.push_back(real_key("loss.importance_cap", AT(trainer.loss.importance_cap), at_least(0),
                       "Truncation of the importance weight that each token, or each rollout "
                       "as loss.ratio says, has by its log-probability at sampling time, at "
                       "least 1; 0: off."));
  k.push_back(real_key("loss.step_dpo_weight", AT(trainer.loss.step_dpo_weight), at_least(0),
                       "Weight of the step-DPO loss on preference pairs."));
  k.push_back(real_key("loss.step_dpo_beta", AT(trainer.loss.step_dpo_beta), above(0),
                       "Step-DPO's inverse temperature."));
  k.push_back(integer_key("loss.max_response_tokens", AT(trainer.loss.max_response_tokens),
                          at_least(1), "The constant of sequence_sum_norm, in tokens."));
}

void add_optimizer_keys(Keys& k) {
  k.push_back(real_key("optimizer.lr", AT(trainer.optimizer.lr), above(0), "Learning rate."));
  k.push_back(real_key("optimizer.beta1", AT(trainer.optimizer.beta1),
                       Range{.low = 0, .high = 1, .high_open = true}, "AdamW's first decay."));
  k.push_back(real_key("optimizer.beta2", AT(trainer.optimizer.beta2),
                       Range{.low = 0, .high = 1, .high_open = true}, "AdamW's second decay."));
  k.push_back(real_key("optimizer.eps", AT(trainer.optimizer.eps), above(0), "AdamW's epsilon."));
  k.push_back(real_key("optimizer.weight_decay", AT(trainer.optimizer.weight_decay), at_least(0),
                       "Decoupled weight decay."));
  k.push_back(real_key("optimizer.max_grad_norm", AT(trainer.optimizer.max_grad_norm), at_least(0),
                       "Norm to which gradients are clipped; 0: no clipping."));
  k.push_back(integer_key("optimizer.warmup_steps", AT(trainer.optimizer.warmup_steps), at_least(0),
                          "Optimizer steps over which the learning rate rises linearly."));
  k.push_back(choice_key("optimizer.schedule", AT(trainer.optimizer.schedule),
                         {{"constant", LrSchedule::kConstant},
                          {"linear", LrSchedule::kLinear},
                          {"cosine", LrSchedule::kCosine}},
                         "How the learning rate falls over the run."));
  k.push_back(real_key("optimizer.final_lr_ratio", AT(trainer.optimizer.final_lr_ratio),
                       between(0, 1), "Share of lr left at the end, for linear and cosine."));
}

void add_trainer_keys(Keys& k) {
  k.push_back(integer_key("trainer.updates_per_batch", AT(trainer.updates_per_batch), at_least(1),
                          "Optimizer steps of a batch, over a random split of its rollouts."));
  k.push_back(integer_key("trainer.micro_batch_tokens", AT(trainer.micro_batch_tokens), at_least(1),
                          "Tokens of one forward and backward pass."));
  k.push_back(flag_key("trainer.activation_checkpointing", AT(trainer.activation_checkpointing),
                       "Backward passes compute each layer again instead of keeping what it "
                       "computed: less memory, a third more work."));
  k.push_back(integer_key("trainer.max_bad_steps", AT(trainer.max_bad_steps), at_least(1),
                          "Non-finite updates in a row after which the run stops."));
  k.push_back(real_key("trainer.logprob_gap_alarm", AT(trainer.logprob_gap_alarm), at_least(0),
                       "Nats by which log-probabilities of tokens that the learner's own "
                       "weights have sampled may differ from those at sampling time, on average "
                       "over a batch; above it the step warns in the log; 0: never."));
  k.push_back(integer_key("trainer.threads", AT(trainer.threads), at_least(1),
                          "Compute threads of the learner."));
  k.push_back(device_key("trainer.device", AT(trainer.device), "Where the learner computes."));
}

void add_checkpoint_keys(Keys& k) {
  k.push_back(integer_key("checkpoint.every_steps", AT(run.checkpoint.every_steps), at_least(0),
                          "Steps between checkpoints; 0: at the end, at a stop and the best."));
  k.push_back(integer_key("checkpoint.keep_last", AT(run.checkpoint.keep_last), at_least(1),
                          "Newest checkpoints that are kept."));
  k.push_back(flag_key("checkpoint.keep_best", AT(run.checkpoint.keep_best),
                       "Also keep the checkpoint with the best accuracy."));
}

#undef AT

Keys make_keys() {
  Keys keys;
  add_run_keys(keys);
  add_model_keys(keys);
  add_data_keys(keys);
  add_lora_keys(keys);
  add_sampling_keys(
      keys, "sampling", [](Config & c) -> auto& { return c.run.sampling; });
  add_engine_keys(keys);
  add_tracing_keys(keys);
  add_sampling_keys(
      keys, "probe", [](Config & c) -> auto& { return c.probe.sampling; });
  add_advantage_keys(keys);
  add_loss_keys(keys);
  add_optimizer_keys(keys);
  add_trainer_keys(keys);
  add_eval_keys(keys);
  add_sampling_keys(
      keys, "eval", [](Config & c) -> auto& { return c.run.eval.sampling; });
  add_checkpoint_keys(keys);
  add_sft_keys(keys);
  add_deadline_keys(keys);
  add_cluster_keys(keys);
  return keys;
}

}  // namespace

const std::vector<Key>& config_keys() {
  static const Keys keys = make_keys();
  return keys;
}

}  // namespace tracewise
