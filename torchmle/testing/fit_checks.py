"""Check fits: verdict, determinism, methods, covariances, reports, and another form of the same model."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..data.vectors import FloatArray
from ..linalg import cholesky
from ..models.base import GenericLikelihoodModel
from ..models.function import FunctionModel
from ..models.load import load
from ..models.neural.base import ModuleModel
from ..params.map import ParamMap
from ..report.format import escape_html, escape_latex, escape_markdown, one_line
from .invariance_checks import maxima
from .subject import (
    Finding,
    NotApplicableError,
    Subject,
    all_of,
    bounded,
    kind_of_weights,
    largest,
    objective_of,
)


def fit(subject: Subject) -> Finding:
    """Prove that the default start leads Newton's method to a maximum."""
    results = subject.results
    return Finding(results.converged, f"{results.status} ({results.fit.iterations} iterations, {results.engine})")


def refit(subject: Subject) -> Finding:
    """Prove that a second fit gives the same bits, and that a fit from the estimates stays there."""
    first, again = subject.results, subject.anew()
    pairs = {
        "params": (first.params, again.params),
        "bse": (first.bse, again.bse),
        "hessian": (first.hessian, again.hessian),
    }
    differing = [name for name, (a, b) in pairs.items() if not np.array_equal(np.asarray(a), np.asarray(b))]
    differing += ["llf"] * (first.llf != again.llf)
    warm = subject.fit(subject.model, start=first.params.to_numpy())
    moved = largest((warm.params - first.params) / first.bse)
    return all_of(
        Finding(not differing, f"the second fit differs in {', '.join(differing) or 'no bit'}"),
        bounded("a fit from the estimates moves by", moved, maxima(subject), "standard errors"),
    )


def methods(subject: Subject) -> Finding:
    """Prove that BFGS finds the estimates of Newton's method."""
    newton, start = subject.results, None
    if subject.model.data.has_nets:  # from one and the same point near the maximum, since there are others
        start = subject.near(subject.rng("methods"))
        newton = subject.fit(subject.model, start=start)
    bfgs = subject.fit(subject.model, "bfgs", start)
    if not bfgs.converged:
        return Finding(False, f"bfgs: {bfgs.status}")
    gap = largest((bfgs.params - newton.params) / newton.bse)
    return bounded("bfgs against newton", gap, maxima(subject), "standard errors")


def covariance(subject: Subject) -> Finding:
    """Prove that the inverse Hessian gives a symmetric positive definite covariance."""
    if kind_of_weights(subject.model) == "sampling_weights":
        raise NotApplicableError("nonrobust errors are refused under sampling_weights")
    return _proper(subject, "nonrobust")


def robust_covariance(subject: Subject) -> Finding:
    """Prove that the estimators built on scores give symmetric positive definite covariances."""
    subject.separable()
    names = ["HC0", "HC1"] if kind_of_weights(subject.model) == "sampling_weights" else ["opg", "HC0", "HC1"]
    return all_of(*[_proper(subject, name) for name in names])


def _proper(subject: Subject, cov_type: str) -> Finding:
    matrix = subject.with_cov(subject.results, cov_type).cov_params().to_numpy()
    same = bool((matrix == matrix.T).all())
    definite = cholesky(torch.from_numpy(matrix.copy())) is not None
    verdict = "symmetric positive definite" if same and definite else "NOT symmetric" if not same else "NOT definite"
    return Finding(same and definite, f"{cov_type} {verdict}")


def summary(subject: Subject) -> Finding:
    """Prove that the summary shows every parameter in each of its formats."""
    document = subject.results.summary()
    formats: dict[str, tuple[str, Callable[[str], str]]] = {
        "text": (document.as_text(), one_line),
        "HTML": (document.as_html(), escape_html),
        "LaTeX": (document.as_latex(), escape_latex),
        "Markdown": (document.as_markdown(), escape_markdown),
        "CSV": (document.as_csv(), lambda name: name.replace('"', '""')),
    }
    names = subject.results.names
    lost = [
        f"{n} ({kind})"
        for kind, (text, write) in formats.items()
        for n in names
        if _dense(write(n)) not in _dense(text)
    ]
    markup = formats["HTML"][0]
    balanced = markup.count("<table") == markup.count("</table>") > 0
    return all_of(
        Finding(not lost, f"parameters not shown: {', '.join(lost) or 'none'}"),
        Finding(balanced, f"HTML tables {'closed' if balanced else 'missing or not closed'}"),
    )


