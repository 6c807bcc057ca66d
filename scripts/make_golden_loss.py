#!/usr/bin/env python3
"""Writes tests/data/learner with plain PyTorch in fp64: losses and gradients of one fixed batch.

    python scripts/make_golden_loss.py [OUT_DIR]        (needs torch, transformers, safetensors)

The model is tests/data/models/llama. The batch is padded, the losses are written out token by token.
golden.json: {"rollouts": [...], "pairs": [...], "cases": [{"name", options, "loss", "gradients": {name: sums}}]}
A gradient is stored as its sum, its sum of absolute values and its inner product with cos(0, 1, 2, ...).
update.json: the same three numbers for every weight after two AdamW updates of the first case.
"""
import json
import pathlib
import sys

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROLLOUTS = [  # prompt length, tokens, behaviour log-probabilities offset, advantages of the response tokens
    dict(prompt=4, tokens=[1, 5, 9, 23, 2, 7, 7, 12, 19], shift=[0.3, -0.4, 0.0, 0.05, 0.5], advantages=[1.5, 1.5, -0.5, -0.5, 2.0]),
    dict(prompt=2, tokens=[1, 13, 4, 4, 17], shift=[-0.6, 0.1, 0.2], advantages=[-1.0, -2.0, 0.7]),
    dict(prompt=5, tokens=[1, 6, 3, 8, 20, 21, 2], shift=[0.02, -0.02], advantages=[0.4, 0.4]),
]
PAIRS = [dict(prefix=[1, 5, 9], chosen=[23, 2, 7], rejected=[4, 4]), dict(prefix=[1, 3], chosen=[8], rejected=[9, 10, 11])]
CASES = [
    dict(name="token_mean", aggregation="token_mean"),
    dict(name="sequence_mean", aggregation="sequence_mean"),
    dict(name="sequence_sum_norm", aggregation="sequence_sum_norm"),
    dict(name="kl", aggregation="token_mean", kl_beta=0.1),
    dict(name="importance", aggregation="token_mean", importance_cap=1.2),
    dict(name="step_dpo", aggregation="token_mean", step_dpo_weight=0.5, step_dpo_beta=0.3),
]
LOW, HIGH, MAX_TOKENS = 0.2, 0.28, 16


def token_logprobs(model, tokens, first):
    logits = model(torch.tensor([tokens])).logits[0]
    return torch.stack([torch.log_softmax(logits[t - 1], -1)[tokens[t]] for t in range(first, len(tokens))])


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").double().eval()


def case_loss(model, reference, behaviour, case):
    terms, weights = [], []
    total = sum(len(r["advantages"]) for r in ROLLOUTS)
    for rollout, old_behaviour in zip(ROLLOUTS, behaviour):
        logprobs = token_logprobs(model, rollout["tokens"], rollout["prompt"])
        old = logprobs.detach() if case.get("importance_cap") else old_behaviour
        with torch.no_grad():
            ref = token_logprobs(reference, rollout["tokens"], rollout["prompt"])
        n = len(rollout["advantages"])
        for t, advantage in enumerate(rollout["advantages"]):
            ratio = torch.exp(logprobs[t] - old[t])
            objective = torch.minimum(ratio * advantage, ratio.clamp(1 - LOW, 1 + HIGH) * advantage)
            if case.get("importance_cap"):
                objective = objective * torch.exp(old[t] - old_behaviour[t]).clamp(max=case["importance_cap"])
            if case.get("kl_beta"):
                d = ref[t] - logprobs[t]
                objective = objective - case["kl_beta"] * (torch.exp(d) - d - 1)
            terms.append(objective)
            weights.append({"token_mean": 1 / total, "sequence_mean": 1 / (len(ROLLOUTS) * n),
                            "sequence_sum_norm": 1 / (len(ROLLOUTS) * MAX_TOKENS)}[case["aggregation"]])
    loss = -sum(w * t for w, t in zip(weights, terms))
    if case.get("step_dpo_weight"):
        dpo = 0
        for pair in PAIRS:
            margins = []
            for name in ("chosen", "rejected"):
                tokens = pair["prefix"] + pair[name]
                with torch.no_grad():
                    ref = token_logprobs(reference, tokens, len(pair["prefix"])).sum()
                margins.append(token_logprobs(model, tokens, len(pair["prefix"])).sum() - ref)
            dpo = dpo - torch.nn.functional.logsigmoid(case["step_dpo_beta"] * (margins[0] - margins[1]))
        loss = loss + case["step_dpo_weight"] * dpo / len(PAIRS)
    return loss


def digest(tensor):
    x = tensor.detach().double().flatten()
    return [x.sum().item(), x.abs().sum().item(), (x * torch.cos(torch.arange(len(x), dtype=torch.float64))).sum().item()]


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/learner"
    out.mkdir(parents=True, exist_ok=True)
    folder = ROOT / "tests/data/models/llama"
    model, reference = load(folder), load(folder)
    with torch.no_grad():  # the policy has moved away from its reference, so that the KL term has a gradient
        for i, p in enumerate(model.parameters()):
            p.add_(0.01 * torch.cos(torch.arange(p.numel(), dtype=torch.float64) + i).view_as(p))
        behaviour = [token_logprobs(model, r["tokens"], r["prompt"]) + torch.tensor(r["shift"], dtype=torch.float64)
                     for r in ROLLOUTS]
    cases = []
    for case in CASES:
        model.zero_grad()
        loss = case_loss(model, reference, behaviour, case)
        loss.backward()
        cases.append(dict(case, loss=loss.item(), gradients={n: digest(p.grad) for n, p in model.named_parameters()}))
        print(case["name"], loss.item())
    rollouts = [dict(prompt=r["prompt"], tokens=r["tokens"], advantages=r["advantages"], logprobs=b.tolist())
                for r, b in zip(ROLLOUTS, behaviour)]
    golden = dict(rollouts=rollouts, pairs=PAIRS, clip_low=LOW, clip_high=HIGH, max_response_tokens=MAX_TOKENS, cases=cases)
    (out / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1)
    norms = []
    for _ in range(2):
        optimizer.zero_grad()
        case_loss(model, reference, behaviour, CASES[0]).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        optimizer.step()
    update = dict(lr=1e-2, beta1=0.9, beta2=0.98, eps=1e-8, weight_decay=0.1, max_grad_norm=0.5, grad_norms=norms,
                  weights={n: digest(p) for n, p in model.named_parameters()})
    (out / "update.json").write_text(json.dumps(update, indent=1) + "\n")


if __name__ == "__main__":
    main()
