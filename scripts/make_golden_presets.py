#!/usr/bin/env python3
"""Writes tests/data/learner/presets.json with plain PyTorch in fp64: what each preset's paper makes of one batch.

    python scripts/make_golden_presets.py [OUT_DIR]        (needs torch, transformers, safetensors)

The formulas are the papers', not the program's. The model is tests/data/models/llama, moved away from its start, which
is the reference of the KL term. Behaviour log-probabilities differ from the policy's so that clips bite on both sides.
presets.json: {"rollouts": [{group, prompt, tokens, ends, values, reward, logprobs}],
               "cases": [{preset, sets, advantages (null: not trained on), loss, clip_share, gradients}]}
`sets` are config keys over configs/PRESET.toml. Gradients as in golden.json.
"""
import json
import math
import pathlib
import sys

import torch

from make_golden_loss import ROOT, digest, load, token_logprobs

# Group, reward, the steps' lengths in tokens, their values V_0..V_{K-1}, and the mean of the differences between
# behaviour and policy, in nats. Group 2 is solved by all; the response of 112 tokens is overlong for DAPO.
BATCH = [
    dict(group=0, reward=1, steps=[3, 4, 2], values=[0.3, 0.55, 0.9], mean=-0.05),
    dict(group=0, reward=0, steps=[5], values=[0.35], mean=0.05),
    dict(group=0, reward=0, steps=[6, 1, 7], values=[0.25, 0.6, 0.1], mean=-1e-4),
    dict(group=0, reward=0, steps=[2, 5], values=[0.4, 0.2], mean=2e-4),
    dict(group=1, reward=1, steps=[6], values=[0.7], mean=1.5e-4),
    dict(group=1, reward=1, steps=[40, 60, 12], values=[0.65, 0.8, 0.95], mean=0.03),
    dict(group=1, reward=0, steps=[1, 3], values=[0.6, 0.3], mean=-0.04),
    dict(group=1, reward=0, steps=[4, 7], values=[0.75, 0.5], mean=-2e-4),
    dict(group=2, reward=1, steps=[3, 3], values=[0.9, 0.97], mean=1e-4),
    dict(group=2, reward=1, steps=[8], values=[0.85], mean=-1e-4),
    dict(group=2, reward=1, steps=[2, 2, 3], values=[0.8, 0.9, 0.92], mean=0.02),
]
MAX_TOKENS = 128  # the constant of sums over tokens


def make_batch():
    """Adds to each rollout its group's prompt, its tokens and its differences of log-probabilities."""
    state = 12345
    for i, r in enumerate(BATCH):
        length = sum(r["steps"])
        r["tokens"] = []
        for _ in range(length):
            state = (1103515245 * state + 12345) % 2**31
            r["tokens"].append(3 + (state >> 16) % 21)
        r["prompt"] = [[1, 5, 9, 4], [1, 13, 7], [1, 6, 3, 8, 20]][r["group"]]
        wave = torch.tensor([0.45 * math.sin(2.1 * t + i) for t in range(length)], dtype=torch.float64)
        r["shift"] = wave - wave.mean() + r["mean"]


# --- advantages: for each rollout one of the whole rollout or one a step; None: its group is left out -----------------

def by_group(values):
    return [[v for v, r in zip(values, BATCH) if r["group"] == g] for g in range(3)]


def mean(xs):
    return sum(xs) / len(xs)


def std(xs):  # of a sample
    return math.sqrt(sum((x - mean(xs)) ** 2 for x in xs) / (len(xs) - 1))


def rewards():
    return [float(r["reward"]) for r in BATCH]


def is_mixed(group_rewards):
    return max(group_rewards) > min(group_rewards)


def per_group(rs, advantage, keep=is_mixed):
    """advantage(reward, the group's rewards) of each rollout of the groups that are kept."""
    groups = by_group(rs)
    return [advantage(x, groups[r["group"]]) if keep(groups[r["group"]]) else None for x, r in zip(rs, BATCH)]


def grpo(rs, keep=is_mixed):
    return per_group(rs, lambda x, group: (x - mean(group)) / (std(group) + 1e-4) if is_mixed(group) else 0.0, keep)


def centred(keep=is_mixed):
    return per_group(rewards(), lambda x, group: x - mean(group), keep)


def rloo():
    return per_group(rewards(), lambda x, group: x - (sum(group) - x) / (len(group) - 1))


