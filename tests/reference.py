"""The method once more, written straight from the papers' formulas in plain NumPy loops.

Slow on purpose and sharing nothing with the package: what the tests hold the package against.
Images are (C, H, W) float64 arrays; weights are a dict with the authors' names.
"""

from __future__ import annotations

import numpy as np


def convolve(x, weight, bias, dilation=1):
    """Correlate with zero padding that keeps the size."""
    k = weight.shape[-1]
    r = dilation * (k // 2)
    padded = np.pad(x, ((0, 0), (r, r), (r, r)))
    out = np.zeros((weight.shape[0], *x.shape[1:])) + bias[:, None, None]
    for i in range(k):
        for j in range(k):
            part = padded[
                :,
                i * dilation : i * dilation + x.shape[1],
                j * dilation : j * dilation + x.shape[2],
            ]
            out += np.einsum("oc,chw->ohw", weight[:, :, i, j], part)
    return out


def attention(x, w_qk, grid):
    """SS-Attention with the softmax of the paper, one sub-lattice and one token at a time."""
    c, height, width = x.shape
    normalised = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    pad = ((0, 0), (0, -height % grid), (0, -width % grid))
    normalised, values = np.pad(normalised, pad), np.pad(x, pad)
    out = np.zeros_like(values)
    for i in range(grid):
        for j in range(grid):
            tokens = normalised[:, i::grid, j::grid].reshape(c, -1).T @ w_qk
            tokens = tokens / (np.linalg.norm(tokens, axis=1, keepdims=True) + 1e-8)
            v = values[:, i::grid, j::grid].reshape(c, -1).T
            for n, token in enumerate(tokens):
                logits = (tokens @ token + 1) / np.sqrt(c)
                weights = np.exp(logits) / np.exp(logits).sum()
                h, w = np.unravel_index(n, values[0, i::grid, j::grid].shape)
                out[:, i + h * grid, j + w * grid] = weights @ v
    return out[:, :height, :width]


def relu(x):
    return np.maximum(x, 0)


def branch(x, weights, name, stride, blocks):
    def conv(x, key, dilation=1):
        weight = weights[f"bsn.{name}.body.{key}.weight"].copy()
        if key == "0":
            weight[:, :, stride - 1, stride - 1] = 0
        return convolve(x, weight, weights[f"bsn.{name}.body.{key}.bias"], dilation)

    x = relu(conv(x, "0"))
    x = relu(conv(x, "2"))
    x = relu(conv(x, "4"))
    for i, kind in enumerate(blocks, start=6):
        if kind == "light":
            x = x + conv(relu(conv(x, f"{i}.body.0", stride)), f"{i}.body.2")
            continue
        inner = x
        if kind == "ss":
            inner = x + attention(x, weights[f"bsn.{name}.body.{i}.wqk"], 2 * stride)
        inner = relu(conv(inner, f"{i}.conv1", stride))
        inner = relu(conv(inner, f"{i}.conv2", stride))
        x = x + conv(inner, f"{i}.conv3")
    return relu(conv(x, str(6 + len(blocks))))


def bsn(x, weights, blocks):
    """The blind-spot network."""

    def conv(x, key):
        return convolve(x, weights[f"bsn.{key}.weight"], weights[f"bsn.{key}.bias"])

    x = relu(conv(x, "head.0"))
    x = np.concatenate(
        [branch(x, weights, "branch1", 2, blocks), branch(x, weights, "branch2", 3, blocks)]
    )
    for key in ("tail.0", "tail.2", "tail.4"):
        x = relu(conv(x, key))
    return conv(x, "tail.6")


def through_pd(x, weights, blocks, f, pad):
    """PD of stride f, the network, and back, one sub-image at a time."""
    c, height, width = x.shape
    h, w = height // f, width // f
    mosaic = np.zeros((c, f * (h + 2 * pad), f * (w + 2 * pad)))

    def place(i, j):
        top, left = i * (h + 2 * pad) + pad, j * (w + 2 * pad) + pad
        return slice(top, top + h), slice(left, left + w)

    for i in range(f):
        for j in range(f):
            mosaic[:, *place(i, j)] = x[:, i::f, j::f]
    mosaic = bsn(mosaic, weights, blocks)
    out = np.zeros_like(x)
    for i in range(f):
        for j in range(f):
            out[:, i::f, j::f] = mosaic[:, *place(i, j)]
    return out


def r3(x, y0, weights, blocks, masks, pad):
    """R3 with given masks, (T, C, H, W)."""
    passes = []
    for mask in masks:
        mixed = np.where(mask, x, y0)
        mixed = np.pad(mixed, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
        out = bsn(mixed, weights, blocks)
        passes.append(out[:, pad : out.shape[1] - pad, pad : out.shape[2] - pad])
    return np.mean(passes, axis=0)
