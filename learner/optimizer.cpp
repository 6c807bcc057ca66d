#include "learner/optimizer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>

#include "learner/rank_agreement.hpp"
#include "model/safetensors.hpp"

namespace tracewise {
namespace {

// Elements that are updated at a time, so that no fp32 copy of a whole gradient exists.
constexpr int64_t kSlice = int64_t{1} << 22;

}  // namespace

double learning_rate(const OptimizerOptions& options, int64_t step, double progress) {
  const double warm =
      options.warmup_steps > 0
          ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps))
          : 1.0;
  const double p = std::clamp(progress, 0.0, 1.0);
  const double floor = options.final_lr_ratio;
  double factor = 1.0;
  if (options.schedule == LrSchedule::kLinear) factor = 1 - (1 - floor) * p;
  if (options.schedule == LrSchedule::kCosine)
    factor = floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * p));
  return options.lr * warm * factor;
}

Shard shard_of(int64_t elements, int rank, int size) {
  const int64_t part = elements / size;
  return {part * rank, rank + 1 == size ? elements - part * rank : part};
}

Optimizer::Optimizer(const OptimizerOptions& options, Decoder& decoder, RankGroup* ranks)
    : options_(options),
      decoder_(decoder),
      ranks_(ranks),
      shard_(ranks ? shard_of(decoder.flat().numel(), ranks->rank(), ranks->size())
                   : Shard{0, decoder.flat().numel()}) {
  weights_changed();
  mean_ = at::zeros_like(master_);
  square_ = at::zeros_like(master_);
}

void Optimizer::weights_changed() {
  // to() returns the same storage where the model is fp32 already.
  master_ = decoder_.flat().narrow(0, shard_.begin, shard_.count).to(at::kFloat);
}

bool Optimizer::own_master() const { return !master_.is_alias_of(decoder_.flat()); }

std::vector<Optimizer::State> Optimizer::states() const {
  std::vector<State> states = {{"adamw.mean", mean_}, {"adamw.square", square_}};
  if (own_master()) states.push_back({"master", master_});
  return states;
}

void Optimizer::zero_gradient() { decoder_.flat_gradient().zero_(); }