def over_batch(advantages):
    """Normalised by the mean and deviation over all tokens of the batch."""
    tokens = [a for a, r in zip(advantages, BATCH) for _ in r["tokens"]]
    m = mean(tokens)
    deviation = math.sqrt(mean([(a - m) ** 2 for a in tokens]) + 1e-8)
    return [(a - m) / deviation for a in advantages]


def length_penalty():
    return grpo([r["reward"] * (1 - 0.3 * min(1, len(r["tokens"]) / 64)) for r in BATCH])


def overlong(tokens):  # DAPO, equation 13, with L_max 128 and L_cache 32
    if tokens <= 96:
        return 0.0
    return max(-1.0, (96 - tokens) / 32)


def dapo():
    return grpo([r["reward"] + overlong(len(r["tokens"])) for r in BATCH])


def gae(r, lam, gamma):
    """Over the steps; gamma(length of the step)."""
    values, out, later = r["values"] + [None], [], 0.0
    for k in reversed(range(len(r["steps"]))):
        discount = gamma(r["steps"][k])
        delta = (r["reward"] if k + 1 == len(r["steps"]) else discount * values[k + 1]) - values[k]
        later = delta + discount * lam * later
        out.insert(0, later)
    return out


def moments(g, steps):
    """Of a group's step advantages; each rollout weighs the same."""
    mine = [a for a, r in zip(steps, BATCH) if r["group"] == g]
    mu = mean([mean(a) for a in mine])
    return mu, math.sqrt(mean([mean([(x - mu) ** 2 for x in a]) for a in mine]))


def plug_in(beta, lam, gamma=lambda length: 1.0, keep=is_mixed):
    steps = [gae(r, lam, gamma) for r in BATCH]
    base = grpo(rewards(), keep)
    return [None if b is None else [b + beta * (x - moments(r["group"], steps)[0]) for x in a]
            for a, b, r in zip(steps, base, BATCH)]


def step_group(lam, eps):
    steps = [gae(r, lam, lambda length: 1.0) for r in BATCH]
    kept = grpo(rewards())
    out = []
    for a, b, r in zip(steps, kept, BATCH):
        mu, sigma = moments(r["group"], steps)
        out.append(None if b is None else [(x - mu) / (sigma + eps) for x in a])
    return out


def all_kept(_):
    return True


def mixed_or_solved(group):
    return is_mixed(group) or min(group) == 1


def by_length(length):
    return max(0.9, 1 - length / 16 * 0.1)


# --- cases: aggregate over tokens, over rollouts' means, or over rollouts' sums ---

def cases():
    solved = dict(keep=mixed_or_solved)
    return [
        dict(preset="sspo", advantages=plug_in(3.0, 0.0, by_length, **solved), over="tokens", clip=(0.2, 0.28)),
        dict(preset="sspo_answer", advantages=plug_in(0.5, 0.0, **solved), over="tokens", clip=(0.2, 0.28)),
        dict(preset="sspo_verbal", advantages=plug_in(0.5, 0.0, **solved), over="tokens", clip=(0.2, 0.28)),
        dict(preset="sspo_step_group", advantages=step_group(0.9, 0.05), over="tokens", clip=(0.2, 0.28)),
        dict(preset="vineppo_like", advantages=step_group(0.0, 0.05), over="tokens", clip=(0.2, 0.2)),
        dict(preset="mrt_like", advantages=plug_in(0.5, 1.0), over="tokens", clip=(0.2, 0.28)),
        dict(preset="grpo", advantages=grpo(rewards()), over="means", clip=(0.2, 0.2)),
        dict(preset="grpo", advantages=grpo(rewards()), over="means", clip=(0.2, 0.2), kl=0.04),
        dict(preset="grpo_length_penalty", advantages=length_penalty(), over="means", clip=(0.2, 0.2)),
        dict(preset="dr_grpo", advantages=centred(), over="sums", clip=(0.2, 0.2)),
        dict(preset="dapo", advantages=dapo(), over="tokens", clip=(0.2, 0.28)),
        dict(preset="gspo", advantages=grpo(rewards()), over="means", clip=(3e-4, 4e-4), sequence=True),
        dict(preset="gspo", advantages=grpo(rewards()), over="means", clip=(3e-4, 4e-4), sequence=True, kl=0.04),
        dict(preset="gspo", advantages=grpo(rewards()), over="means", clip=(3e-4, 4e-4), sequence=True, cap=1.03),
        dict(preset="rloo", advantages=rloo(), over="sums", clip=(0.2, 0.2)),
        dict(preset="reinforce_pp", advantages=over_batch(rewards()), over="tokens", clip=(0.2, 0.2)),
        dict(preset="reinforce_pp_baseline", advantages=over_batch(centred(all_kept)), over="tokens", clip=(0.2, 0.2)),
    ]


