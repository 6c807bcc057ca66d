#!/usr/bin/env python3
"""The other side of the benchmarks of a real model: llama.cpp, on the same weights in bf16.

    reference_llama.py SOURCE.gguf MODEL.gguf PROMPTS.jsonl BATCH NEW_TOKENS THREADS    tokens/s

Makes MODEL.gguf, SOURCE.gguf's weights in bf16, where it is not there. Prints one number, measured after a warm-up:
BATCH sequences side by side, each token drawn by llama.cpp from the whole distribution, prompts included in the time.
"""
import ctypes
import json
import os
import sys
import time

import llama_cpp as llama


def make_bf16(source, model):
    if os.path.exists(model):
        return
    params = llama.llama_model_quantize_default_params()
    params.ftype = llama.LLAMA_FTYPE_MOSTLY_BF16
    params.allow_requantize = True
    params.pure = True
    if llama.llama_model_quantize(source.encode(), (model + ".part").encode(), params) != 0:
        sys.exit(f"reference_llama.py: cannot make {model}")
    os.replace(model + ".part", model)


def tokens_of(vocab, text):
    data = text.encode()
    room = (llama.llama_token * (len(data) + 8))()
    count = llama.llama_tokenize(vocab, data, len(data), room, len(room), False, True)
    return list(room[:count])


class Batch:
    """Tokens of one llama_decode()."""

    def __init__(self, room):
        self.c = llama.llama_batch_init(room, 0, 1)
        self.c.n_tokens = 0

    def add(self, token, position, sequence, wanted):
        i = self.c.n_tokens
        self.c.token[i] = token
        self.c.pos[i] = position
        self.c.n_seq_id[i] = 1
        self.c.seq_id[i][0] = sequence
        self.c.logits[i] = wanted
        self.c.n_tokens = i + 1
        return i


def generate(context, samplers, prompts, new_tokens):
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    batch = Batch(sum(map(len, prompts)) + len(prompts))
    rows = []
    for sequence, prompt in enumerate(prompts):
        for position, token in enumerate(prompt):
            row = batch.add(token, position, sequence, position + 1 == len(prompt))
        rows.append(row)
    for step in range(new_tokens):
        if llama.llama_decode(context, batch.c) != 0:
            sys.exit("reference_llama.py: llama_decode failed")
        tokens = [llama.llama_sampler_sample(samplers[s], context, row) for s, row in enumerate(rows)]
        batch.c.n_tokens = 0
        rows = [batch.add(token, len(prompts[s]) + step, s, True) for s, token in enumerate(tokens)]


def main():
    source, path, prompts = sys.argv[1:4]
    batch, new_tokens, threads = (int(word) for word in sys.argv[4:7])
    quiet = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    make_bf16(source, path)
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    vocab = llama.llama_model_get_vocab(model)
    with open(prompts) as lines:
        texts = [tokens_of(vocab, json.loads(line)["prompt"]) for line in lines][:batch]
    params = llama.llama_context_default_params()
    params.n_ctx = batch * (max(map(len, texts)) + new_tokens + 8)
    params.n_batch = params.n_ubatch = max(512, sum(map(len, texts)))
    params.n_seq_max = batch
    params.n_threads = params.n_threads_batch = threads
    context = llama.llama_init_from_model(model, params)
    samplers = []
    for seed in range(batch):
        samplers.append(llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params()))
        llama.llama_sampler_chain_add(samplers[-1], llama.llama_sampler_init_dist(seed))
    generate(context, samplers, texts, min(new_tokens, 16))
    start = time.perf_counter()
    generate(context, samplers, texts, new_tokens)
    print(batch * new_tokens / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
