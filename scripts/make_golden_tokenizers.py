#!/usr/bin/env python3
"""Writes tests/data/tokenizer/NAME: small tokenizers and what the tokenizers package makes of some texts.

    build/venv-tokenizers/bin/python scripts/make_golden_tokenizers.py [OUT_DIR]      (scripts/make_venv .. tokenizers)

NAME/tokenizer.json is of a family of scripts/tokenizer_families.py's kinds, trained on a few lines; NAME/golden.json a list
of {"text", "ids" (with the tokens around it), "plain_ids", "decoded" (of ids), "skipped" (specials left out)}.
"""
import json
import pathlib
import sys

import tokenizer_families as families

LINES = ["the cat sat on the mat, the dog sat on the log", "def f(x): return x + 1", "Größe 123 größer naïve", "你好 世界",
         "I'm here; we'll see it's 2024"] * 3
TEXTS = ["", "the cat", " the cat", "the  dog\n\n  sat", "I'm 12345", "Größe e\u0301 ﬁ ½", "你好 🇩🇪👩‍👧", "a<|im_end|>b", "a </s> b",
         "<s>the", "\t x\r\n", "   "]


def main():
    families.corpus = lambda: iter(LINES)
    families.VOCABULARY = 400
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "tests/data/tokenizer")
    for name in ("gpt2", "smollm2", "mixed", "marks", "t5"):
        tokenizer = marks() if name == "marks" else families.FAMILIES[name]()
        (out / name).mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(out / name / "tokenizer.json"))
        golden = []
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            golden.append({"text": text, "ids": ids, "plain_ids": tokenizer.encode(text, add_special_tokens=False).ids,
                           "decoded": tokenizer.decode(ids, skip_special_tokens=False), "skipped": tokenizer.decode(ids)})
        (out / name / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def marks():
    """Llama 2's pipeline around a few merges."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    words = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *"▁theacsondg", "th", "▁th", "▁the", "at", "▁c", "▁cat"]
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e"), ("a", "t"), ("▁", "c"), ("▁c", "at")]
    out = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    out.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    out.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    out.add_special_tokens(families.special("<unk>", "<s>", "</s>"))
    out.post_processor = families.bos_first("<s>", 1)
    return out


main()
