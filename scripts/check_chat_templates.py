"""Compares `tracewise tokenize --chat` with transformers' apply_chat_template; see scripts/check_chat_templates.

Every template comes as the chat_template.jinja of a copy of one model's folder, so that text and token ids can be
compared. A conversation that transformers' call refuses has to be refused.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from transformers import PreTrainedTokenizerFast  # noqa: E402  (reads the environment when it is imported)

FAMILIES = ("llama-2-chat", "llama-3-instruct", "llama-3.1-instruct", "llama-3.3-instruct", "code-llama-instruct",
            "mistral-instruct-v0.1", "mistral-instruct-v0.2", "mistral-instruct-v0.3", "mistral-nemo-instruct",
            "mistral-large-instruct", "qwen1.5-chat", "qwen2-instruct", "qwen2.5-instruct", "qwen2.5-coder-instruct",
            "qwen3", "Qwen3-Instruct", "Qwen3-Thinking", "deepseek-r1-distill-qwen", "deepseek-r1-distill-llama",
            "deepseek-v3")
# Tokens of the one model whose tokenizer all of them get: transformers would add others to its vocabulary.
SPECIAL = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>",
           "pad_token": "<|im_end|>"}


def turn(role, content):
    return {"role": role, "content": content}


def conversations():
    ask, more = turn("user", "What is 17 + 25?"), turn("user", "  And <b>twice</b> that?\n")
    answer = turn("assistant", "17 + 25 = 42.")
    thought = turn("assistant", "<think>\n17 + 25 is 42.\n</think>\n\nIt is 42.")
    system = turn("system", "Answer with a number, {{ nothing }} else.\n")
    return [
        [ask], [system, ask], [ask, answer, more], [system, ask, answer, more], [ask, thought, more],
        [ask, thought, more, thought], [turn("user", "é 漢字 👩‍🔬 \\n \"quoted\" 'single' & tab\t")],
        [turn("user", "")], [ask, answer], [system, system, ask], [answer, ask], [ask, ask], [system],
        [turn("tool", "42"), ask], [turn("user", [{"type": "text", "text": "in parts"}])],
    ]


def find_templates(folder):
    found = {}
    for file in pathlib.Path(folder).glob("*.json"):
        models = json.loads(file.read_text())
        for model in models if isinstance(models, list) else [models]:
            if model.get("model_name") in FAMILIES and model.get("chat_template"):
                found[model["model_name"]] = model["chat_template"]
    missing = [name for name in FAMILIES if name not in found]
    if missing:
        sys.exit(f"check_chat_templates: {folder} has no template of {', '.join(missing)}")
    return found


def ours(binary, model, options, lines):
    """The answers' objects, or None where the program refused."""
    words = [binary, "tokenize", "--model", model, "--chat", *options]
    done = subprocess.run(words, input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True)
    if done.returncode not in (0, 2):
        sys.exit(f"check_chat_templates: {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else None


def expected(tokenizer, messages, begin_answer, variables):
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=begin_answer, **variables)
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=begin_answer, **variables)
    except Exception:  # whatever a template raises
        return None
    return {"text": text, "tokens": list(ids)}


def check(binary, name, folder):
    """Number of compared conversations, and the differences in words."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    template = tokenizer.chat_template
    settings = [{}] + ([{"enable_thinking": False}, {"enable_thinking": True}] if "enable_thinking" in template else [])
    count, differences = 0, []
    for variables in settings:
        for begin_answer in (True, False):
            options = ["--variables", json.dumps(variables)] + ([] if begin_answer else ["--no-answer"])
            wanted = [expected(tokenizer, messages, begin_answer, variables) for messages in conversations()]
            good = [{"messages": m} for m, w in zip(conversations(), wanted) if w is not None]
            bad = [{"messages": m} for m, w in zip(conversations(), wanted) if w is None]
            found = ours(binary, folder, options, good) or []
            count += len(wanted)
            right = [w for w in wanted if w is not None]
            if len(found) != len(right):
                differences.append(f"{name} {options}: not all of {good} were answered")
            differences += [f"{name} {options}: {f} instead of {w}" for f, w in zip(found, right) if f != w]
            if begin_answer:
                differences += [f"{name}: {line} was not refused" for line in bad
                                if ours(binary, folder, options, [line]) is not None]
    return count, differences


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--binary", "--model", "--templates"):
        parser.add_argument(option, required=True)
    args = parser.parse_args()
    total, differences = check(args.binary, "smollm2", args.model)
    with tempfile.TemporaryDirectory() as scratch:
        for name, template in find_templates(args.templates).items():
            folder = pathlib.Path(scratch) / name
            folder.mkdir()
            shutil.copy(pathlib.Path(args.model) / "tokenizer.json", folder)
            (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}))
            (folder / "chat_template.jinja").write_text(template)
            count, found = check(args.binary, name, str(folder))
            total += count
            differences += found
    for difference in differences:
        print(difference)
    print(f"{total} conversations of {len(FAMILIES) + 1} chat templates, {len(differences)} differences")
    sys.exit(1 if differences or total < 300 else 0)


if __name__ == "__main__":
    main()
