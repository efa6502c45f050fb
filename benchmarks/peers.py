"""Adapt each peer: one function a peer, from the arrays of a problem to estimates and standard errors.

A peer's own package is imported where it is used, so that no process loads more than one of them.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from problems import Array, Kind, Problem

OWN: tuple[Kind, ...] = ("normal", "tobit", "hetero")
INDEX: tuple[Kind, ...] = ("logit", "probit", "poisson", "nb2")


@dataclass(frozen=True)
class Answer:
    """Hold estimates and standard errors; ``bse`` is None where a peer has none."""

    params: Array
    bse: Array | None


def torchmle(problem: Problem) -> Answer:
    """Fit by torchmle: a ready-made model, or a likelihood of one's own in the declarative form."""
    if problem.kind == "ols":
        import torchmle as tm

        groups = problem.groups if problem.cov_type == "cluster" else None
        model = tm.OLS(problem.y, problem.X, groups=groups, device=problem.device, dtype=problem.dtype)
        results = model.fit(cov_type=problem.cov_type)
    else:
        from likelihoods import DECLARATIVE

        more = {} if problem.Z is None else {"log_sigma": problem.Z}
        model = DECLARATIVE[problem.kind](problem.y, problem.X, device=problem.device, dtype=problem.dtype, **more)
        results = model.fit()
    assert results.converged, results.status
    return Answer(results.params.to_numpy(), results.bse.to_numpy())


def torchmle_opaque(problem: Problem) -> Answer:
    """Fit by torchmle a likelihood of one's own that is a function of one vector of parameters."""
    from likelihoods import OPAQUE

    row_data = None if problem.Z is None else {"Z": problem.Z}
    model = OPAQUE[problem.kind](problem.y, problem.X, row_data=row_data, device=problem.device, dtype=problem.dtype)
    results = model.fit()
    assert results.converged, results.status
    return Answer(results.params.to_numpy(), results.bse.to_numpy())


def statsmodels(problem: Problem) -> Answer:
    """Fit by a model that statsmodels has; its NB2 is given a tolerance at which it reaches the maximum."""
    import statsmodels.api as sm

    y, X = problem.y, problem.X
    if problem.kind == "ols":
        kwds = {"groups": problem.groups} if problem.cov_type == "cluster" else {}
        results = sm.OLS(y, X).fit(cov_type=problem.cov_type, cov_kwds=kwds)
    elif problem.kind == "nb2":
        results = sm.NegativeBinomial(y, X).fit(disp=0, maxiter=200, gtol=1e-6)
    else:
        model = {"logit": sm.Logit, "probit": sm.Probit, "poisson": sm.Poisson}[problem.kind]
        results = model(y, X).fit(disp=0)
    return Answer(np.asarray(results.params), np.asarray(results.bse))


def statsmodels_generic(problem: Problem) -> Answer:
    """Fit a likelihood of one's own by statsmodels' GenericLikelihoodModel; derivatives are differences."""
    from statsmodels.base.model import GenericLikelihoodModel

    values = _loglikeobs(problem)

    class Own(GenericLikelihoodModel):
        def loglikeobs(self, params: Array) -> Array:
            return values(params)

    names = [f"extra{j}" for j in range(len(problem.start) - problem.X.shape[1])]
    model = Own(problem.y, problem.X, extra_params_names=names)
    results = model.fit(start_params=problem.start, method="bfgs", maxiter=500, gtol=1e-4, disp=0)
    return Answer(np.asarray(results.params), np.asarray(results.bse))


def scipy(problem: Problem) -> Answer:
    """Minimise by scipy's BFGS without a gradient; there are no errors that could be trusted."""
    from scipy.optimize import minimize

    values = _loglikeobs(problem)
    found = minimize(lambda p: -float(values(p).mean()), problem.start, method="BFGS", options={"gtol": 1e-6})
    return Answer(found.x, None)