double Optimizer::gradient_norm() const {
  double squares = 0;
  const at::Tensor gradient = decoder_.flat_gradient();
  for (int64_t begin = 0; begin < gradient.numel(); begin += kSlice) {
    const at::Tensor slice = gradient.narrow(0, begin, std::min(kSlice, gradient.numel() - begin));
    const double norm = slice.to(at::kFloat).norm().item<double>();
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

Result<double> Optimizer::update(double progress, double gradient_norm) {
  c10::NoGradGuard no_gradient;
  const std::string of = "the parameters of " + next_update();
  const double lr = learning_rate(options_, steps_, progress);
  const double scale =
      options_.max_grad_norm > 0 ? options_.max_grad_norm / (gradient_norm + 1e-6) : 1;
  ++steps_;
  for (int64_t begin = 0; begin < shard_.count; begin += kSlice)
    update_slice(begin, std::min(kSlice, shard_.count - begin), lr, scale);
  TW_TRY(share_parameters(of));
  decoder_.flat_changed();
  return lr;
}

// Elements [begin, begin + count) of the shard.
void Optimizer::update_slice(int64_t begin, int64_t count, double lr, double scale) {
  const auto slice = [&](const at::Tensor& x) { return x.narrow(0, begin, count); };
  const auto mine = [&](const at::Tensor& x) { return x.narrow(0, shard_.begin + begin, count); };
  at::Tensor gradient = mine(decoder_.flat_gradient()).to(at::kFloat);
  if (scale < 1) gradient = gradient * scale;
  const at::Tensor step = at::full({}, static_cast<float>(steps_), master_.options());
  std::vector<at::Tensor> parameters = {slice(master_)}, means = {slice(mean_)},
                          squares = {slice(square_)};
  at::_fused_adamw_(parameters, {gradient}, means, squares, {}, {step}, lr, options_.beta1,
                    options_.beta2, options_.weight_decay, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
  if (own_master()) mine(decoder_.flat()).copy_(slice(master_));
}

// Every rank's shard to all. The all-gather takes equal parts; the last shard's rest goes alone.
Result<void> Optimizer::share_parameters(const std::string& of) {
  if (!ranks_) return {};
  const int64_t equal = elements() / ranks_->size() * ranks_->size();
  TW_TRY(ranks_->all_gather(decoder_.flat().narrow(0, 0, equal), of));
  if (equal == elements()) return {};
  return ranks_->broadcast(decoder_.flat().narrow(0, equal, elements() - equal), ranks_->size() - 1,
                           of);
}

// [elements] on the CPU at rank 0, undefined at the others.
Result<at::Tensor> Optimizer::gather(const at::Tensor& shard, const std::string& of) const {
  if (!ranks_) return shard.to(at::kCPU).contiguous();
  if (ranks_->rank() > 0) {
    TW_TRY(ranks_->send(shard, 0, of));
    return at::Tensor();
  }
  at::Tensor whole = at::empty({elements()}, at::kFloat);
  whole.narrow(0, shard_.begin, shard_.count).copy_(shard);
  for (int rank = 1; rank < ranks_->size(); ++rank) {
    const Shard theirs = shard_of(elements(), rank, ranks_->size());
    const at::Tensor received = at::empty({theirs.count}, shard.options());
    TW_TRY(ranks_->receive(received, rank, of));
    whole.narrow(0, theirs.begin, theirs.count).copy_(received);
  }
  return whole;
}

// `whole` [elements] is read at rank 0 alone.
Result<void> Optimizer::scatter(const at::Tensor& whole, at::Tensor shard, const std::string& of) {
  if (ranks_ && ranks_->rank() > 0) return ranks_->receive(shard, 0, of);
  shard.copy_(whole.narrow(0, shard_.begin, shard_.count));
  for (int rank = 1; ranks_ && rank < ranks_->size(); ++rank) {
    const Shard theirs = shard_of(elements(), rank, ranks_->size());
    const at::Tensor part = whole.narrow(0, theirs.begin, theirs.count).to(shard.device());
    TW_TRY(ranks_->send(part, rank, of));
  }
  return {};
}

Result<void> Optimizer::save(const std::filesystem::path& file) const {
  std::vector<at::Tensor> kept;  // alive while their bytes are viewed
  std::vector<TensorView> views;
  for (const State& state : states()) {
    TW_ASSIGN(const at::Tensor whole, gather(state.shard, std::string("saved ") + state.name));
    if (!whole.defined()) continue;
    kept.push_back(whole);
    views.push_back(
        {state.name,
         "F32",
         {whole.numel()},
         {static_cast<const std::byte*>(whole.data_ptr()), static_cast<size_t>(whole.nbytes())}});
  }
  if (ranks_ && ranks_->rank() > 0) return {};
  return write_safetensors(file, views, {{"steps", std::to_string(steps_)}});
}

namespace {

// An optimizer file whose tensors and step count are what this model needs.
struct StoredState {
  SafetensorsFile file;
  int64_t steps = 0;

  static Result<StoredState> open(const std::filesystem::path& path,
                                  const std::vector<std::string>& names, int64_t elements) {
    TW_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
    for (const std::string& name : names) {
      const TensorView* view = file.find(name);
      if (view == nullptr || view->dtype != "F32" ||
          view->bytes.size() != static_cast<size_t>(elements) * sizeof(float)) {
        return bad_input(path.string() + ": tensor '" + name + "' is missing or does not have " +
                         std::to_string(elements) + " F32 elements as this model needs");
      }
    }
    const auto steps = file.metadata().find("steps");
    if (steps == file.metadata().end())
      return bad_input(path.string() + ": no 'steps' in its metadata");
    int64_t taken = 0;
    const std::string& text = steps->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), taken);
    if (error != std::errc{} || end != text.data() + text.size() || taken < 0)
      return corrupt(path.string() + ": 'steps' in its metadata is '" + text + "', not a number");
    return StoredState{std::move(file), taken};
  }

  // The bytes may start at any address: copied through an aligned tensor.
  at::Tensor tensor(const std::string& name) const {
    const TensorView* view = file.find(name);
    at::Tensor values =
        at::empty({static_cast<int64_t>(view->bytes.size() / sizeof(float))}, at::kFloat);
    std::copy(view->bytes.begin(), view->bytes.end(), static_cast<std::byte*>(values.data_ptr()));
    return values;
  }
};

}  // namespace

Result<void> Optimizer::load(const std::filesystem::path& file) {
  std::optional<StoredState> stored;
  Result<void> read;
  if (!ranks_ || ranks_->rank() == 0) {
    std::vector<std::string> names;
    for (const State& state : states()) names.emplace_back(state.name);
    auto opened = StoredState::open(file, names, elements());
    if (opened.ok())
      stored = std::move(opened).value();
    else
      read = opened.error();
  }
  int64_t steps = stored ? stored->steps : 0;
  if (ranks_) {
    TW_TRY(agree(*ranks_, read, "the optimizer file"));
    const double mine = static_cast<double>(steps);
    TW_ASSIGN(const auto all, ranks_->all_gather_numbers({&mine, 1}, "restored steps"));
    steps = static_cast<int64_t>(all[0]);
  }
  TW_TRY(read);
  for (const State& state : states()) {
    const at::Tensor whole = stored ? stored->tensor(state.name) : at::Tensor();
    TW_TRY(scatter(whole, state.shard, std::string("restored ") + state.name));
  }
  steps_ = steps;
  return {};
}

}  // namespace tracewise