def rollout_terms(case, r, advantage, new, reference):
    """Of each token its objective, and whether its ratio is clipped. [T]"""
    steps = advantage if isinstance(advantage, list) else [advantage] * len(r["steps"])
    a = torch.tensor([x for x, n in zip(steps, r["steps"]) for _ in range(n)], dtype=torch.float64)
    old = new.detach() if "cap" in case else r["behaviour"]
    logs = new - old
    ratio = (logs.mean().expand_as(logs) if case.get("sequence") else logs).exp()
    low, high = 1 - case["clip"][0], 1 + case["clip"][1]
    terms = torch.minimum(ratio * a, ratio.clamp(low, high) * a)
    if "cap" in case:  # the weight is of the same kind as the ratio
        terms = terms * (old - r["behaviour"]).mean().exp().clamp(max=case["cap"])
    if "kl" in case:
        d = reference - new
        terms = terms - case["kl"] * (d.exp() - d - 1)
    return terms, ((ratio < low) & (a < 0)), ((ratio > high) & (a > 0))


def case_loss(case, new, reference):
    kept = [i for i, a in enumerate(case["advantages"]) if a is not None]
    total = sum(len(BATCH[i]["tokens"]) for i in kept)
    objective, below, above = 0.0, 0, 0
    for i in kept:
        terms, is_below, is_above = rollout_terms(case, BATCH[i], case["advantages"][i], new[i], reference[i])
        below += is_below.sum().item()
        above += is_above.sum().item()
        scale = {"tokens": 1 / total, "means": 1 / (len(kept) * len(terms)), "sums": 1 / (len(kept) * MAX_TOKENS)}
        objective = objective + scale[case["over"]] * terms.sum()
    assert "cap" in case or (below > 0 and above > 0), case["preset"] + ": no ratio is clipped"
    return -objective, (below + above) / total


def logprobs(model):
    return [token_logprobs(model, r["prompt"] + r["tokens"], len(r["prompt"])) for r in BATCH]


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/learner"
    out.mkdir(parents=True, exist_ok=True)
    make_batch()
    model = load(ROOT / "tests/data/models/llama")
    with torch.no_grad():
        reference = logprobs(model)
        for i, p in enumerate(model.parameters()):
            p.add_(0.01 * torch.cos(torch.arange(p.numel(), dtype=torch.float64) + i).view_as(p))
        for r, policy in zip(BATCH, logprobs(model)):
            r["behaviour"] = (policy + r["shift"]).float().double()  # as the file of floats has it
    rows = []
    for case in cases():
        model.zero_grad()
        loss, clipped = case_loss(case, logprobs(model), reference)
        loss.backward()
        sets = [f"loss.kl_beta={case['kl']}"] if "kl" in case else []
        sets += [f"loss.importance_cap={case['cap']}"] if "cap" in case else []
        advantages = [None if a is None else a if isinstance(a, list) else [a] * len(r["steps"])
                      for a, r in zip(case["advantages"], BATCH)]
        rows.append(dict(preset=case["preset"], sets=sets, advantages=advantages, loss=loss.item(), clip_share=clipped,
                         gradients={n: digest(p.grad) for n, p in model.named_parameters()}))
        print(case["preset"], *sets, loss.item(), clipped)
    rollouts = []
    for r in BATCH:
        ends = [sum(r["steps"][:k + 1]) for k in range(len(r["steps"]))]
        rollouts.append(dict(group=r["group"], prompt=r["prompt"], tokens=r["tokens"], ends=ends, values=r["values"],
                             reward=r["reward"], logprobs=r["behaviour"].tolist()))
    lines = ["{", '"rollouts": [', ",\n".join(json.dumps(r) for r in rollouts), "],", '"cases": [',
             ",\n".join(json.dumps(c) for c in rows), "]", "}"]
    (out / "presets.json").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
