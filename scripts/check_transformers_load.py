#!/usr/bin/env python3
"""Loads model folders that tracewise saved with transformers and compares.

    scripts/check_transformers_load.py DIR... [--original DIR] [--score FILE.jsonl]

Without torch: the config that transformers reads and the tensors' names, types, shapes and bytes must be those of
the folder of the same name in --original, which transformers wrote itself. With torch: the
models compute DIR/golden.json's {"tokens": [N][L], "logits": [N][L][vocab]} to 1e-4, and the lines {"tokens": [L],
"logprobs": [L]} of FILE.jsonl as `tracewise score` prints them for the one DIR (log p of each token after those
before it; the first has none and counts as 0). Both: DIR/texts.json holds [{"text", "ids" (bos first)}].
Differences end with exit code 1. scripts/check_transformers runs it on the golden models.
"""
import argparse
import json
import pathlib
import sys

import safetensors
import transformers

try:
    import torch
except ImportError:
    torch = None

TOLERANCE = 1e-4


def tensors(folder):
    index = folder / "model.safetensors.index.json"
    files = json.loads(index.read_text())["weight_map"] if index.exists() else {"": "model.safetensors"}
    return {name: (tensor["dtype"], tensor["shape"], bytes(tensor["data"])) for file in set(files.values())
            for name, tensor in safetensors.deserialize((folder / file).read_bytes())
            if not index.exists() or files[name] == file}


def settings(config):
    every = config.to_dict()
    if every.get("head_dim") is None:  # Qwen2's has none and means this
        every["head_dim"] = config.hidden_size // config.num_attention_heads
    return {key: value for key, value in every.items() if key not in ("_name_or_path", "transformers_version")}


def check_files(folder, original):
    """What differs between two folders for transformers."""
    wrong = []
    ours, theirs = (settings(transformers.AutoConfig.from_pretrained(f)) for f in (folder, original))
    wrong += [f"config {key}: {ours.get(key)!r}, not {theirs.get(key)!r}"
              for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    ours, theirs = tensors(folder), tensors(original)
    wrong += [f"tensor {name} differs" for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    print(f"{folder}: config and {len(ours)} tensors: " + ("; ".join(wrong) or "as transformers wrote them"))
    return not wrong


def check_logits(model, golden):
    with torch.no_grad():
        ours = torch.tensor(golden["logits"])
        return (model(torch.tensor(golden["tokens"])).logits - ours).abs().max().item()


def check_score(model, line):
    tokens = torch.tensor(line["tokens"])
    with torch.no_grad():
        logprobs = model(tokens[None]).logits[0].log_softmax(-1)
    theirs = logprobs[:-1].gather(1, tokens[1:, None])[:, 0]
    ours = torch.tensor(line["logprobs"])[-len(theirs):]
    return (theirs - ours).abs().max().item()


def check_text(tokenizer, row):
    ids = tokenizer(row["text"])["input_ids"]
    return ids == row["ids"] and tokenizer.decode(ids, skip_special_tokens=True) == row["text"]


def check_model(folder, score):
    """What transformers says of the loading, and (name, difference) of all that is to be equal."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    checked = []
    if (folder / "golden.json").exists():
        checked.append(("logits", check_logits(model, json.loads((folder / "golden.json").read_text()))))
    for line in score:
        checked.append(("logprobs", check_score(model, json.loads(line))))
    return [f"{key}: {value}" for key, value in report.items() if value], checked


def check_folder(folder, score):
    wrong, checked = check_model(folder, score) if torch else ([], [])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    wrong += [f"{what} differ by {difference:.2e}" for what, difference in checked if not difference <= TOLERANCE]
    rows = json.loads((folder / "texts.json").read_text()) if (folder / "texts.json").exists() else []
    wrong += [f"text {row['text']!r} has other ids" for row in rows if not check_text(tokenizer, row)]
    largest = max((difference for _, difference in checked), default=0.0)
    print(f"{folder}: {len(checked)} comparisons, largest difference {largest:.1e}, {len(rows)} texts, "
          f"bos {tokenizer.bos_token} eos {tokenizer.eos_token} pad {tokenizer.pad_token}: "
          + ("; ".join(wrong) or "equal"))
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--score", type=pathlib.Path, help="what `tracewise score` printed for the folder")
    parser.add_argument("--original", type=pathlib.Path, help="folder of the folders that transformers wrote")
    args = parser.parse_args()
    if not torch and not args.original:
        parser.error("without torch, --original is needed")
    score = args.score.read_text().splitlines() if args.score else []
    results = [check_folder(folder, score) for folder in args.folders]
    if args.original:
        results += [check_files(folder, args.original / folder.name) for folder in args.folders]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
