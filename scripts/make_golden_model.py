#!/usr/bin/env python3
"""Writes the golden files of tests/data/models and tests/data/tokenizer with transformers.

    python scripts/make_golden_model.py [OUT_DIR]        (needs torch, transformers, safetensors)

models/NAME holds what save_pretrained writes for a tiny decoder with random weights, norms and biases
included, and golden.json: {"tokens": [2][L] ids, "logits": [2][L][vocab], "prompt": ids, "greedy": the 64
tokens that follow it, generated one by one with a cache}, computed in fp32 also where the weights are stored
in half precision.
tokenizer/ holds what save_pretrained writes for the demo's 24 symbols, and golden.json: a list of
{"text", "ids" (bos first), "plain_ids", "decoded" (of ids), "skipped" (specials left out)}.
"""
import json
import pathlib
import sys

import tokenizers
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHAPE = dict(vocab_size=24, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=96, bos_token_id=1, eos_token_id=2, pad_token_id=0, torch_dtype="float32")
GROUPED = dict(num_key_value_heads=2, tie_word_embeddings=True, rope_theta=100.0)
MODELS = {
    # grouped-query attention, untied head
    "llama": transformers.LlamaConfig(**SHAPE, num_key_value_heads=2, rope_theta=100.0, rms_norm_eps=1e-5,
                                      tie_word_embeddings=False),
    "llama_tied": transformers.LlamaConfig(**SHAPE, num_key_value_heads=4, tie_word_embeddings=True),
    # biases on q, k and v
    "qwen2": transformers.Qwen2Config(**SHAPE, num_key_value_heads=2, rope_theta=1e6, tie_word_embeddings=True),
    # q and k norms; head_dim is not hidden_size / num_attention_heads
    "qwen3": transformers.Qwen3Config(**SHAPE, num_key_value_heads=1, head_dim=12, rope_theta=1e6,
                                      tie_word_embeddings=False),
    # every layer sees the last five tokens
    "mistral": transformers.MistralConfig(**SHAPE, **GROUPED, sliding_window=5),
    # only the second layer does
    "qwen2_window": transformers.Qwen2Config(**SHAPE, **GROUPED, use_sliding_window=True, sliding_window=5,
                                             max_window_layers=1),
    "llama_linear": transformers.LlamaConfig(**SHAPE, **GROUPED, rope_scaling={"rope_type": "linear", "factor": 2.5}),
    # generation goes on far beyond the original context
    "llama_dynamic": transformers.LlamaConfig(**{**SHAPE, "max_position_embeddings": 24}, **GROUPED,
                                              rope_scaling={"rope_type": "dynamic", "factor": 4.0}),
    # of the four frequencies one is kept, two are between, one is divided
    "llama3": transformers.LlamaConfig(**SHAPE, **GROUPED, rope_scaling={
        "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 60}),
    "qwen3_yarn": transformers.Qwen3Config(**{**SHAPE, "max_position_embeddings": 24}, **GROUPED, head_dim=16,
                                           rope_scaling={"rope_type": "yarn", "factor": 4.0,
                                                         "original_max_position_embeddings": 24}),
    "llama_yarn": transformers.LlamaConfig(**SHAPE, **GROUPED, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, "beta_fast": 4.0,
        "beta_slow": 0.5, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}),
    "llama_fp16": transformers.LlamaConfig(**SHAPE, **GROUPED),
    "llama_sharded": transformers.LlamaConfig(**SHAPE, **{**GROUPED, "tie_word_embeddings": False}),
}
STORED = {"llama_tied": torch.bfloat16, "llama_fp16": torch.float16}
SHARD = {"llama_sharded": "12KB"}
GREEDY = 64
TOKENS = [[1, 5, 9, 23, 2, 7, 7, 12, 19, 20, 3], [1, 13, 4, 4, 4, 17, 16, 11, 0, 18, 21]]

SYMBOLS = ["<pad>", "<bos>", "<eos>", "\n", *"0123456789", "+", "-", "*", "=", "ans ", "check ", " ok", " no", "wait", ","]
SPECIAL = SYMBOLS[:3]
TEXTS = ["", "3+8*2,4*7-1=\n", "3+8=1\ncheck 3+8=1 ok\n1*2=2\nwait\nans 27", "check 1-9=2 no\n", ",,==\n\n-*+"]


def randomise(model, seed):
    """Weights far enough from 0 that every term of the forward pass shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * 1.5 / parameter.shape[-1] ** 0.5)


def write_tokenizer(folder):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({s: i for i, s in enumerate(SYMBOLS)}, unk_token="<unk>"))
    inner.add_special_tokens(SPECIAL)
    spellable = sorted(SYMBOLS[3:], key=lambda s: -len(s))
    pattern = "|".join("".join("\\" + c if c in "\\^$.|?*+()[]{}-/&~#" else c for c in s) for s in spellable)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    inner.decoder = tokenizers.decoders.Fuse()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        clean_up_tokenization_spaces=False)
    tokenizer.save_pretrained(folder)
    golden = []
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"] + [2]
        golden.append({"text": text, "ids": ids, "plain_ids": tokenizer(text, add_special_tokens=False)["input_ids"],
                       "decoded": tokenizer.decode(ids), "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def greedy(model, prompt):
    """The GREEDY tokens after a prompt, and the least margin of a choice over the next best."""
    tokens, cache, margin = [], transformers.DynamicCache(config=model.config), float("inf")
    step = torch.tensor([prompt])
    for _ in range(GREEDY):
        with torch.no_grad():
            best = model(step, past_key_values=cache, use_cache=True).logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
        step = best.indices[None, :1]
    return tokens, margin


def main():
    data = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data"
    write_tokenizer(data / "tokenizer")
    out = data / "models"
    for seed, (name, config) in enumerate(MODELS.items()):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        randomise(model, seed)
        folder = out / name
        model.to(STORED.get(name, torch.float32)).save_pretrained(folder, max_shard_size=SHARD.get(name, "5GB"))
        # Read again, because half precision also rounded the rotary frequencies, which are not stored.
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor(TOKENS)).logits
        rounded = [[[round(x, 6) for x in row] for row in sequence] for sequence in logits.tolist()]
        following, margin = greedy(model, TOKENS[0])
        (folder / "golden.json").write_text(
            json.dumps({"tokens": TOKENS, "logits": rounded, "prompt": TOKENS[0], "greedy": following},
                       separators=(",", ":")) + "\n")
        print(f"{folder}: {sum(p.numel() for p in model.parameters())} weights, logits in [{logits.min():.2f}, "
              f"{logits.max():.2f}], {len(set(following))} different tokens, chosen by at least {margin:.4f}")


if __name__ == "__main__":
    main()
