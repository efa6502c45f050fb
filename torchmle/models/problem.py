"""Join a log-likelihood and a parameter map to the problem that optimizers see."""

from __future__ import annotations

import torch
from torch import Tensor

from ..likelihood.objective import Objective
from ..optim.base import Evaluation
from ..params.map import ParamMap

VERDICT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Scaled gradient at the returned point below which it is a maximum, by dtype."""


class LikelihoodProblem:
    """Turn a log-likelihood to be maximised into a function of gamma to be minimised: the only change of sign."""

    def __init__(self, objective: Objective, pmap: ParamMap) -> None:
        self.objective, self.map = objective, pmap
        self.evaluations = 0

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.objective.rows

    def evaluate(self, x: Tensor, order: int) -> Evaluation:
        """Return minus the log-likelihood and its derivatives in gamma."""
        self.evaluations += 1
        m = self.objective.moments(self.map.working(x), order)
        gradient = None if m.gradient is None else -self.map.pull_gradient(m.gradient)
        hessian = None if m.hessian is None else -self.map.pull_matrix(m.hessian)
        return Evaluation(-m.llf, gradient, hessian)

    def batch(self, index: Tensor) -> LikelihoodProblem:
        """Return the problem on some of the rows."""
        return LikelihoodProblem(self.objective.take(index.to(self.objective.device)), self.map)
