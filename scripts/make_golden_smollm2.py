#!/usr/bin/env python3
"""Writes tests/data/smollm2/golden.json with transformers: what SmolLM2-135M-Instruct answers, greedily, in fp32.

    scripts/get_smollm2 && python scripts/make_golden_smollm2.py [OUT_FILE]       (needs torch, transformers)

A list of {"text": the prompt as the chat template writes it, "tokens": its ids, "response": up to 48 ids, end
token included, "response_text": the same as text, "margin": by how much the least certain of them was chosen
over the next best, in nats}. Prompts with a margin below 1e-3 are left out: there rounding decides.
"""
import json
import pathlib
import sys

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = 48
PROMPTS = [
    "What is 17 + 25?", "Name the capital of France.", "Write a haiku about rain.", "Translate 'good morning' to Spanish.",
    "List three prime numbers.", "Why is the sky blue?", "What comes after Wednesday?", "Tell me a joke about cats.",
    "How many legs do two spiders have?", "Explain photosynthesis in one sentence.", "Who wrote Hamlet?",
    "Spell 'accommodate' backwards.", "Was ist die Hauptstadt von Österreich?", "请用一句话介绍北京。",
    "Write a Python function that adds two numbers.", "What is 12 * 12?", "Give me a synonym for 'happy'.",
    "Is 91 prime? Think step by step.", "Summarise: The cat sat on the mat. It was warm.", "🙂 What does this emoji mean?",
    "Finish the sentence: Once upon a time", "What is the boiling point of water in Celsius?",
    "Name two colours of the rainbow.", "Convert 3 km to metres.",
]


def answer(model, tokenizer, prompt):
    text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False,
                                         add_generation_prompt=True)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    response, cache, margin, step = [], transformers.DynamicCache(config=model.config), float("inf"), tokens
    while len(response) < TOKENS and (not response or response[-1] != tokenizer.eos_token_id):
        with torch.no_grad():
            logits = model(torch.tensor([step]), past_key_values=cache, use_cache=True).logits[0, -1]
        best = logits.topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        response.append(best.indices[0].item())
        step = response[-1:]
    return {"text": text, "tokens": tokens, "response": response, "response_text": tokenizer.decode(response),
            "margin": round(margin, 4)}


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/smollm2/golden.json"
    folder = ROOT / "build/smollm2"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    golden = [row for row in (answer(model, tokenizer, prompt) for prompt in PROMPTS) if row["margin"] >= 1e-3]
    for row in golden:
        print(f"{row['margin']:.4f} {row['response_text']!r}")
    print(f"{len(golden)} of {len(PROMPTS)} prompts")
    out.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in golden) + "\n]\n")


if __name__ == "__main__":
    main()
