#!/usr/bin/env python3
"""Compares `tracewise tokenize` with the tokenizers package, both ways; scripts/check_tokenizers runs it.

    check_tokenizers.py BINARY FOLDER [--count N] [--only NAME...]

FOLDER has a tokenizer of each family (tokenizer_families.py). For each, N strings are encoded by both, and what came out
and as many sequences of random ids are decoded by both, with and without special tokens. Prints the first differences
and exits with 1 if there is one.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402

EMOJI = ["👩‍👩‍👧‍👦", "🇩🇪", "🇺🇳🇫🇷", "👍🏽", "❤️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "👨🏿‍🚀", "1️⃣", "☎️", "🫠", "🧑🏻‍🤝‍🧑🏾"]
BLANKS = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\x0b", "\x85",
          "\u1680", "\u180e", "\ufeff", " " * 17, "\n" * 9, " \n \n", "\t\t\t"]
WORDS = ["I'm", "we'LL", "don't", "he'S", "the", "def", "return", "größer", "Größe", "naïve", "e\u0301te\u0301", "привет",
         "你好世界", "こんにちは", "カタカナ", "안녕하세요", "مرحبا", "नमस्ते", "สวัสดี", "ﬁne", "½", "㎏", "Ünï", "word", "İstanbul", "ǅ"]
CODE = ["for (int i = 0; i < n; ++i) { x[i] += 2; }\n", "def f(a, *b):\n    return a**2  # comment\n", "<div class=\"a\">&nbsp;</div>",
        "SELECT * FROM t WHERE a >= 1.5e-7;", "\\frac{1}{2} + \\sqrt{x_1^2}", "{\"a\": [1, 2, {\"b\": null}]}", "#include <map>\n\n\n"]


def strings(count, specials, vocabulary, seed):
    """Every character of Unicode at least once; then mixtures."""
    rng = random.Random(seed)
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    assigned = [c for c in points if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    out = ["", " ", "\n", "a", " a", "a ", "a" * 3000, " " * 3000, "ab" * 2000, "\n" * 500, "中" * 1500]
    out += ["".join(map(chr, points[i:i + 48])) for i in range(0, len(points), 48)]
    out += [f"a{chr(c)}b {chr(c)}1{chr(c)}" for c in rng.sample(assigned, min(len(assigned), count // 5))]

    def part():
        kind = rng.randrange(12)
        if kind == 0:
            block = rng.choice(assigned) & ~0x7F
            return "".join(chr(c) for c in (block + rng.randrange(128) for _ in range(rng.randint(1, 9)))
                           if not 0xD800 <= c < 0xE000)
        if kind == 1:
            return "".join(rng.choice(EMOJI) for _ in range(rng.randint(1, 3)))
        if kind == 2:
            return "".join(rng.choice(BLANKS) for _ in range(rng.randint(1, 3)))
        if kind == 3:
            return rng.choice(CODE)
        if kind == 4:
            return rng.choice(["", "-", "+", "$"]) + str(rng.randrange(10 ** rng.randint(1, 18))) + rng.choice(["", ".5", "%", "th"])
        if kind == 5:
            return rng.randbytes(rng.randint(1, 12)).decode("utf-8", errors="replace")
        if kind == 6:  # tokens side by side that the merges would not have put there
            return "".join(rng.choice(vocabulary) for _ in range(rng.randint(1, 6)))
        if kind == 7:
            return rng.choice(BLANKS + [""]) + rng.choice(specials) + rng.choice(BLANKS + [""])
        if kind == 8:
            special = rng.choice(specials)
            return special[:rng.randint(1, len(special))]
        if kind == 9:
            return "".join(rng.choice("abcdeAB '.,-_#▁Ġ<>|") for _ in range(rng.randint(1, 20)))
        return rng.choice(WORDS) + rng.choice([" ", "", ", ", ". ", "-"])

    while len(out) < count:
        out.append("".join(part() for _ in range(rng.randint(1, 8))))
    return out


def ours(binary, folder, key, rows, *flags):
    with tempfile.TemporaryFile() as lines:
        lines.write("".join(json.dumps({key: row}) + "\n" for row in rows).encode())
        lines.seek(0)
        run = subprocess.run([binary, "tokenize", "--model", folder, *flags], stdin=lines, capture_output=True)
    if run.returncode != 0:
        sys.exit(f"{folder}: {run.stderr.decode()}")
    answer = "text" if key == "tokens" else "tokens"
    return [json.loads(line)[answer] for line in run.stdout.decode().split("\n")[:-1]]


def compare(what, inputs, theirs, mine):
    if len(mine) != len(inputs):
        print(f"  {what}: {len(mine)} answers to {len(inputs)} lines")
        return 1
    differ = [i for i in range(len(inputs)) if theirs[i] != mine[i]]
    for i in differ[:5]:
        print(f"  {what} differs on {ascii(inputs[i])[:300]}\n    theirs {ascii(theirs[i])[:300]}\n    ours   {ascii(mine[i])[:300]}")
    return len(differ)


def check(binary, folder, count):
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    seed = folder.name
    specials = sorted(t.content for t in theirs.get_added_tokens_decoder().values())
    size = 1 + max(theirs.get_vocab().values())
    rng = random.Random(seed)
    tokens = [theirs.decode([i], skip_special_tokens=False) for i in rng.sample(range(size), min(size, 3000))]
    texts = strings(count, specials, tokens, seed)
    differences = 0
    encoded = [e.ids for e in theirs.encode_batch(texts)]
    differences += compare("encode", texts, encoded, ours(binary, folder, "text", texts))
    plain = [e.ids for e in theirs.encode_batch(texts[-count // 10:], add_special_tokens=False)]
    differences += compare("encode --no-special", texts[-count // 10:], plain,
                           ours(binary, folder, "text", texts[-count // 10:], "--no-special"))
    bytes_ = [i for i in range(size) if (theirs.id_to_token(i) or "").startswith("<0x")]
    some = [[rng.choice(bytes_) if bytes_ and rng.random() < 0.4 else rng.randrange(size) for _ in range(rng.randint(1, 12))]
            for _ in range(count)]
    for skip, ids in ((False, encoded), (False, some), (True, some[:count // 5])):
        flags = ["--decode", "--no-special"] if skip else ["--decode"]
        decoded = theirs.decode_batch(ids, skip_special_tokens=skip)
        differences += compare(" ".join(flags), ids, decoded, ours(binary, folder, "tokens", ids, *flags))
    print(f"{folder.name}: {len(texts)} strings, {len(encoded) + len(some)} sequences of ids, {differences} differences", flush=True)
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    names = args.only or sorted(p.name for p in args.folder.iterdir() if (p / "tokenizer.json").is_file())
    with concurrent.futures.ProcessPoolExecutor(min(len(os.sched_getaffinity(0)), 4)) as pool:
        runs = [pool.submit(check, args.binary, args.folder / name, args.count) for name in names]
        sys.exit(1 if sum(run.result() for run in runs) else 0)


main()
