"""Mixed logits: derivatives against autograd of the plain formula, laws, spaces, draws, bad input."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import torchmle as tm

RANDOM = {
    "normal": {"random": {"time": "normal", "cost": "normal"}},
    "lognormal": {"random": {"time": "-lognormal", "cost": "-lognormal"}, "correlated": True},
    "one block": {
        "random": {"time": "normal", "cost": "-lognormal", "wide": "uniform"},
        "correlated": ["time", "cost"],
    },
    "others": {"random": {"time": ("johnson_sb", -0.3, 0.0), "cost": "triangular", "wide": "uniform"}},
    "truncated": {"random": {"time": "-truncated_normal", "cost": "normal"}},
    "means": {"random": {"time": "normal"}, "means": {"time": "~ income"}},
    "components": {"components": "wheels"},
    "both": {"random": {"time": "normal"}, "components": "wheels"},
    "wtp": {"random": {"time": "normal", "cost": "lognormal"}, "space": "wtp", "price": "cost"},
    "wtp, price fixed": {"random": {"time": "normal", "wide": "normal"}, "space": "wtp", "price": "cost"},
    "generalized": {"random": {"time": "normal"}, "generalized": True},
    "scale only": {"generalized": True},
}
LAYOUT = {"alternatives": "mode", "situations": "trip", "base": "bus"}
FEW = tm.Draws("halton", 16, seed=3)


@functools.cache
def trips() -> pd.DataFrame:
    table = tm.datasets.load("trips")
    rng = np.random.default_rng(5)
    return table.assign(wide=rng.normal(size=len(table)), wheels=table["mode"].isin(["car", "bike"]).astype(float))


def model(kind: str, panel: bool = True, **options: Any) -> tm.MixedLogit:
    own = {**RANDOM[kind], **({"persons": "person"} if panel else {}), "draws": FEW, **options}
    return tm.MixedLogit.from_formula("chosen ~ time + cost + wide", trips(), **LAYOUT, **own)


def laws(given: tm.MixedLogit) -> dict[str, Any]:
    return dict(given._given.get("random", {}))


def plain(m: tm.MixedLogit, theta: torch.Tensor) -> torch.Tensor:
    """Return the simulated log-likelihoods of persons by the formula of the textbook, with loops over persons."""
    value = dict(zip(m.param_names, theta, strict=True))
    frame = m.design.data.frame
    draws = m.draws.uniforms(range(len(m.ends)), len(m.laws))
    names = [*m.design.names, *[n for n in m.randomness.names if n not in m.design.names]]
    random = {**m._given.get("random", {}), **dict.fromkeys(names[len(m.design.names) :], "normal")}
    order = [n for n in names if n in random]
    income = torch.tensor(frame.groupby("person", sort=False).income.first().to_numpy())
    out, first = [], 0
    for i, end in enumerate(m.ends.tolist()):
        z = torch.special.ndtri(draws[i])
        beta = {}
        for n in names:
            mean = value.get(n, torch.zeros((), dtype=torch.float64))
            if f"mean:{n}:income" in value:
                mean = mean + value[f"mean:{n}:income"] * income[i]
            if n not in random:
                beta[n] = mean.expand(len(z))
                continue
            d = order.index(n)
            law = random[n] if isinstance(random[n], str) else random[n][0]
            if law in ("uniform", "triangular"):
                u = draws[i, :, d]
                tri = torch.where(u < 0.5, (2 * u).sqrt() - 1, 1 - (2 * (1 - u)).sqrt())
                beta[n] = mean + value[f"spread:{n}"] * (tri if law == "triangular" else 2 * u - 1)
                continue
            if f"sd:{n}" in value:
                dev = value[f"sd:{n}"] * z[:, d]
            else:
                dev = sum(value[f"chol:{n}:{c}"] * z[:, order.index(c)] for c in order if f"chol:{n}:{c}" in value)
            if law.endswith("truncated_normal"):
                share = torch.special.ndtr(mean / value[f"sd:{n}"].abs())
                beta[n] = -(mean + value[f"sd:{n}"].abs() * torch.special.ndtri(1 - share + draws[i, :, d] * share))
            elif law.endswith("lognormal"):
                beta[n] = (-1 if law[0] == "-" else 1) * torch.exp(mean + dev)
            elif law == "johnson_sb":
                beta[n] = -0.3 + 0.3 * torch.sigmoid(mean + dev)
            elif "tau" in value:
                beta[n] = (mean, dev)
            else:
                beta[n] = mean + dev
        if "tau" in value:
            s = torch.exp(value["tau"] * z[:, -1] - value["tau"] ** 2 / 2)
            g = value.get("gamma", torch.zeros((), dtype=torch.float64))
            for n in names:
                mean, dev = beta[n] if isinstance(beta[n], tuple) else (beta[n], torch.zeros_like(s))
                beta[n] = mean + dev if n.startswith("asc_") else s * mean + (g + s * (1 - g)) * dev
        if m.randomness.space == "wtp":
            price = beta["cost"]
            beta = {n: -price if n == "cost" else price * b for n, b in beta.items()}
        B = torch.stack([beta[n] for n in names])
        V = m.X[first:end] @ B
        if m.available is not None:
            V = V.masked_fill(~m.available[first:end, :, None], -torch.inf)
        logp = torch.log_softmax(V, 1)[torch.arange(end - first), m.chosen[first:end]].sum(0)
        out.append(torch.logsumexp(logp, 0) - np.log(len(z)))
        first = end
    return torch.stack(out)


def point(m: tm.MixedLogit) -> torch.Tensor:
    """Return a point away from the maximum at which all parts matter."""
    rng = np.random.default_rng(4)
    known = {"time": -0.08, "cost": -0.3, "wide": 0.2, "tau": 0.6, "gamma": 0.3}
    if m.randomness.space == "wtp":
        known |= {"time": -0.2, "cost": -1.0 if "cost" in laws(m) else 0.3}
    for name, law in laws(m).items():
        if "lognormal" in law and m.randomness.space != "wtp":
            known[name] = -2.0
        if "truncated" in law:
            known[name] = 0.05
    values = [known.get(n, 0.1 if n[:2] in ("sd", "sp", "ch") else 0.002 if ":" in n else 0.3) for n in m.param_names]
    return torch.tensor(values, dtype=torch.float64) * torch.from_numpy(1 + 0.2 * rng.random(len(values)))


@pytest.mark.parametrize(
    ("kind", "panel"),
    [(kind, panel) for kind in RANDOM for panel in (True, False) if panel or "means" not in RANDOM[kind]],
)  # without persons, the variable of a mean is that of the situation, which the loop does not know
def test_derivatives_are_those_of_the_textbook_formula(kind, panel):
    if not panel and kind != "both":
        table = trips()[lambda t: t.trip <= 40]
    else:
        table = trips()[lambda t: t.person <= 9]
    own = {**RANDOM[kind], "draws": FEW, **({"persons": "person"} if panel else {})}
    m = tm.MixedLogit.from_formula("chosen ~ time + cost + wide", table, **LAYOUT, **own)
    at = point(m)
    theta = at.clone().requires_grad_()
    each = plain(m, theta)
    (score,) = torch.autograd.grad(each.sum(), theta, create_graph=True)
    hessian = torch.stack([torch.autograd.grad(s, theta, retain_graph=True)[0] for s in score])
    np.testing.assert_allclose(m.loglikeobs(at.numpy()).numpy(), each.detach().numpy(), rtol=1e-10)
    size = np.sqrt(np.abs(np.diag(hessian.numpy())))
    np.testing.assert_allclose(m.score(at.numpy()) / size, score.detach().numpy() / size, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(
        m.hessian(at.numpy()) / np.outer(size, size), hessian.numpy() / np.outer(size, size), atol=1e-8
    )
    np.testing.assert_allclose(m.score_obs(at.numpy()).sum(0), m.score(at.numpy()), rtol=1e-9, atol=1e-9 * size.max())


def test_functions_of_the_caller_in_formulas_of_means():
    def thousands(x):
        return x / 10

    table = trips()[lambda t: t.person <= 60]
    own = {"persons": "person", "random": {"time": "normal"}, "draws": FEW, **LAYOUT}
    one = tm.MixedLogit.from_formula("chosen ~ time + cost", table, means={"time": "~ thousands(income)"}, **own)
    other = tm.MixedLogit.from_formula("chosen ~ time + cost", table, means={"time": "~ income"}, **own)
    at = dict(zip(other.param_names, [0.1] * len(other.param_names), strict=True))
    scaled = {n.replace("income", "thousands(income)"): v * (10 if n.startswith("mean") else 1) for n, v in at.items()}
    assert one.loglike(scaled) == pytest.approx(other.loglike(at), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "must name at least one attribute"),
        ({"random": {"tiem": "normal"}}, "Did you mean 'time'"),
        ({"random": {"time": "norml"}}, "Did you mean 'normal'"),
        ({"random": {"time": ("johnson_sb", 1.0, 0.0)}}, "low, high"),
        ({"random": {"time": "normal"}, "correlated": ["time", "cost"]}, "cost"),
        ({"random": {"time": "normal", "cost": "uniform"}, "correlated": ["time", "cost"]}, "can be correlated"),
        ({"random": {"time": "normal"}, "space": "wtp"}, "needs price"),
        ({"random": {"cost": "normal"}, "space": "wtp", "price": "cost"}, "positive"),
        ({"random": {"time": "normal"}, "means": {"cost": "~ income"}}, "not in random"),
        ({"random": {"time": "normal"}, "components": "cost"}, "in the formula already"),
        ({"random": {"time": "normal"}, "draws": 2.5}, "whole number"),
        ({"random": {"time": "normal"}, "memory": -1}, "gigabytes"),
        ({"random": {"time": "normal"}, "drawz": 3}, "Did you mean 'draws'"),
        (
            {"random": {"time": "normal"}, "freq_weights": [1] * 1000, "persons": "person"},
            "freq_weights count situations",
        ),
    ],
)
def test_what_cannot_be_meant(options, message):
    with pytest.raises(tm.TorchmleError, match=message):
        tm.MixedLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"), **LAYOUT, **options)
