#!/usr/bin/env python3
"""The other side of the benchmarks of a real model: transformers.

    reference_smollm2.py decode MODEL PROMPTS.jsonl BATCH NEW_TOKENS THREADS DTYPE   tokens/s of generate()
    reference_smollm2.py load   MODEL THREADS DTYPE                                  seconds of from_pretrained()

Prints one number, measured after a warm-up.
"""
import json
import sys
import time

import torch
import transformers

transformers.logging.set_verbosity_error()


def load(folder, dtype):
    start = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    transformers.AutoTokenizer.from_pretrained(folder)
    return model, time.perf_counter() - start


def decode(folder, prompts, batch, new_tokens, dtype):
    model, _ = load(folder, dtype)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    with open(prompts) as lines:
        texts = [json.loads(line)["prompt"] for line in lines][:batch]
    inputs = tokenizer(texts, return_tensors="pt", padding=batch > 1)
    inputs.pop("token_type_ids", None)

    def work(tokens):
        model.generate(**inputs, do_sample=True, temperature=1.0, top_k=0, min_new_tokens=tokens,
                       max_new_tokens=tokens, pad_token_id=0)

    with torch.inference_mode():
        work(min(new_tokens, 32))
        start = time.perf_counter()
        work(new_tokens)
        return batch * new_tokens / (time.perf_counter() - start)


def main():
    kind, folder = sys.argv[1:3]
    if kind == "load":
        torch.set_num_threads(int(sys.argv[3]))
        load(folder, sys.argv[4])
        print(load(folder, sys.argv[4])[1])
        return
    prompts, batch, new_tokens, threads, dtype = sys.argv[3:8]
    torch.set_num_threads(int(threads))
    print(decode(folder, prompts, int(batch), int(new_tokens), dtype))


if __name__ == "__main__":
    main()
