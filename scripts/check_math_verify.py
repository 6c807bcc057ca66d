#!/usr/bin/env python3
"""Compares `tracewise verify` (kind math) with math-verify and with what scripts/math_pairs.py and
scripts/math_responses.py expect. scripts/check_math_verify runs it.

Fails if one of our verdicts is not the expected one, if fewer than GOAL of them are math-verify's, if a
disagreement falls under no reason of REASONS, or if docs/rewards.md says something else.
"""
import argparse
import collections
import json
import logging
import pathlib
import re
import subprocess
import sys

import math_pairs
import math_responses
from math_verify import parse, verify

GOAL = 0.99
BEGIN, END = "<!-- begin: scripts/check_math_verify --write -->", "<!-- end -->"

# Why math-verify says something else: a pattern of gold and response, and the reason. The first that matches counts.
REASONS = [
    (r"\\times ?10", "it computes with rounded numbers and finds a difference"),
    (r"^33", "it does not bring the two percentages to one form"),
    (r"\\,\d{3}", "it reads a thin space between digits as a product"),
    (r"\d\.\d*(\\%|%)|^(?=.*%)(?=.*\d\.\d)", "it compares a percentage with the bare number only if both are whole"),
    (r"\\text\{ cm\}.*\\text\{ m\}", "it drops units before it compares"),
    (r"^3t", "it takes a letter behind a number for a unit"),
    (r"\\\{1,2\\\}", "it takes a pair for a set of two"),
    (r"^\((-?\d+),\\infty\) .*[<>]|^\[.*(\\le|<)|^\(.*,.*\).*[<>]", "it compares a gold interval with no inequality"),
    (r"or.*cup", "it keeps two inequalities apart"),
    (r"sin 30\^", "it reads degrees as radians"),
    (r"e\^\{i", "it does not evaluate powers of e with i"),
    (r"0\.00000012", "it rounds to six places, however small the numbers are"),
    (r"\\overline", "it does not read repeating decimals"),
    (r"\\text\{\d+\}", "it takes a number in \\text for a word"),
    (r"\di\b", "it takes an i right behind a digit for a variable"),
    (r"fbox", "it finds an \\fbox only beside a \\boxed"),
    (r"\.\d{6}5\b", "it rounds both to six places, one of them the other way"),
]


def expected():
    for form, gold, answer, equal in math_pairs.generated():
        yield form, gold, f"The answer is $\\boxed{{{answer}}}$.", equal
    for gold, response, equal in math_responses.handwritten():
        yield "hand-written", gold, response, equal


def our_verdicts(binary, pairs):
    lines = "".join(json.dumps({"response": r, "answer": g}) + "\n" for _, g, r, _ in pairs)
    run = subprocess.run([binary, "verify", "--set", "verifier.kind=math"], input=lines, capture_output=True, text=True,
                         check=True)
    return [json.loads(line).get("reward") for line in run.stdout.splitlines()]


def their_verdict(gold, response):
    # Without its time limits, so that a slow machine gives the same verdicts.
    gold, answer = parse(f"${gold}$", parsing_timeout=None), parse(response, parsing_timeout=None)
    return bool(verify(gold, answer, timeout_seconds=None))


def code(text):
    return "`" + text.replace("|", "\\|").replace("\n", " ") + "`"


def report(pairs, ours, theirs):
    """The lines for docs/rewards.md, and what is wrong."""
    forms = collections.Counter(form for form, *_ in pairs)
    agree = collections.Counter()
    wrong, table = [], collections.OrderedDict()
    for (form, gold, response, equal), our, their in zip(pairs, ours, theirs):
        if our != float(equal):
            wrong.append(f"expected {equal}, got {our}: {gold} | {response}")
        agree[form] += our == float(their)
        if our == float(their):
            continue
        reason = next((r for pattern, r in REASONS if re.search(pattern, f"{gold} {response}")), None)
        if reason is None:
            wrong.append(f"no reason for math-verify's {their}: {gold} | {response}")
        table.setdefault((gold, response, equal), reason)
    total, same = len(pairs), sum(agree.values())
    right = sum(t == e for (*_, e), t in zip(pairs, theirs))
    equal = sum(e for *_, e in pairs)
    if same < GOAL * total:
        wrong.append(f"agreement is {same / total:.2%}, below {GOAL:.0%}")
    lines = [f"{total} pairs, {equal} equal and {total - equal} unequal: the verdicts agree on {same} ({same / total:.2%}). Expected are all",
             f"{total} of ours and {right} ({right / total:.2%}) of math-verify's.", "", "| form | pairs | agree |", "|---|---|---|"]
    lines += [f"| {form} | {count} | {agree[form]} |" for form, count in forms.items()]
    lines += ["", "Every disagreement:", "", "| gold | answer | equal? | math-verify |", "|---|---|---|---|"]
    for (gold, response, is_equal), reason in table.items():
        boxed = re.fullmatch(r"The answer is \$\\boxed\{(.*)\}\$\.", response)
        lines.append(f"| {code(gold)} | {code(boxed[1] if boxed else response)} | {'yes' if is_equal else 'no'} | {reason} |")
    return lines, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--docs", required=True, type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # math-verify warns of what it cannot parse
    pairs = list(dict.fromkeys(expected()))
    ours = our_verdicts(options.binary, pairs)
    theirs = [their_verdict(gold, response) for _, gold, response, _ in pairs]
    lines, wrong = report(pairs, ours, theirs)
    text = options.docs.read_text() if options.docs.exists() else f"{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after
    if options.write:
        options.docs.write_text(new)
    elif new != text:
        wrong.append(f"{options.docs} says something else; scripts/check_math_verify --write writes it")
    print("\n".join(lines[:2]))
    for line in wrong:
        print("check_math_verify: " + line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
