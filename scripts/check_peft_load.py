#!/usr/bin/env python3
"""Compares adapters that tracewise saved with those that PEFT did.

    scripts/check_peft_load.py DIR... --original DIR --tracewise BINARY

Without torch: what adapter_config.json says and the tensors' names, types, shapes and bytes must be those of the
folder of the same name in --original. With torch and peft: PEFT loads DIR onto the base that the original names and
its logits, also after merge_and_unload(), must be those of the original's golden.json to 1e-4; `tracewise score`
with --adapter, and of what `tracewise merge` wrote, must give its log-probabilities to 1e-4.
Differences end with exit code 1. scripts/check_peft runs it on the golden adapters.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import safetensors

try:
    import peft
    import torch
    import transformers
except ImportError:
    torch = None

TOLERANCE = 1e-4
# Where a run differs from the golden files by right: what it trained on, and with which dropout.
ITS_OWN = ("base_model_name_or_path", "lora_dropout", "peft_version")


def tensors(folder):
    return {name: (tensor["dtype"], tensor["shape"], bytes(tensor["data"]))
            for name, tensor in safetensors.deserialize((folder / "adapter_model.safetensors").read_bytes())}


def settings(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    return {key: set(value) if key == "target_modules" else value for key, value in config.items() if key not in ITS_OWN}


def check_files(folder, original):
    ours, theirs = settings(folder), settings(original)
    wrong = [f"config {key}: {value!r}, not {theirs.get(key)!r}" for key, value in ours.items() if value != theirs.get(key)]
    ours, theirs = tensors(folder), tensors(original)
    return wrong + [f"tensor {name} differs" for name in sorted(ours.keys() | theirs.keys())
                    if ours.get(name) != theirs.get(name)]


def score(binary, tokens, *options):
    """[N][L - 1] log-probabilities as the command prints them."""
    lines = "".join(json.dumps({"tokens": sequence}) + "\n" for sequence in tokens)
    done = subprocess.run([binary, "score", *map(str, options)], input=lines, capture_output=True, text=True, check=True)
    return torch.tensor([json.loads(line)["logprobs"] for line in done.stdout.splitlines()])


def check_numbers(folder, original, binary):
    golden = json.loads((original / "golden.json").read_text())
    base = original / json.loads((original / "adapter_config.json").read_text())["base_model_name_or_path"]
    tokens = torch.tensor(golden["tokens"])
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, folder).eval()
    found = {}
    with torch.no_grad():
        logits = model(tokens).logits
        found["PEFT's logits"] = logits - torch.tensor(golden["logits"])
        found["PEFT's merged logits"] = model.merge_and_unload()(tokens).logits - logits
    theirs = logits.log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None])[:, :, 0]
    found["score --adapter"] = score(binary, golden["tokens"], "--model", base, "--adapter", folder) - theirs
    with tempfile.TemporaryDirectory() as temp:
        # A folder that is merged has a tokenizer, which the golden models share.
        whole, merged = pathlib.Path(temp) / "base", pathlib.Path(temp) / "merged"
        shutil.copytree(base, whole)
        shutil.copy(original.parent.parent / "tokenizer/tokenizer.json", whole)
        subprocess.run([binary, "merge", "--model", whole, "--adapter", folder, "--out", merged], check=True)
        found["score of merge"] = score(binary, golden["tokens"], "--model", merged) - theirs
        with torch.no_grad():
            again = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(tokens).logits
        found["transformers' logits of merge"] = again - logits
    return {name: difference.abs().max().item() for name, difference in found.items()}


def check_folder(folder, original, binary):
    wrong = check_files(folder, original)
    differences = check_numbers(folder, original, binary) if torch else {}
    wrong += [f"{name} differ by {difference:.2e}" for name, difference in differences.items() if not difference <= TOLERANCE]
    print(f"{folder.name}: files, and {len(differences)} comparisons, largest difference "
          f"{max(differences.values(), default=0.0):.1e}: " + ("; ".join(wrong) or "equal"))
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--original", required=True, type=pathlib.Path, help="folder of the folders that PEFT wrote")
    parser.add_argument("--tracewise", required=True, help="the binary")
    args = parser.parse_args()
    results = [check_folder(folder, args.original / folder.name, args.tracewise) for folder in args.folders]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
