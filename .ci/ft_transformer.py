#!/usr/bin/env python3
"""Writes mlops-train/src/ft_transformer/reference.json: a small FT-Transformer, rows, and what it answers.

usage: ft_transformer.py OUT.json      (needs NumPy)

The forward pass is written from the paper (Gorishniy et al. 2021, sections 3.3 and E.1), in double precision, with einsum over
heads rather than by blocks of memory: tokens x_j W_j + b_j and E_j[c_j] + b_j behind a learnt one, pre-normalized blocks, the
first without a normalization before its attention, ReGLU, and Linear(ReLU(LayerNorm(first token))) as head. Here every block
updates all tokens; that only the first token is read after the last one is for the program under test to make use of.
"""
import json, sys

import numpy as np

WIDTH, BLOCKS, HEADS, HIDDEN, NUMBERS, CODES, ROWS = 8, 3, 2, 10, 3, [4, 3], 12


def weights(g):
    w = {"front": g.normal(size=WIDTH), "numbers.weight": g.normal(size=(NUMBERS, WIDTH)), "numbers.bias": g.normal(size=(NUMBERS, WIDTH)),
         "categories.bias": g.normal(size=(len(CODES), WIDTH))}
    for j, n in enumerate(CODES):
        w[f"categories.{j}.weight"] = g.normal(size=(n, WIDTH))

    def dense(name, inputs, outputs):
        w[f"{name}.weight"] = g.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        w[f"{name}.bias"] = g.normal(size=outputs) / 4

    def norm(name):
        w[f"{name}.weight"], w[f"{name}.bias"] = 1 + g.normal(size=WIDTH) / 4, g.normal(size=WIDTH) / 4

    for b in range(BLOCKS):
        if b:
            norm(f"blocks.{b}.attention_norm")
        norm(f"blocks.{b}.dense_norm")
        for name in ("query", "key", "value", "mix"):
            dense(f"blocks.{b}.{name}", WIDTH, WIDTH)
        dense(f"blocks.{b}.expand", WIDTH, 2 * HIDDEN)
        dense(f"blocks.{b}.contract", HIDDEN, WIDTH)
    norm("head_norm")
    dense("head", WIDTH, 1)
    # As the file has them: single precision.
    return {name: value.astype(np.float32).astype(float) for name, value in w.items()}


def forward(w, numbers, codes):
    def dense(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(block, x):
        parts = [dense(f"{block}.{name}", x).reshape(*x.shape[:2], HEADS, -1) for name in ("query", "key", "value")]
        q, k, v = parts
        scores = np.einsum("rihd,rjhd->rhij", q, k) / np.sqrt(WIDTH / HEADS)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        return dense(f"{block}.mix", np.einsum("rhij,rjhd->rihd", share, v).reshape(x.shape))

    tokens = [np.broadcast_to(w["front"], (len(numbers), 1, WIDTH)), numbers[:, :, None] * w["numbers.weight"] + w["numbers.bias"]]
    tokens += [(w[f"categories.{j}.weight"][codes[:, j]] + w["categories.bias"][j])[:, None] for j in range(len(CODES))]
    x = np.concatenate(tokens, 1)
    for b in range(BLOCKS):
        block = f"blocks.{b}"
        x = x + attention(block, norm(f"{block}.attention_norm", x) if b else x)
        unit, gate = np.split(dense(f"{block}.expand", norm(f"{block}.dense_norm", x)), 2, -1)
        x = x + dense(f"{block}.contract", unit * np.maximum(gate, 0))
    return dense("head", np.maximum(norm("head_norm", x[:, 0]), 0))[:, 0]


def main():
    g = np.random.default_rng(20261126)
    w = weights(g)
    numbers = g.normal(size=(ROWS, NUMBERS)).astype(np.float32).astype(float)
    codes = np.stack([g.integers(n, size=ROWS) for n in CODES], 1)
    answer = {
        "shape": {"numbers": NUMBERS, "codes": CODES, "width": WIDTH, "blocks": BLOCKS, "heads": HEADS, "hidden": HIDDEN},
        "tensors": {name: {"shape": list(value.shape), "values": [float(f"{v:.9g}") for v in value.ravel()]} for name, value in w.items()},
        "numbers": numbers.tolist(), "codes": codes.tolist(), "outputs": forward(w, numbers, codes).tolist(),
    }
    with open(sys.argv[1], "w") as file:
        json.dump(answer, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
