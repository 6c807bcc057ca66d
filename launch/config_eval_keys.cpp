// The rows of `eval`: when and on what a run is evaluated. See launch/config_keys.cpp.
#include <string>
#include <vector>

#include "launch/config_key.hpp"

namespace tracewise {
namespace {

#define AT(path) \
  [](Config & c) -> auto& { return c.path; }
#define OF(path) \
  [](EvalSetOptions & s) -> auto& { return s.path; }

const std::vector<KeyOf<EvalSetOptions>>& eval_set_keys() {
  using Set = EvalSetOptions;
  static const std::vector<KeyOf<Set>> keys = {
      text_key<Set>("name", OF(name), "Of letters, digits, '_', '.' and '-'."),
      path_key<Set>("path", OF(path), "As data.prompts."),
      integer_key<Set>("samples", OF(samples), at_least(0), "As eval.samples; 0: that."),
      integer_key<Set>("max_rows", OF(max_rows), at_least(0), "Drawn by run.seed; 0: all."),
      text_key<Set>("verifier", OF(verifier), "Kind for rows that name none.")};
  return keys;
}

}  // namespace

void add_eval_keys(std::vector<Key>& k) {
  k.push_back(flag_key("eval.at_start", AT(run.eval.at_start), "Evaluate before the first step."));
  k.push_back(flag_key("eval.at_end", AT(run.eval.at_end), "Evaluate after the last step."));
  k.push_back(integer_key("eval.every_steps", AT(run.eval.every_steps), at_least(0),
                          "Steps between evaluations; 0: none in between."));
  k.push_back(real_key("eval.every_seconds", AT(run.eval.every_seconds), at_least(0),
                       "Seconds of training time between evaluations; 0: none in between."));
  k.push_back(list_key("eval.at_seconds", AT(run.eval.at_seconds),
                       "a list of ascending real numbers of at least 0", at_least(0),
                       "Seconds of training time at which to evaluate too."));
  k.push_back(integer_key("eval.samples", AT(run.eval.samples), at_least(1),
                          "Rollouts of each evaluation prompt."));
  k.push_back(list_key("eval.pass_at", AT(run.eval.pass_at),
                       "a list of ascending integers of at least 1", at_least(1),
                       "The k of which pass@k is measured; empty: the fewest samples of a set."));
  k.push_back(tables_key("eval.sets", AT(eval_sets), eval_set_keys(),
                         "Evaluation sets beside data.eval_prompts or data.eval_rows, each with a "
                         "name, a path of prompts, and, where they differ, samples, max_rows and "
                         "verifier."));
  k.push_back(text_key("eval.best_set", AT(run.eval.best_set),
                       "The set whose accuracy chooses the best checkpoint; empty: the mean over "
                       "the sets."));
  k.push_back(integer_key("eval.save_outputs", AT(run.eval.save_outputs), at_least(0),
                          "Newest evaluations whose rollouts are kept in the run's folder, beside "
                          "those of the best; 0: none."));
}

#undef OF
#undef AT

}  // namespace tracewise
