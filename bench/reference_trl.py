#!/usr/bin/env python3
"""The other side of the GRPO step's benchmark: TRL's GRPOTrainer.

    reference_trl.py MODEL PROMPTS.jsonl GROUPS GROUP_SIZE NEW_TOKENS STEPS THREADS DTYPE autocast|plain

Prints samples/s, the median of all steps but the first, and the most memory that it took, in bytes.
"""
import json
import resource
import statistics
import sys
import tempfile
import time

import torch
import transformers
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


class StepTimes(transformers.TrainerCallback):
    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *args, **kwargs):
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        self.seconds.append(time.perf_counter() - self.start)


def reward(completions, **kwargs):
    return [len(completion) % 7 / 7 for completion in completions]


def main():
    folder, prompts = sys.argv[1:3]
    groups, group_size, new_tokens, steps, threads = (int(word) for word in sys.argv[3:8])
    dtype, precision = sys.argv[8:10]
    torch.set_num_threads(threads)
    with open(prompts) as lines:
        rows = [{"prompt": json.loads(line)["prompt"]} for line in lines]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    times = StepTimes()
    with tempfile.TemporaryDirectory() as out:
        # One group is a pass of the trainer; all groups of a step are generated together.
        config = GRPOConfig(output_dir=out, use_cpu=True, bf16=precision == "autocast", max_steps=steps,
                            per_device_train_batch_size=group_size, gradient_accumulation_steps=groups,
                            num_generations=group_size, max_completion_length=new_tokens,
                            generation_kwargs={"min_new_tokens": new_tokens}, beta=0.0, learning_rate=1e-6,
                            model_init_kwargs={"dtype": dtype}, gradient_checkpointing=False, seed=1,
                            save_strategy="no", report_to=[], disable_tqdm=True)
        GRPOTrainer(model=folder, args=config, reward_funcs=reward, train_dataset=Dataset.from_list(rows),
                    processing_class=tokenizer, callbacks=[times]).train()
    speed = groups * group_size / statistics.median(times.seconds[1:])
    print(speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
