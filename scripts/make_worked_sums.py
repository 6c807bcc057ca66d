#!/usr/bin/env python3
"""Worked answers to the questions of reasoning-gym's chain_sum, for tracewise sft.

    scripts/make_worked_sums.py PROMPTS.jsonl --out FILE.jsonl

PROMPTS is what scripts/make_reasoning_gym chain_sum writes. A row of FILE is {"prompt", "response"}. A response adds the
terms one by one, a line each. Behind a line there may be one that checks it by going back; a wrong line happens only
where a check follows, finds it, and a right one comes after it. The answer at the end is always right:

    12 + 45 = 58
    check: 58 - 45 = 13, not 12
    12 + 45 = 57
    57 - 3 = 54
    Answer:
    54
"""
import argparse
import json
import os
import pathlib
import random
import re
import sys

CHECKED = 0.5  # of the lines have a check behind them
SLIPS = 0.2    # of those are wrong at first


def fail(message):
    print(f"make_worked_sums: {message}", file=sys.stderr)
    sys.exit(2)


def parse():
    parser = argparse.ArgumentParser(prog="make_worked_sums.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="of the checks and the slips (1)")
    return parser.parse_args()


def sum_line(left, sign, term, result):
    return f"{left} {sign} {term} = {result}"


def check_line(left, sign, term, result):
    """Goes back from the result: what has to come out is the left side again."""
    back = result - term if sign == "+" else result + term
    line = f"check: {result} {'-' if sign == '+' else '+'} {term} = {back}"
    return line if back == left else f"{line}, not {left}"


def worked(expression, draw):
    first, *rest = re.findall(r"[+-]|\d+", expression)
    total = int(first)
    lines = []
    for sign, term in zip(rest[::2], map(int, rest[1::2])):
        result = total + term if sign == "+" else total - term
        checked = draw.random() < CHECKED
        if checked and draw.random() < SLIPS:
            wrong = result + draw.choice([-10, -2, -1, 1, 2, 10])
            lines += [sum_line(total, sign, term, wrong), check_line(total, sign, term, wrong)]
        lines.append(sum_line(total, sign, term, result))
        if checked:
            lines.append(check_line(total, sign, term, result))
        total = result
    return "\n".join([*lines, "Answer:", str(total)]), str(total)


def example(line, place, draw):
    try:
        row = json.loads(line)
        expression = row["metadata"]["expression"]
        prompt, answer = row["prompt"], row["answer"]
    except (json.JSONDecodeError, KeyError, TypeError):
        fail(f"{place} is no row of chain_sum: it needs prompt, answer and metadata.expression")
    if not re.fullmatch(r"\d+( [+-] \d+)+", expression):
        fail(f"{place}: {expression!r} is no chain of sums")
    response, result = worked(expression, draw)
    if result != answer:
        fail(f"{place}: {expression} is {result}, but the row's answer is {answer}")
    return {"prompt": prompt + "\n", "response": response}


def main():
    args = parse()
    draw = random.Random(args.seed)
    try:
        lines = args.prompts.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        fail(f"{args.prompts}: {error.strerror}")
    rows = [example(line, f"{args.prompts}:{number}", draw) for number, line in enumerate(lines, 1)]
    beside = args.out.with_name(args.out.name + ".part")
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(beside, args.out)
    print(f"{len(rows)} worked answers in {args.out}")


if __name__ == "__main__":
    main()
