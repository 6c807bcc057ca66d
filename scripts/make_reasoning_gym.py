"""Prompt files of a reasoning-gym task; see scripts/make_reasoning_gym.

A row is {"id", "prompt", "answer", "metadata"}; metadata is the package's own, with "source_dataset", so that a
reward function may ask for the task's scorer. The train part is made first; a question of it never comes into the
test part, and none comes twice into either.
"""
import argparse
import json
import os
import pathlib
import sys

import reasoning_gym
from reasoning_gym.factory import DATASETS

BATCH = 256


def parse():
    parser = argparse.ArgumentParser(prog="make_reasoning_gym", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="name of a task, such as chain_sum; 'list' prints all")
    parser.add_argument("--out", type=pathlib.Path, help="folder to write into")
    parser.add_argument("--train", type=int, default=2000, metavar="N", help="rows of train.jsonl (2000)")
    parser.add_argument("--test", type=int, default=200, metavar="N", help="rows of test.jsonl (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the questions (1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON",
                        help="a key of the task's own config, such as max_terms=3; repeatable")
    return parser.parse_args()


def fail(message):
    print(f"make_reasoning_gym: {message}", file=sys.stderr)
    sys.exit(2)


def settings(words):
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            fail(f"--set {word} is not of the form KEY=JSON")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def questions(task, seed, config):
    """Entries without end, until a whole batch brings nothing that was not there before."""
    seen = set()
    while True:
        try:
            dataset = reasoning_gym.create_dataset(task, size=BATCH, seed=seed, **config)
        except (AssertionError, TypeError, ValueError) as error:
            fail(f"{task} refuses {config}: {error}")
        fresh = 0
        for entry in dataset:
            if entry["question"] not in seen:
                seen.add(entry["question"])
                fresh += 1
                yield entry
        if not fresh:
            return
        seed += 1000003  # datasets use the seeds that follow theirs


def write(path, task, rows):
    lines = [json.dumps({"id": f"{task}-{path.stem}-{number}", "prompt": row["question"], "answer": str(row["answer"]),
                         "metadata": row["metadata"]}, ensure_ascii=False, default=str)
             for number, row in enumerate(rows)]
    beside = path.with_suffix(".part")
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(beside, path)


def main():
    args = parse()
    if args.task == "list":
        print("\n".join(sorted(DATASETS)))
        return
    if args.task not in DATASETS:
        fail(f"there is no task {args.task}; 'list' prints all {len(DATASETS)}")
    if args.out is None or args.train < 1 or args.test < 1:
        fail("--out is needed, and at least one row in each part")
    wanted = args.train + args.test
    rows = []
    for entry in questions(args.task, args.seed, settings(args.set)):
        if entry["answer"] is not None and str(entry["answer"]).strip():
            rows.append(entry)
        if len(rows) == wanted:
            break
    if len(rows) < wanted:
        fail(f"{args.task} has only {len(rows)} different questions with these settings, not {wanted}")
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "train.jsonl", args.task, rows[:args.train])
    write(args.out / "test.jsonl", args.task, rows[args.train:])
    print(f"{args.task}: {args.train} rows in {args.out}/train.jsonl, {args.test} in {args.out}/test.jsonl")


if __name__ == "__main__":
    main()
