#!/usr/bin/env python3
"""Writes the golden files of tests/data/adapters with PEFT.

    python scripts/make_golden_adapters.py [OUT_DIR]        (needs torch, transformers, peft: make_venv kind peft)

OUT_DIR/NAME holds what save_pretrained writes for an adapter with random A and B over the golden model that its
adapter_config.json names, golden.json: {"tokens": [2][L] ids, "logits": [2][L][vocab], "loss": the mean over all
tokens of -log p of each after those before it}, and gradients.safetensors: those of the loss, by A's and B's names.
"""
import json
import pathlib
import sys

import peft
import safetensors.torch
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENS = [[1, 5, 9, 23, 2, 7, 7, 12, 19, 20, 3], [1, 13, 4, 4, 4, 17, 16, 11, 0, 18, 21]]
ADAPTERS = {
    "llama_all": ("llama", dict(r=3, lora_alpha=4.5, target_modules=ALL)),
    # biases on q, k and v; alpha / sqrt(r); a head that is the embedding
    "qwen2_some": ("qwen2", dict(r=4, lora_alpha=3, use_rslora=True, target_modules=["v_proj", "q_proj", "down_proj"])),
    # head_dim apart from the width
    "qwen3_attention": ("qwen3", dict(r=1, lora_alpha=1, lora_dropout=0.1, target_modules=ALL[:4])),
}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/adapters"
    for seed, (name, (base, options)) in enumerate(ADAPTERS.items()):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            ROOT / "tests/data/models" / base, dtype=torch.float32, attn_implementation="eager")
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        randomise(model, seed)
        model.peft_config["default"].base_model_name_or_path = "../../models/" + base
        folder = out / name
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        tokens = torch.tensor(TOKENS)
        logits = model(tokens).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        safetensors.torch.save_file({name.replace(".default", ""): parameter.grad
                                     for name, parameter in model.named_parameters() if parameter.grad is not None},
                                    folder / "gradients.safetensors")
        for file in folder.glob("*.safetensors"):
            file.chmod(0o644)
        with model.disable_adapter(), torch.no_grad():
            moved = (model(tokens).logits - logits).abs().max().item()
        rounded = [[[round(x, 6) for x in row] for row in sequence] for sequence in logits.tolist()]
        (folder / "golden.json").write_text(json.dumps({"tokens": TOKENS, "logits": rounded, "loss": loss.item()},
                                                       separators=(",", ":")) + "\n")
        print(f"{folder}: loss {loss.item():.4f}, logits up to {moved:.2f} from the base's")


if __name__ == "__main__":
    main()
