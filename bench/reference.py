#!/usr/bin/env python3
"""The other side of the benchmarks: transformers and PyTorch on the same model and data.

    reference.py decode MODEL PROMPTS.jsonl BATCH NEW_TOKENS THREADS    tokens/s of generate()
    reference.py train  MODEL CORPUS.jsonl ROLLOUTS THREADS             tokens/s of a padded training step

Prints one number: the best of several repetitions after a warm-up. Padding counts as work, not as tokens.
"""
import json
import sys
import time

import torch
import transformers

transformers.logging.set_verbosity_error()


def rows(path):
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def best_speed(tokens, work, repetitions):
    work()
    best = 0.0
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        best = max(best, tokens / (time.perf_counter() - start))
    return best


def decode(folder, prompts, batch, new_tokens):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = tokenizer([row["prompt"] for row in rows(prompts)[:batch]], return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)

    def work():
        model.generate(**inputs, do_sample=True, temperature=1.0, top_k=0, min_new_tokens=new_tokens,
                       max_new_tokens=new_tokens, pad_token_id=0)

    with torch.inference_mode():
        return best_speed(batch * new_tokens, work, 2)


def train(folder, corpus, rollouts):
    """One optimizer step of the clipped surrogate on padded micro-batches of 32, sorted by nothing, as TRL does it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    examples = []
    for row in rows(corpus)[:rollouts]:
        prompt = tokenizer(row["prompt"])["input_ids"]
        response = tokenizer(row["response"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        examples.append((prompt + response, len(prompt)))
    tokens = sum(len(ids) for ids, _ in examples)
    response_tokens = sum(len(ids) - prompt for ids, prompt in examples)
    torch.manual_seed(1)
    batches = []
    for begin in range(0, len(examples), 32):
        some = examples[begin:begin + 32]
        width = max(len(ids) for ids, _ in some)
        ids, mask, loss_mask = (torch.zeros(len(some), width, dtype=torch.long) for _ in range(3))
        for i, (sequence, prompt) in enumerate(some):
            ids[i, :len(sequence)] = torch.tensor(sequence)
            mask[i, :len(sequence)] = 1
            loss_mask[i, prompt:len(sequence)] = 1
        batches.append((ids, mask, loss_mask[:, 1:].float(), torch.randn(len(some), width - 1)))

    def work():
        optimizer.zero_grad()
        for ids, mask, loss_mask, advantages in batches:
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            logprobs = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0]
            ratio = torch.exp(logprobs - (-3.178))
            objective = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
            (-(objective * loss_mask).sum() / response_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return best_speed(tokens, work, 3)


def main():
    kind, folder, data = sys.argv[1:4]
    numbers = [int(word) for word in sys.argv[4:]]
    torch.set_num_threads(numbers[-1])
    print(decode(folder, data, *numbers[:-1]) if kind == "decode" else train(folder, data, *numbers[:-1]))


if __name__ == "__main__":
    main()
