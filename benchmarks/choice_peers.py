"""Adapt the peers that fit choices: attributes (situations, alternatives, K), chosen positions, persons."""

from __future__ import annotations

import numpy as np
from peers import Answer
from problems import Array, Problem

DRAWS, FIXED = 500, 2
"""Halton draws a person, and attributes without random coefficient in a mixed logit: the first ones."""


def _names(problem: Problem) -> list[str]:
    return [f"x{k}" for k in range(problem.X.shape[2])]


def torchmle_choice(problem: Problem) -> Answer:
    """Fit by torchmle; the draws are those that xlogit makes."""
    import torchmle as tm

    names, where = _names(problem), {"device": problem.device, "dtype": problem.dtype}
    if problem.kind == "clogit":
        results = tm.ConditionalLogit(problem.y, problem.X, names=names, **where).fit()
    else:
        draws = tm.Draws("halton", DRAWS, scramble=False, skip=99)
        random = dict.fromkeys(names[FIXED:], "normal")
        persons = problem.groups
        results = tm.MixedLogit(
            problem.y, problem.X, names=names, persons=persons, random=random, draws=draws, **where
        ).fit()
    assert results.converged, results.status
    return Answer(results.params.to_numpy(), results.bse.to_numpy())


def _long(problem: Problem) -> tuple[Array, Array, Array, Array]:
    S, J, K = problem.X.shape
    chosen = np.zeros((S, J))
    chosen[np.arange(S), problem.y] = 1.0
    return problem.X.reshape(S * J, K), chosen.ravel(), np.repeat(np.arange(S), J), np.tile(np.arange(J), S)


def xlogit(problem: Problem) -> Answer:
    """Fit by xlogit; its errors for mixed logits come from outer products."""
    from xlogit import MixedLogit, MultinomialLogit

    X, y, ids, alternatives = _long(problem)
    names = _names(problem)
    if problem.kind == "clogit":
        model = MultinomialLogit()
        model.fit(X, y, names, alternatives, ids, verbose=0)
        return Answer(model.coeff_, model.stderr)
    panels = None if problem.groups is None else np.repeat(problem.groups, problem.X.shape[1])
    model = MixedLogit()
    random = dict.fromkeys(names[FIXED:], "n")
    model.fit(X, y, names, alternatives, ids, random, panels=panels, n_draws=DRAWS, verbose=0, tol_opts=None)
    estimates = model.coeff_.copy()
    estimates[len(names) :] = np.abs(estimates[len(names) :])  # the sign of a spread means nothing
    return Answer(estimates, model.stderr)