def torch_recipe(problem: Problem) -> Answer:
    """Minimise by torch's own L-BFGS, as tutorials do; errors from ``torch.autograd.functional.hessian``."""
    import torch
    from likelihoods import torch_loss

    loss, n = torch_loss(problem), len(problem.y)
    params = torch.from_numpy(problem.start).requires_grad_()
    method = torch.optim.LBFGS(
        [params], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        method.zero_grad()
        value = loss(params) / n
        value.backward()
        return value

    method.step(closure)
    found = params.detach()
    hessian = torch.autograd.functional.hessian(loss, found)
    return Answer(found.numpy(), torch.linalg.inv(hessian).diagonal().sqrt().numpy())


def numpy(problem: Problem) -> Answer:
    """Solve the normal equations, with robust or clustered errors."""
    y, X = problem.y, problem.X
    n, k = X.shape
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ (X.T @ y)
    scores = X * (y - X @ beta)[:, None]
    if problem.cov_type == "cluster" and problem.groups is not None:
        count = int(problem.groups.max()) + 1
        scores = np.column_stack([np.bincount(problem.groups, column, count) for column in scores.T])
        factor = count / (count - 1) * (n - 1) / (n - k)
    else:
        factor = n / (n - k)
    covariance = inverse @ (scores.T @ scores) @ inverse * factor
    return Answer(beta, np.sqrt(np.diag(covariance)))


def glum(problem: Problem) -> Answer:
    """Fit a generalised linear model without penalty by glum."""
    from glum import GeneralizedLinearRegressor

    family, link = {"logit": ("binomial", "logit"), "poisson": ("poisson", "log")}[problem.kind]
    X = np.asfortranarray(problem.X[:, 1:])
    model = GeneralizedLinearRegressor(family=family, link=link, alpha=0, gradient_tol=1e-8, max_iter=100)
    model.fit(X, problem.y)
    bse = model.std_errors(X, problem.y, robust=False, expected_information=False)
    return Answer(np.r_[model.intercept_, model.coef_], np.asarray(bse))


def pyfixest(problem: Problem) -> Answer:
    """Fit by pyfixest's formula interface, from a frame that is made here."""
    import pandas as pd
    import pyfixest as pf

    names = [f"x{j}" for j in range(1, problem.X.shape[1])]
    frame = pd.DataFrame(problem.X[:, 1:], columns=names).assign(y=problem.y)
    formula = f"y ~ {' + '.join(names)}"
    if problem.kind == "ols":
        frame["g"] = problem.groups
        vcov = {"CRV1": "g"} if problem.cov_type == "cluster" else "hetero"
        found = pf.feols(formula, frame, vcov=vcov, lean=True, store_data=False, copy_data=False)
    elif problem.kind == "poisson":
        found = pf.fepois(formula, frame, vcov="iid")
    else:
        found = pf.feglm(formula, frame, family=problem.kind, vcov="iid")
    return Answer(found.coef().to_numpy(), found.se().to_numpy())


def linearmodels(problem: Problem) -> Answer:
    """Fit least squares by linearmodels."""
    from linearmodels.iv import IV2SLS

    model = IV2SLS(problem.y, problem.X, None, None)
    if problem.cov_type == "cluster":
        results = model.fit(cov_type="clustered", clusters=problem.groups, debiased=True)
    else:
        results = model.fit(cov_type="robust", debiased=True)
    return Answer(results.params.to_numpy(), results.std_errors.to_numpy())


def scikit_learn(problem: Problem) -> Answer:
    """Fit a logit or Poisson regression without penalty by scikit-learn, which has no errors."""
    from sklearn.linear_model import LogisticRegression, PoissonRegressor

    if problem.kind == "logit":
        model = LogisticRegression(C=np.inf, solver="lbfgs", tol=1e-8, max_iter=500)
    else:
        model = PoissonRegressor(alpha=0, solver="newton-cholesky", tol=1e-8, max_iter=500)
    model.fit(problem.X[:, 1:], problem.y)
    return Answer(np.r_[np.ravel(model.intercept_), np.ravel(model.coef_)], None)


def _loglikeobs(problem: Problem) -> Callable[[Array], Array]:
    """Return the log-likelihoods of the rows in numpy."""
    from scipy.special import log_ndtr

    y, X, Z, kind = problem.y, problem.X, problem.Z, problem.kind
    k = X.shape[1]

    def values(params: Array) -> Array:
        mu = X @ params[:k]
        if kind == "logit":
            return y * mu - np.logaddexp(0.0, mu)
        log_sigma = params[k] if Z is None else Z @ params[k:]
        above = -0.5 * math.log(2 * math.pi) - log_sigma - 0.5 * ((y - mu) * np.exp(-log_sigma)) ** 2
        return np.where(y > 0, above, log_ndtr(-mu * np.exp(-log_sigma))) if kind == "tobit" else above

    return values


@dataclass(frozen=True)
class Peer:
    """Hold an adapter, the package it needs, and what it can estimate, up to how many rows."""

    fit: Callable[[Problem], Answer]
    package: str
    kinds: tuple[Kind, ...]
    most_rows: float = math.inf

    @property
    def installed(self) -> bool:
        """Return whether the package can be imported."""
        return importlib.util.find_spec(self.package) is not None

    def takes(self, problem: Problem) -> bool:
        """Return whether this peer has such a model, and an answer in reasonable time."""
        return problem.kind in self.kinds and len(problem.y) <= self.most_rows


def _choice(name: str) -> Callable[[Problem], Answer]:
    """Return an adapter of ``choice_peers``, imported where it is used."""

    def fit(problem: Problem) -> Answer:
        import choice_peers

        found: Answer = getattr(choice_peers, name)(problem)
        return found

    return fit


PEERS: dict[str, Peer] = {
    "torchmle": Peer(torchmle, "torchmle", (*OWN, *INDEX, "ols")),
    "torchmle opaque": Peer(torchmle_opaque, "torchmle", (*OWN, "logit")),
    "statsmodels": Peer(statsmodels, "statsmodels", (*INDEX, "ols")),
    "statsmodels generic": Peer(statsmodels_generic, "statsmodels", ("tobit", "hetero")),
    "scipy": Peer(scipy, "scipy", ("normal",)),
    "numpy": Peer(numpy, "numpy", ("ols",)),
    "torch recipe": Peer(torch_recipe, "torch", OWN),
    "glum": Peer(glum, "glum", ("logit", "poisson")),
    "pyfixest": Peer(pyfixest, "pyfixest", (*INDEX[:3], "ols")),
    "linearmodels": Peer(linearmodels, "linearmodels", ("ols",), most_rows=2_000_000),
    "torchmle choice": Peer(_choice("torchmle_choice"), "torchmle", ("clogit", "mixed")),
    "xlogit": Peer(_choice("xlogit"), "xlogit", ("clogit", "mixed")),
    "scikit-learn": Peer(scikit_learn, "sklearn", ("logit", "poisson")),
}
