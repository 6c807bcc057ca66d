#!/usr/bin/env python3
"""The other side of the tokenizer benchmark: the tokenizers package on one thread.

    reference_tokenizer.py encode|decode FOLDER DOCUMENTS.jsonl

Prints MB/s of text: the best of three passes over all documents after a first one, which fills its cache of words. Its
fastest calls are used: encode_batch_fast, which counts no offsets, and decode_batch.
"""
import json
import os
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402


def main():
    way, folder, file = sys.argv[1:4]
    tokenizer = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
    with open(file, encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    bytes_ = sum(len(document.encode()) for document in documents)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(documents)]

    def work():
        if way == "encode":
            tokenizer.encode_batch_fast(documents)
        else:
            tokenizer.decode_batch(ids)

    work()
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = max(best, bytes_ / 1e6 / (time.perf_counter() - start))
    print(best)


main()
