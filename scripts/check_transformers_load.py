#!/usr/bin/env python3
"""Loads model folders that tracewise saved with transformers and compares what both compute.

    python scripts/check_transformers_load.py DIR... [--score FILE.jsonl]     (needs torch, transformers)

DIR/golden.json, where there is one, holds {"tokens": [N][L], "logits": [N][L][vocab]}; DIR/texts.json holds
[{"text", "ids" (bos first)}]. FILE.jsonl holds lines {"tokens": [L], "logprobs": [L]} as `tracewise score`
prints them for the one DIR: log p of each token after those before it; the first has none and counts as 0.
Differences above 1e-4, other ids or other text end with exit code 1. To try it on the golden models:

    TRACEWISE_SAVE_DIR=/tmp/saved build/release/tests/model/tests_model_io "[save]"
    python scripts/check_transformers_load.py /tmp/saved/*
"""
import argparse
import json
import pathlib
import sys

import torch
import transformers

TOLERANCE = 1e-4


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


def check_folder(folder, score):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    wrong = [f"{key}: {value}" for key, value in report.items() if value]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    checked = []
    if (folder / "golden.json").exists():
        checked.append(("logits", check_logits(model, json.loads((folder / "golden.json").read_text()))))
    for line in score:
        checked.append(("logprobs", check_score(model, json.loads(line))))
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
    args = parser.parse_args()
    score = args.score.read_text().splitlines() if args.score else []
    results = [check_folder(folder, score) for folder in args.folders]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