def _dense(text: str) -> str:
    """Return text without the places at which a long name may be broken."""
    return "".join(text.replace("\\allowbreak{}", "").split())


def keeping(subject: Subject) -> Finding:
    """Prove that results saved and loaded are the same to the last bit, with their rows and without."""
    results, model = subject.results, subject.model
    is_code = isinstance(model, (FunctionModel, ModuleModel)) or model.data.has_nets  # which no file holds
    by = model if is_code else type(model)
    found = []
    with TemporaryDirectory() as folder:
        for data in (False, True):
            path = f"{folder}/{data}"
            results.save(path, data=data)
            again = load(path, by)
            pairs = {
                "params": (results.params, again.params),
                "errors": (results.cov_params(), again.cov_params()),
                "hessian": (results.hessian, again.hessian),
                "summary": (str(results.summary()), str(again.summary())),
            }
            if data and results.fit.objective.separable:
                robust = [subject.with_cov(r, "HC0").cov_params() for r in (results, again)]
                pairs["HC0"] = (robust[0], robust[1])
            other = [name for name, (a, b) in pairs.items() if not np.array_equal(np.asarray(a), np.asarray(b))]
            found.append(
                Finding(not other, f"{'with' if data else 'without'} rows: {', '.join(other) or 'no bit'} differs")
            )
    return all_of(*found)


def twin(subject: Subject) -> Finding:
    """Prove that another form of the model (opaque, declarative) has the same rows, scores and fit."""
    if subject.twin is None:
        raise NotApplicableError("no twin= was given")
    if subject.twin.nobs != subject.model.nobs:
        return Finding(False, f"the twin has {subject.twin.nobs} rows, the model {subject.model.nobs}")
    mine, theirs = subject.results, subject.twin.fit(method="newton")
    if len(theirs.names) != len(mine.names):
        return Finding(False, f"the twin has the parameters {', '.join(theirs.names)}")
    reported = mine.names == theirs.names
    a, b = (r.params.to_numpy() if reported else r.link_params.to_numpy() for r in (mine, theirs))
    errors = [_errors(r.fit.map, r.inference.covariance.matrix, r.fit.gamma, reported) for r in (mine, theirs)]
    return all_of(
        *_same_rows(subject, subject.twin, a, errors[0], reported),
        bounded("llf", abs(mine.llf - theirs.llf), subject.close * (1 + abs(mine.llf))),
        bounded("estimates", largest((a - b) / errors[0]), maxima(subject), "standard errors"),
        bounded("standard errors", largest(errors[1] / errors[0] - 1), 10 * maxima(subject), "of themselves"),
    )


def _errors(pmap: ParamMap, covariance: torch.Tensor, gamma: torch.Tensor, reported: bool) -> FloatArray:
    matrix = pmap.push(covariance, gamma) if reported else pmap.push_link(covariance, gamma)
    return matrix.diagonal().sqrt().numpy()


def _same_rows(
    subject: Subject, other: GenericLikelihoodModel, at: FloatArray, bse: FloatArray, reported: bool
) -> list[Finding]:
    """Compare log-likelihoods and scores by row at one and the same point."""
    whole = any(not objective_of(m)[0].separable for m in (subject.model, other))
    here, there = (_rows(m, at, reported, whole) for m in (subject.model, other))
    found = [bounded("log-likelihoods by row", largest(here[0] - there[0]), subject.close * (1 + largest(here[0])))]
    if here[1] is not None and there[1] is not None:
        gap = largest((here[1] - there[1]) * bse)
        found.append(bounded("scores by row", gap, subject.close * (1 + largest(here[1] * bse))))
    return found


def _rows(
    model: GenericLikelihoodModel, at: FloatArray, reported: bool, whole: bool
) -> tuple[FloatArray, FloatArray | None]:
    """Return values and scores by row at reported or at link-scale parameters; of the whole, its sum and None."""
    objective, pmap = objective_of(model)
    point = torch.from_numpy(at.copy())
    gamma = pmap.gamma(point) if reported else pmap.gamma_of_link(point)
    working = pmap.working(gamma)
    values = objective.values(working).cpu().double().numpy()
    if whole:
        return values.sum(keepdims=True), None
    if pmap.curve is not None:
        return values, pmap.reported_scores(gamma, objective.scores(working)).numpy()
    jacobian = pmap.jacobian(gamma) if reported else pmap.link_jacobian(gamma)
    scores = torch.linalg.solve(jacobian.mT, (objective.scores(working) / pmap.scale).mT).mT
    return values, scores.numpy()
