"""Newton's method: the step in a ball, saddles, curved valleys, and no extra evaluation where full steps do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm
from torchmle.models.problem import LikelihoodProblem
from torchmle.optim.base import Evaluation, Options, Status, minimise
from torchmle.optim.newton import Newton
from torchmle.optim.quasi import LBFGS
from torchmle.optim.trustregion import Quadratic, within

MROZ = tm.datasets.load("mroz")
CRIME, WAGES = tm.datasets.load("crime1"), tm.datasets.load("wage1")


class OwnTobit(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        mu, log_sigma = self.exog @ params[:-1], params[-1]
        z = (self.endog - mu) * torch.exp(-log_sigma)
        inside = tm.normal_logpdf(z) - log_sigma
        return torch.where(self.endog > 0, inside, tm.log_ndtr(-mu * torch.exp(-log_sigma)))


class Function:
    """A function of a vector as a problem for optimizers, with derivatives by autograd."""

    rounding, rows = 1e-13, 1

    def __init__(self, function):
        self.function, self.evaluations, self.orders = function, 0, []

    def evaluate(self, x, order):
        self.evaluations += 1
        self.orders.append(order)
        gradient = torch.autograd.functional.jacobian(self.function, x) if order else None
        hessian = torch.autograd.functional.hessian(self.function, x) if order > 1 else None
        return Evaluation(float(self.function(x)), gradient, hessian)


def maximised(function, start, method=Newton):
    problem = Function(function)
    return minimise(method(Options()), problem, torch.tensor(start, dtype=torch.float64), verdict_tol=1e-10), problem


# ---- the step in a ball

sizes = st.floats(-10, 10, allow_nan=False)
small = st.lists(sizes, min_size=2, max_size=5)


@settings(max_examples=200, deadline=None)
@given(values=small, slopes=small, radius=st.floats(0.01, 100))
def test_no_point_of_the_ball_is_lower(values, slopes, radius):
    k = min(len(values), len(slopes))
    lam, c = torch.tensor(sorted(values[:k]), dtype=torch.float64), torch.tensor(slopes[:k], dtype=torch.float64)

    def model(z):
        return z @ c + 0.5 * (z.square() * lam).sum(-1)

    z = within(lam, c, radius)
    assert float(z.norm()) <= radius * (1 + 1e-5)
    generator = torch.Generator().manual_seed(1)
    others = torch.randn(2000, k, generator=generator, dtype=torch.float64)
    others = others / others.norm(dim=1, keepdim=True) * radius * torch.rand(2000, 1, generator=generator).sqrt()
    # the length is right to 1e-6, and so is the value
    scale = float(c.norm()) * radius + float(lam.abs().max()) * radius**2
    assert float(model(z)) <= float(model(others).min()) + 1e-5 * scale + 1e-300


@pytest.mark.parametrize("slopes", [[0.0, 0.0], [0.0, 1.0], [0.0, 1e-3]])
def test_without_a_slope_along_negative_curvature_the_step_goes_there_all_the_same(slopes):
    z = within(torch.tensor([-2.0, 1.0]).double(), torch.tensor(slopes, dtype=torch.float64), 5.0)
    assert float(z.norm()) == pytest.approx(5.0)
    assert float(z[1]) == pytest.approx(-slopes[1] / 3, abs=1e-12)


def test_where_the_function_is_convex_the_full_step_is_newtons():
    hessian = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    gradient = torch.tensor([1.0, -1.0]).double()
    step = Quadratic(Evaluation(0.0, gradient, hessian)).step(math.inf)
    assert step.full
    torch.testing.assert_close(step.move, -torch.linalg.solve(hessian, gradient))
    assert step.gain == pytest.approx(0.5 * float(gradient @ torch.linalg.solve(hessian, gradient)))


# ---- functions

FUNCTIONS = {
    "saddle": (lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2, [0.0, 0.0], 0.0),
    "saddle, off the axis": (lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2, [0.0, 3.0], 0.0),
    "maximum": (lambda x: torch.cos(x[0]) + torch.cos(x[1]), [0.0, 0.0], -2.0),
    "curved valley": (lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, [-1.2, 1.0], 0.0),
    "log of a square": (lambda x: torch.log(1e-4 + (x**2).sum()), [30.0, -20.0], math.log(1e-4)),
    "narrow curved valley": (lambda x: 1e6 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, [-1.2, 1.0], 0.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_minimum_is_reached(name):
    function, start, least = FUNCTIONS[name]
    result, problem = maximised(function, start)
    assert result.status is Status.CONVERGED
    assert result.at.value == pytest.approx(least, abs=1e-12)
    assert problem.evaluations < 120


def test_a_plateau_is_flat_and_no_saddle():
    result, _ = maximised(lambda x: x[0] ** 2 + 0 * x[1], [1.0, 1.0])
    assert result.status is Status.FLAT


def test_what_falls_for_ever_is_no_minimum():
    result, _ = maximised(lambda x: -(x[0] ** 2) + x[1] ** 2, [1.0, 1.0])
    assert result.status in (Status.NO_MAXIMUM, Status.NOT_FINITE, Status.MAXITER)


# ---- ordinary likelihoods cost what Newton's method costs

# The numbers of evaluations that version 0.1 needed, which had a line search.
ORDINARY = {
    "logit": (lambda: tm.Logit.from_formula("inlf ~ educ + age + exper + kidslt6", MROZ), 7),
    "probit": (lambda: tm.Probit.from_formula("inlf ~ educ + age + exper + I(exper**2) + kidslt6", MROZ), 7),
    "poisson": (lambda: tm.Poisson.from_formula("narr86 ~ pcnv + avgsen + qemp86 + inc86 + black + hispan", CRIME), 8),
    "nb2": (
        lambda: tm.NegativeBinomial.from_formula(
            "narr86 ~ pcnv + avgsen + tottime + ptime86 + qemp86 + inc86 + black + hispan + born60", CRIME
        ),
        10,
    ),
    "ols": (lambda: tm.OLS.from_formula("lwage ~ educ + exper + tenure", WAGES), 2),
    "sigma": (lambda: tm.OLS.from_formula("lwage ~ educ + exper", WAGES, log_sigma="female"), 6),
    "tobit": (lambda: OwnTobit.from_formula("I(hours / 1000) ~ educ + kidslt6", MROZ), 8),
    "tobit in hours": (lambda: OwnTobit.from_formula("hours ~ educ + age + exper + kidslt6", MROZ), 23),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_no_more_evaluations_than_a_line_search(name, monkeypatch):
    build, before = ORDINARY[name]
    model, orders, evaluate = build(), [], LikelihoodProblem.evaluate

    def counted(self, x, order):
        orders.append(order)
        return evaluate(self, x, order)

    monkeypatch.setattr(LikelihoodProblem, "evaluate", counted)
    assert model.fit(method="newton").converged
    assert len(orders) <= before


# ---- many parameters


def test_lbfgs_needs_one_hessian_and_holds_nothing_of_its_size():
    k = 400
    curvature = torch.linspace(1.0, 50.0, k, dtype=torch.float64)
    result, problem = maximised(lambda x: (curvature * x**2).sum() + torch.logsumexp(x, 0), [1.0] * k, LBFGS)
    assert result.status is Status.CONVERGED
    assert problem.orders.count(2) == 1
    state = LBFGS(Options()).init(problem, torch.ones(k).double(), problem.evaluate(torch.ones(k).double(), 1))
    assert state.memory[0].factor is None


def test_quasi_newton_steps_are_those_of_the_textbook():
    """The rank-two update in one pass is equation 6.17 of Nocedal and Wright (2006)."""
    from torchmle.optim.quasi import BFGS

    rng = np.random.default_rng(5)
    root = rng.normal(size=(4, 4))
    H, s, y = (torch.from_numpy(v) for v in (root @ root.T, rng.normal(size=4), rng.normal(size=4)))
    y = y if float(s @ y) > 0 else -y
    rho = 1 / (s @ y)
    left = torch.eye(4, dtype=torch.float64) - rho * torch.outer(s, y)
    expected = left @ H @ left.mT + rho * torch.outer(s, s)
    torch.testing.assert_close(BFGS(Options())._update(H, s, y), expected)
