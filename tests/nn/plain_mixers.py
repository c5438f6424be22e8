"""The mixers' equations in plain loops: one row, one head, one pair of tokens at a time, nothing padded or cached."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.nn.mixers import Additive, Delta, Differential, HeadMixer, LinearAttention, Sigmoid


def plain(mixer: HeadMixer, x: Tensor, read: Tensor | None = None) -> Tensor:
    """x (L, d_model) mixed; `read` (K, d_model) is the memory of a cross role."""
    source = x if read is None else read
    share, outs = mixer.num_heads // mixer.groups, []
    for head in range(mixer.num_heads):
        q = cut(mixer.q(x), head, mixer.head_dim)
        k, v = (cut(linear(source), head // share, mixer.head_dim) for linear in (mixer.k, mixer.v))
        if isinstance(mixer, Delta):
            outs.append(delta(mixer, q, k, v, source, head // share))
        elif isinstance(mixer, LinearAttention):
            outs.append(linear_attention(mixer, q, k, v))
        else:
            outs.append(weighted(mixer, q, k, v, head))
    return mixer.o(torch.cat(outs, -1))


def cut(x: Tensor, head: int, width: int) -> Tensor:
    return x[:, head * width : (head + 1) * width]


def seen(mixer: HeadMixer, i: int, keys: int) -> range:
    return range(i + 1 if mixer.role == "decoder" else keys)


def weighted(mixer: HeadMixer, q: Tensor, k: Tensor, v: Tensor, head: int) -> Tensor:
    rows = []
    for i in range(len(q)):
        places = seen(mixer, i, len(k))
        if isinstance(mixer, Differential):
            half, total = mixer.head_dim // 2, 0
            lam = mixer.lambdas
            share = torch.exp(lam[0] @ lam[1]) - torch.exp(lam[2] @ lam[3]) + mixer.lambda_init
            for part, sign in ((slice(half), 1), (slice(half, None), -share)):
                logits = torch.stack([q[i, part] @ k[j, part] / math.sqrt(half) for j in places])
                total = total + sign * logits.softmax(0)
            out = sum(total[j] * v[j] for j in places)
            size = (out.square().mean() + 1e-5).sqrt()
            rows.append((1 - mixer.lambda_init) * out / size * mixer.norm.weight)
        elif isinstance(mixer, Sigmoid):
            rows.append(sum(torch.sigmoid(q[i] @ k[j] / math.sqrt(mixer.head_dim) + mixer.bias) * v[j] for j in places))
        else:
            weights = torch.stack([logit(mixer, q[i], k[j], head) for j in places]).softmax(0)
            rows.append(sum(weights[j] * v[j] for j in places))
    return torch.stack(rows)


def logit(mixer: HeadMixer, q: Tensor, k: Tensor, head: int) -> Tensor:
    if not isinstance(mixer, Additive):  # the test's own mixer
        return -(q - k).square().sum().sqrt() / math.sqrt(mixer.head_dim)
    if mixer.kind == "tanh":
        return mixer.scorer[head] @ torch.tanh(q + k)
    return torch.tanh(mixer.scorer[head] @ torch.relu(q + k) + mixer.offset[head, 0, 0])


def linear_attention(mixer: HeadMixer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k = functional.elu(q) + 1, functional.elu(k) + 1
    rows = []
    for i in range(len(q)):
        weights = torch.stack([q[i] @ k[j] for j in seen(mixer, i, len(k))])
        rows.append(sum(weight * v[j] for j, weight in enumerate(weights)) / weights.sum())
    return torch.stack(rows)


def delta(mixer: Delta, q: Tensor, k: Tensor, v: Tensor, x: Tensor, group: int) -> Tensor:
    """Both directions side by side, except in a decoder."""
    q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    beta = torch.sigmoid(mixer.beta(x)[:, group])
    alpha = torch.ones_like(beta)
    if mixer.gated:
        steps = torch.log1p(torch.exp(mixer.alpha(x)[:, group] + mixer.shift[group]))
        alpha = torch.exp(-torch.exp(mixer.rate[group]) * steps)
    orders = [range(len(k))] if mixer.role == "decoder" else [range(len(k)), range(len(k) - 1, -1, -1)]
    ways = []
    for order in orders:
        memory, found = torch.zeros(k.shape[1], v.shape[1], dtype=x.dtype), {}
        for t in order:
            keep = torch.eye(k.shape[1], dtype=x.dtype) - beta[t] * torch.outer(k[t], k[t])
            memory = alpha[t] * keep @ memory + beta[t] * torch.outer(k[t], v[t])
            found[t] = memory
        read = [q[i] @ (memory if mixer.role == "cross" else found[i]) for i in range(len(q))]
        sizes = [(row.square().mean() + 1e-6).sqrt() for row in read]
        ways.append(torch.stack([row / size * mixer.norm.weight for row, size in zip(read, sizes, strict=True)]))
    return torch.cat(ways, -1)
