"""Transforms of parameters: their definitions, derivatives, ranges, and fits against the same model without them."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.miscmodels.ordinal_model import OrderedModel
from torch.distributions import biject_to, constraints

import torchmle as tm
from torchmle.params.curve import make_curve
from torchmle.params.transforms import make_transform, symmetric_matrix

RNG = np.random.default_rng(7)
WAGE = tm.datasets.load("wage1")


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


# ---- the maps themselves

ELEMENTWISE = {  # ours, the bijection of torch.distributions that it must equal
    "positive": ("positive", constraints.positive),
    "unit interval": ("unit_interval", constraints.unit_interval),
    "interval": (("interval", -2.0, 3.0), constraints.interval(-2.0, 3.0)),
    "greater than": (("greater_than", 1.5), constraints.greater_than(1.5)),
    "less than": (("less_than", 1.5), constraints.less_than(1.5)),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_transforms_are_those_of_torch(name):
    ours, theirs = ELEMENTWISE[name]
    u = torch.linspace(-8, 8, 33, dtype=torch.float64)
    reference = biject_to(theirs)
    expected = reference(-u if name == "less than" else u)  # torch's falls in u here, ours always rises
    for spelled in (ours, theirs):
        transform = make_transform(spelled, len(u), "x")
        torch.testing.assert_close(transform.forward(u), expected, rtol=1e-14, atol=1e-14)
        assert bool((transform.forward(u).diff() > 0).all())


def test_blocks_are_what_they_say():
    u = torch.linspace(-1, 1, 6, dtype=torch.float64)
    ordered = make_transform("ordered", 6, "x").forward(u)
    torch.testing.assert_close(ordered.diff(), u[1:].exp(), rtol=1e-13, atol=0)
    simplex = make_transform("simplex", 7, "x").forward(u)
    torch.testing.assert_close(simplex, torch.softmax(torch.cat([u, u.new_zeros(1)]), 0))
    correlation = symmetric_matrix(make_transform("correlation", 6, "x").forward(u), False)
    torch.testing.assert_close(correlation.diagonal(), torch.ones(4, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(correlation).min()) > 0
    covariance = symmetric_matrix(make_transform("covariance", 6, "x").forward(u), True)
    factor = torch.linalg.cholesky(covariance)
    rows, columns = torch.tril_indices(3, 3)
    on = rows == columns
    torch.testing.assert_close(factor[rows, columns], torch.where(on, u.exp(), u))


BLOCKS = [("ordered", 4), ("simplex", 4), ("correlation", 3), ("correlation", 6), ("covariance", 3), ("covariance", 6)]
ALL = [*((given, 1) for given, _ in ELEMENTWISE.values()), *BLOCKS]


@pytest.mark.parametrize(("given", "size"), ALL, ids=str)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_there_and_back(given, size, data):
    transform = make_transform(given, size, "x")
    numbers = st.floats(-4, 4, allow_subnormal=False)
    u = vector(*data.draw(st.lists(numbers, min_size=transform.free, max_size=transform.free)))
    values = transform.forward(u)
    back = transform.to_free(values, [str(i) for i in range(size)])
    # a correlation near one keeps fewer digits of its free number: compare where the numbers are used
    torch.testing.assert_close(transform.forward(back), values, rtol=1e-10, atol=1e-12)
    if given not in ("correlation", "covariance"):
        torch.testing.assert_close(back, u, rtol=1e-8, atol=1e-8)


def curve_of(given, size):
    """A curve with plain parameters on both sides of a block that stands in another order."""
    names = ["a", *(f"b{i}" for i in range(size)), "c"]
    return make_curve(names, {tuple(f"b{i}" for i in reversed(range(size))): given})


@pytest.mark.parametrize(("given", "size"), ALL, ids=str)
def test_jacobian_and_curvature_equal_differences(given, size):
    curve = curve_of(given, size)
    u = vector(*RNG.normal(size=curve.free))
    weights = vector(*RNG.normal(size=size + 2))
    h = 1e-5
    eye = torch.eye(curve.free, dtype=torch.float64)
    slopes = torch.stack([(curve.forward(u + h * e) - curve.forward(u - h * e)) / (2 * h) for e in eye], 1)
    torch.testing.assert_close(curve.jacobian(u), slopes, rtol=1e-8, atol=1e-9)
    pulled = [(curve.jacobian(u + h * e) - curve.jacobian(u - h * e)).mT @ weights / (2 * h) for e in eye]
    torch.testing.assert_close(curve.curvature(u, weights), torch.stack(pulled), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(curve.inverse(curve.forward(u)), u, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("given", "values"), [
    ("positive", [0.0]), ("positive", [-1.0]), ("unit_interval", [1.0]), (("interval", 0, 2), [2.5]),
    (("greater_than", 1), [1.0]), (("less_than", 1), [1.0]), ("ordered", [1.0, 1.0]), ("ordered", [2.0, 1.0]),
    ("simplex", [0.5, 0.6]), ("simplex", [1.0, 0.0]), ("correlation", [1.0]), ("correlation", [0.9, 0.9, -0.9]),
    ("covariance", [1.0, 2.0, 1.0]), ("covariance", [-1.0]),
], ids=str)  # fmt: skip
def test_values_outside_are_refused(given, values):
    transform = make_transform(given, len(values), "x")
    with pytest.raises(tm.OptionError, match="outside its range"):
        transform.to_free(vector(*values), [f"x{i}" for i in range(len(values))])


def test_nothing_is_clipped_far_out():
    u = vector(-700.0, -30.0, 700.0)
    assert make_transform("positive", 3, "x").forward(u).tolist() == [math.exp(v) for v in u.tolist()]
    curve = make_curve(["p"], {"p": "unit_interval"})
    assert float(curve.jacobian(vector(-600.0))) == pytest.approx(math.exp(-600), rel=1e-12)


@pytest.mark.parametrize(("transforms", "words"), [
    ({"x": "positiv"}, "Did you mean 'positive'"),
    ({"y": "positive"}, "Unknown parameter in transforms: 'y'"),
    ({"x": 3}, "must be a name such as"),
    ({"x": None}, "must be a name such as"),
    ({"x": ()}, "must be a name such as"),
    ({"x": ("interval", 1)}, "takes 2 limits"),
    ({"x": ("positive", 1)}, "takes 0 limits"),
    ({"x": ("interval", 2, 1)}, "no interval"),
    ({"x": ("interval", 1, 1)}, "no interval"),
    ({"x": ("interval", 0, math.inf)}, "no interval"),
    ({"x": ("interval", "a", 1)}, "must be numbers"),
    ({"x": ("greater_than", math.nan)}, "no interval"),
    ({"x": ("greater_than", None)}, "must be numbers"),
    ({("x", "z"): "positive", "z": "positive"}, "z more than once"),
    ({"x": "simplex"}, "two shares or more"),
    ({("x", "z"): "correlation"}, "1, 3, 6"),
    ({("x", "z"): "covariance"}, "1, 3, 6"),
    ({("x", "z"): ("ordered", 2)}, "takes no limits"),
    ({"x": constraints.lower_cholesky}, "Unknown constraint of torch"),
    ({"x": torch.exp}, "must be a name such as"),
    ({3: "positive"}, "must be the name of a parameter"),
    ({(): "positive"}, "must be the name of a parameter"),
], ids=str)  # fmt: skip
def test_misuse_is_refused(transforms, words):
    with pytest.raises(tm.OptionError, match=words):
        make_curve(["x", "z"], transforms)


@pytest.mark.parametrize("transforms", [["sigma"], "positive", ("sigma", "positive")], ids=str)
def test_transforms_must_be_a_dict(transforms):
    own = type("Own", (SigmaNormal,), {"transforms": transforms})
    with pytest.raises(tm.OptionError, match="it must be a dict such as"):
        own.from_formula("lwage ~ educ + exper", WAGE).fit()


def test_a_declarative_model_has_natural_parameters_instead():
    class Declared(tm.LinearPredictorModel):
        predictors = {"mu": "1", "log_sigma": "1"}
        transforms = {"log_sigma:Intercept": "positive"}

        def logdensity(self, y, mu, log_sigma):
            return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma

    with pytest.raises(tm.OptionError, match="Give the predictor a natural parameter instead"):
        Declared.from_formula("lwage ~ educ", WAGE).fit()


@pytest.mark.parametrize("start", [None, {"Intercept": 0.5, "educ": 0.1, "exper": 0.0, "sigma": 2.0}], ids=str)
def test_starting_values_are_in_the_units_of_the_results(start):
    model = type("Own", (SigmaNormal,), {"start_params": None}).from_formula("lwage ~ educ + exper", WAGE)
    np.testing.assert_allclose(model.fit(start).params, fitted(SigmaNormal).params, rtol=1e-9)
    for bad in (0.0, -1.0):
        with pytest.raises(tm.OptionError, match="outside its range: positive"):
            model.fit([0.0, 0.0, 0.0, bad])
        with pytest.raises(tm.OptionError, match="outside its range: positive"):
            model.loglike([0.0, 0.0, 0.0, bad])


@pytest.mark.parametrize("constraint", [
    constraints.positive, constraints.positive_definite, constraints.simplex, constraints.unit_interval,
    constraints.interval(0, 1), constraints.greater_than(0), constraints.greater_than_eq(0),
    constraints.less_than(2), constraints.half_open_interval(0, 1), constraints.nonnegative,
], ids=str)  # fmt: skip
def test_constraints_of_torch(constraint):
    transform = make_transform(constraint, 3, "x")
    values = transform.forward(torch.full((transform.free,), 0.3, dtype=torch.float64))
    full = symmetric_matrix(values, True) if transform.kind == "covariance" else values
    assert bool(constraint.check(full).all())


# ---- fits


class LogNormal(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) * torch.exp(-params[-1])) - params[-1]


class SigmaNormal(tm.GenericLikelihoodModel):
    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}
    start_params = {"Intercept": 0.0, "educ": 0.0, "exper": 0.0, "sigma": 1.0}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - torch.log(params[-1])


class PlainSigma(SigmaNormal):
    lifting = False


def fitted(model, **options):
    extras = {"groups": "numdep"}
    return model.from_formula("lwage ~ educ + exper", WAGE, **extras).fit(**options)


@pytest.mark.parametrize("model", [SigmaNormal, PlainSigma])
@pytest.mark.parametrize("cov_type", ["nonrobust", "opg", "HC0", "HC1", "cluster"])
def test_sigma_equals_log_sigma_by_the_delta_method(model, cov_type):
    ours, logs = fitted(model, cov_type=cov_type), fitted(LogNormal, cov_type=cov_type)
    assert ours.converged
    sigma = math.exp(logs.params["log_sigma"])
    np.testing.assert_allclose(ours.params, [*logs.params[:-1], sigma], rtol=1e-9)
    jacobian = np.diag([1, 1, 1, sigma])
    # both covariances are exact at points that agree to 1e-9
    np.testing.assert_allclose(ours.cov_params(), jacobian @ logs.cov_params() @ jacobian, rtol=1e-7, atol=1e-14)
    assert ours.llf == pytest.approx(logs.llf, rel=1e-13)
    assert math.isnan(ours.pvalues["sigma"])
    assert ("lifted" in ours.engine) is model.lifting


def test_score_and_hessian_are_those_of_the_users_units():
    model = SigmaNormal.from_formula("lwage ~ educ + exper", WAGE)
    results = model.fit()
    plain = tm.OLS.from_formula("lwage ~ educ + exper", WAGE).fit()
    n, s2 = len(WAGE), (plain.resid**2).mean()
    assert results.params["sigma"] == pytest.approx(math.sqrt(s2), rel=1e-10)
    # d2 l / d sigma2 = n / s^2 - 3 ssr / s^4 = -2 n / s^2 at the maximum
    assert results.hessian.loc["sigma", "sigma"] == pytest.approx(-2 * n / s2, rel=1e-8)
    np.testing.assert_allclose(results.hessian, model.hessian(results.params), rtol=1e-8, atol=1e-6)
    at = {"Intercept": 0.1, "educ": 0.05, "exper": 0.01, "sigma": 0.7}
    ones = np.array(list(at.values()))
    h = 1e-6
    differences = [(model.loglike(ones + h * e) - model.loglike(ones - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(model.score(at), differences, rtol=1e-6)


@pytest.mark.parametrize("transform", [
    ("interval", 0.1, 5), ("greater_than", 0.2), ("less_than", 3.0), constraints.positive, constraints.interval(0, 9),
], ids=str)  # fmt: skip
def test_the_transform_does_not_change_the_answer(transform):
    own = type("Own", (SigmaNormal,), {"transforms": {"sigma": transform}})
    ours, other = fitted(own), fitted(SigmaNormal)
    np.testing.assert_allclose(ours.params, other.params, rtol=1e-9)
    np.testing.assert_allclose(ours.cov_params(), other.cov_params(), rtol=1e-6, atol=1e-14)


def test_fixed_constraints_and_bounds_beside_a_transform():
    model = SigmaNormal.from_formula("lwage ~ educ + exper", WAGE)
    ols = tm.OLS.from_formula("lwage ~ educ + exper", WAGE)
    held = model.fit(fixed={"sigma": 0.5})
    np.testing.assert_allclose(held.params[:-1], ols.fit().params, rtol=1e-9)
    assert held.params["sigma"] == 0.5
    assert held.bse["sigma"] == 0
    other = ols.fit(method="newton", fixed={"sigma": 0.5})
    np.testing.assert_allclose(held.bse, other.bse, rtol=1e-7)
    for options in ({"fixed": {"educ": 0.1}}, {"constraints": "educ = 10 * exper"}, {"bounds": {"educ": (0.12, None)}}):
        ours, other = model.fit(**options), ols.fit(method="newton", **options)
        np.testing.assert_allclose(ours.params, other.params, rtol=1e-8)
        np.testing.assert_allclose(ours.bse, other.bse, rtol=1e-6)
    bounded = model.fit(bounds={"sigma": (0.6, None)})
    assert bounded.params["sigma"] == pytest.approx(0.6, rel=1e-14)
    assert math.isnan(bounded.bse["sigma"])
    with pytest.raises(tm.OptionError, match="outside its range"):
        model.fit(fixed={"sigma": -1})
    with pytest.raises(tm.OptionError, match="no value of 'sigma' is at most -1"):
        model.fit(bounds={"sigma": (None, -1)})


@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "bhhh", "scipy:BFGS"])
def test_other_methods_agree(method):
    newton, other = fitted(SigmaNormal), fitted(SigmaNormal, method=method)
    assert other.converged
    assert ((other.params - newton.params).abs() <= 1e-5 * newton.bse).all()


def test_a_parameter_that_runs_to_the_edge_is_no_estimate():
    class Rate(tm.GenericLikelihoodModel):  # the maximum is at p = 1, which no free number reaches
        extra_params = ("p",)
        transforms = {"p": "unit_interval"}
        start_params = {"p": 0.5}

        def loglikeobs(self, params):
            return self.endog * torch.log(params[0]) + (1 - self.endog) * torch.log1p(-params[0])

    with pytest.warns(tm.ConvergenceWarning):
        results = Rate(np.ones(50)).fit()
    assert not results.converged
    assert math.isnan(results.bse["p"])


# ---- ordered cut points


def test_ordered_cut_points_equal_statsmodels():
    frame = WAGE.assign(level=np.digitize(WAGE.lwage, [1.2, 1.6, 2.1]))

    def ordered_probit(p, d):
        eta, cuts = d["exog"] @ p["beta"], p["cuts"]
        ends = torch.cat([cuts.new_tensor([-1e6]), cuts, cuts.new_tensor([1e6])])
        y = d["endog"].long()
        return tm.log_diff_ndtr(ends[y + 1] - eta, ends[y] - eta)

    start = {"beta": "exog", "cuts": [-1.0, 0.0, 1.0]}
    model = tm.likelihood(
        ordered_probit, start, frame, formula="level ~ 0 + educ + exper", transforms={"cuts": "ordered"}
    )
    ours = model.fit()
    theirs = OrderedModel(frame.level, frame[["educ", "exper"]], distr="probit")
    reference = theirs.fit(method="newton", disp=False, maxiter=100, tol=1e-14)
    found = np.asarray(reference.params)
    cuts = theirs.transform_threshold_params(found)[1:-1]
    assert ours.llf == pytest.approx(reference.llf, rel=1e-12)
    np.testing.assert_allclose(ours.params, [*found[:2], *cuts], rtol=1e-6)  # their optimizer's accuracy
    # statsmodels has the first cut and logs of steps; its covariance comes from numerical second derivatives
    steps = np.exp(found[3:])
    J = np.eye(5)
    J[3:, 2] = 1
    J[3, 3], J[4, 3], J[4, 4] = steps[0], steps[0], steps[1]
    np.testing.assert_allclose(ours.cov_params(), J @ np.asarray(reference.cov_params()) @ J.T, rtol=1e-3, atol=1e-8)


# ---- shares of a mixture

DRAWS = np.concatenate([RNG.normal(-3, 1, 400), RNG.normal(0, 1, 250), RNG.normal(4, 1, 150)])
CENTRES = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64)


def mixture(p, d):
    return torch.logsumexp(tm.normal_logpdf(d["y"][:, None] - CENTRES) + torch.log(p["share"]), 1)


def logits(p, d):
    logs = torch.log_softmax(torch.cat([p["a"], p["a"].new_zeros(1)]), 0)
    return torch.logsumexp(tm.normal_logpdf(d["y"][:, None] - CENTRES) + logs, 1)


@pytest.mark.parametrize("lifting", [True, False])
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC1"])
def test_shares_equal_free_logits_by_the_delta_method(lifting, cov_type):
    start = {"share": [0.4, 0.3, 0.3]}
    options = {"transforms": {"share": "simplex"}, "lifting": lifting}
    ours = tm.likelihood(mixture, start, {"y": DRAWS}, **options).fit(cov_type=cov_type)
    free = tm.likelihood(logits, {"a": [0.0, 0.0]}, {"y": DRAWS}).fit(cov_type=cov_type)
    p = np.append(np.exp(free.params), 1) / (1 + np.exp(free.params).sum())
    np.testing.assert_allclose(ours.params, p, rtol=1e-9)
    J = (np.diag(p) - np.outer(p, p))[:, :2]
    V = ours.cov_params().to_numpy()
    np.testing.assert_allclose(V, J @ free.cov_params() @ J.T, rtol=1e-7)
    assert abs(V.sum(1)).max() < 1e-15
    assert ours.df_resid == free.df_resid
    assert ours.params.sum() == pytest.approx(1, abs=1e-15)
    with pytest.raises(tm.OptionError, match="belongs to a block"):
        ours.model.fit(fixed={"share[0]": 0.5})
    with pytest.raises(tm.OptionError, match="belongs to a block"):
        ours.model.fit(bounds={"share[0]": (0.5, None)})
    with pytest.raises(tm.OptionError, match="outside its range"):
        ours.model.fit([0.5, 0.5, 0.5])


# ---- covariance and correlation of a multivariate normal

L = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [-0.3, 0.5, 0.9]])
Y = RNG.normal(size=(700, 3)) @ L.T * [1.0, 5.0, 0.2] + [1.0, -2.0, 30.0]
S = np.cov(Y.T, bias=True)


def multivariate(mean, covariance, y):
    factor = torch.linalg.cholesky(covariance)
    z = torch.linalg.solve_triangular(factor, (y - mean).mT, upper=False)
    return tm.normal_logpdf(z).sum(0) - factor.diagonal().log().sum()


def test_multivariate_normal_by_covariance():
    def density(p, d):
        return multivariate(p["mean"], p["Sigma"], d["y"])

    start = {"mean": [0.0, 0.0, 20.0], "Sigma": np.diag([1.0, 9.0, 25.0])}
    model = tm.likelihood(density, start, {"y": Y}, transforms={"Sigma": "covariance"})
    results = model.fit()
    assert results.converged
    found = model.unpack(results.params)
    np.testing.assert_allclose(found["mean"], Y.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["Sigma"], S, rtol=1e-9)
    n = len(Y)
    np.testing.assert_allclose(results.bse[:3], np.sqrt(S.diagonal() / n), rtol=1e-9)
    # var S_ij = (S_ii S_jj + S_ij^2) / n by the inverse information of the normal
    i, j = np.tril_indices(3)
    np.testing.assert_allclose(results.bse[3:], np.sqrt((S[i, i] * S[j, j] + S[i, j] ** 2) / n), rtol=1e-8)
    assert list(results.params.index[3:6]) == ["Sigma[0,0]", "Sigma[1,0]", "Sigma[1,1]"]
    assert results.pvalues.isna().tolist() == [False] * 3 + [True, False, True, False, False, True]


def test_multivariate_normal_by_correlation():
    def density(p, d):
        return multivariate(p["mean"], p["R"] * p["s"][:, None] * p["s"], d["y"])

    labels = ["a", "b", "c"]
    eye = pd.DataFrame(np.eye(3), labels, labels)
    start = {"mean": [0.0, 0.0, 20.0], "s": [1.0, 3.0, 5.0], "R": eye}
    model = tm.likelihood(density, start, {"y": Y}, transforms={"R": "correlation", "s": "positive"})
    results = model.fit()
    R = np.corrcoef(Y.T)
    np.testing.assert_allclose(model.unpack(results.params)["R"], R, rtol=1e-8)
    np.testing.assert_allclose(results.params[["s[0]", "s[1]", "s[2]"]], np.sqrt(S.diagonal()), rtol=1e-9)
    names = ["R[b,a]", "R[c,a]", "R[c,b]"]
    assert list(results.params.index[-3:]) == names
    r = results.params[names]
    # the asymptotic error of a correlation: (1 - r^2) / sqrt(n)
    np.testing.assert_allclose(results.bse[names], (1 - r**2) / math.sqrt(len(Y)), rtol=1e-7)
    np.testing.assert_allclose(results.bse[["s[0]", "s[1]", "s[2]"]], np.sqrt(S.diagonal() / 2 / len(Y)), rtol=1e-8)


def test_a_linear_model_with_a_share_of_known_sum():
    """Two shares as a simplex equal one regression coefficient between 0 and 1."""
    x, z = RNG.normal(size=(2, 500))
    y = 0.3 * x + 0.7 * z + RNG.normal(size=500) * 0.5

    def density(p, d):
        return tm.normal_logpdf(d["y"] - p["w"][0] * d["x"] - p["w"][1] * d["z"])

    results = tm.likelihood(density, {"w": [0.5, 0.5]}, {"y": y, "x": x, "z": z}, transforms={"w": "simplex"}).fit()
    ols = sm.OLS(y - z, x - z).fit()
    np.testing.assert_allclose(results.params, [ols.params[0], 1 - ols.params[0]], rtol=1e-9)
    np.testing.assert_allclose(results.bse, np.full(2, ols.bse[0] / math.sqrt(ols.scale)), rtol=1e-9)
