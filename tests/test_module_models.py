"""Modules as likelihoods: against closed forms, statsmodels, bare torch and formulas by hand."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from sklearn.datasets import load_digits
from torch import nn

import torchmle as tm
from torchmle.loglik.modules import call_with

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.sigma = nn.Parameter(torch.tensor(1.0))


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))
        self.noise = Scale()

    def mean(self, x):
        return self.alpha + self.beta * x

    def forward(self, x, y):
        return tm.normal_logpdf((y - self.mean(x)) / self.noise.sigma) - torch.log(self.noise.sigma)


class Normal(tm.ModuleModel):
    """A normal response of variance one around what the module returns."""

    def mean(self, output):
        return output.reshape(len(output))

    def logdensity(self, y, output):
        return tm.normal_logpdf(y - output.reshape(len(output)))


def line(**options):
    return tm.ModuleModel(WAGE.lwage, WAGE.educ, module=Line(), **options)


def mlp(inputs=2, hidden=3, outputs=1, activation=nn.Tanh, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, outputs))


def simulated(n=300, seed=1):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    y = torch.sin(X[:, 0]) + 0.5 * X[:, 1] + torch.randn(n, generator=generator, dtype=torch.float64)
    return y, X


def digits():
    images, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return images.reshape(-1, 1, 8, 8)[order] / 16, y[order]


# ---- the straight line


def test_a_line_trained_then_maximised_is_least_squares():
    trained = line().fit(method="adam", maxiter=300, options={"lr": 0.05})
    assert trained.fit.status.value == "trained"
    assert not trained.converged
    assert trained.bse.isna().all()
    res = line().fit(resume=trained, method="newton")
    X = np.column_stack([np.ones(len(WAGE)), WAGE.educ])
    beta, (ssr,), *_ = np.linalg.lstsq(X, WAGE.lwage, rcond=None)
    sigma = np.sqrt(ssr / len(WAGE))
    assert res.converged
    np.testing.assert_allclose(res.params, [*beta, sigma], rtol=1e-9)
    V = sigma**2 * np.linalg.inv(X.T @ X)
    np.testing.assert_allclose(res.bse, [*np.sqrt(V.diagonal()), sigma / np.sqrt(2 * len(WAGE))], rtol=1e-7)
    # the data are those of the closed form: 300 epochs of Adam come near it, and Newton's method ends on it
    assert abs(trained.llf - res.llf) < 1e-3
    assert list(res.params.index) == ["alpha", "beta", "noise.sigma"]


@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
def test_robust_errors_of_the_line_are_those_of_least_squares(cov_type):
    res = line().fit(cov_type="HC0")
    ref = sm.OLS(WAGE.lwage, sm.add_constant(WAGE.educ)).fit(cov_type="HC0")
    # the scores of the coefficients, and so the sandwich of these two, are those of least squares: the information
    # is block diagonal up to the third moments of the residuals, which enter through sigma
    H = res.hessian.to_numpy()
    scores = line().score_obs(res.params)
    sandwich = np.linalg.inv(H) @ scores.T @ scores @ np.linalg.inv(H)
    np.testing.assert_allclose(res.cov_params(), sandwich, rtol=1e-8)
    np.testing.assert_allclose(res.bse.iloc[:2], ref.bse, rtol=1e-6)
    n, K = len(WAGE), 3
    hc1 = res.with_cov(cov_type).cov_params().to_numpy()
    np.testing.assert_allclose(hc1, sandwich * (n / (n - K) if cov_type == "HC1" else 1), rtol=1e-8)


@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "bhhh", "scipy:BFGS"])
def test_every_exact_method_ends_at_the_same_point(method):
    np.testing.assert_allclose(line().fit(method=method).params, line().fit().params, rtol=1e-5)


def test_names_within_tensors_and_lists():
    net = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.ModuleList([nn.Linear(1, 1)])})
    assert tm.parameter_names(net) == (
        *(f"a.weight[{i},{j}]" for i in range(2) for j in range(2)),
        "b.0.weight",
        "b.0.bias",
    )


@pytest.mark.parametrize("method", ["newton", "adam"])
def test_parameters_are_fixed_by_name(method):
    model = line()
    options = {} if method == "newton" else {"options": {"lr": 0.05}, "maxiter": 1500}
    res = model.fit(method=method, fixed={"noise.sigma": 0.5}, **options)
    free = model.fit()
    assert res.params["noise.sigma"] == 0.5
    np.testing.assert_allclose(res.params.iloc[:2], free.params.iloc[:2], atol=1e-4)  # least squares for any sigma
    assert res.bse["noise.sigma"] == 0.0
    assert "(fixed)" in str(res.summary())


def test_an_entry_of_a_tensor_is_fixed_while_training():
    y, X = simulated()
    model = Normal(y, X, module=nn.Linear(2, 1))
    res = model.fit(method="adam", maxiter=600, fixed={"weight[0,1]": 0.25}, options={"lr": 0.05})
    rest = np.linalg.lstsq(np.column_stack([X[:, 0], np.ones(len(y))]), (y - 0.25 * X[:, 1]).numpy(), rcond=None)[0]
    assert res.params["weight[0,1]"] == 0.25
    np.testing.assert_allclose(res.params[["weight[0,0]", "bias"]], rest, atol=1e-6)


def test_bounds_and_ties_hold():
    res = line().fit(bounds={"beta": (0.1, None)})
    assert res.params["beta"] == pytest.approx(0.1)
    tied = line().fit(constraints="alpha = beta").params
    x = 1 + WAGE.educ
    assert tied["alpha"] == pytest.approx(float((x * WAGE.lwage).sum() / (x**2).sum()), rel=1e-7)


# ---- weights, rows, data


@pytest.mark.parametrize("method", ["newton", "adam"])
def test_integer_weights_are_repeated_rows(method):
    w = np.arange(len(WAGE)) % 3
    rows = WAGE.loc[WAGE.index.repeat(w)].reset_index(drop=True)
    options = {} if method == "newton" else {"method": "adam", "maxiter": 50, "options": {"lr": 0.05}}
    a = line(freq_weights=w).fit(**options)
    b = tm.ModuleModel(rows.lwage, rows.educ, module=Line()).fit(**options)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-8)  # sums in another order
    assert a.nobs == b.nobs == len(rows)
    assert a.llf == pytest.approx(b.llf, rel=1e-9)
    if method == "newton":
        np.testing.assert_allclose(a.bse, b.bse, rtol=1e-7)


def test_missing_rows_go_and_clusters_are_sums_of_scores():
    table = WAGE.copy()
    table.loc[5, "educ"] = np.nan
    res = tm.ModuleModel(table.lwage, table.educ, module=Line(), groups=table.south).fit(cov_type="cluster")
    kept = table.drop(index=5)
    model = tm.ModuleModel(kept.lwage, kept.educ, module=Line())
    scores = pd.DataFrame(model.score_obs(res.params)).groupby(kept.south.to_numpy()).sum().to_numpy()
    bread = np.linalg.inv(model.hessian(res.params))
    n, K, G = len(kept), 3, 2
    V = bread @ scores.T @ scores @ bread * G / (G - 1) * (n - 1) / (n - K)
    assert res.nobs == n
    np.testing.assert_allclose(res.cov_params(), V, rtol=1e-6)


def test_columns_are_kept_as_they_are():
    y, X = simulated()
    both = torch.cat([X, X[:, :1], torch.zeros(len(y), 1, dtype=X.dtype)], 1)  # one twice, one empty
    assert Normal(y, both, module=mlp(4)).exog.shape == (len(y), 4)
    table = pd.DataFrame({"y": y, "a": X[:, 0], "b": X[:, 0]})
    assert Normal.from_formula("y ~ a + b", table, module=mlp(3)).exog_names == ["Intercept", "a", "b"]


class Batch(nn.Module):
    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        return tm.normal_logpdf(batch.endog - self.b * batch.exog - batch.known) + 0 * batch.images.sum((1, 2))


def test_a_single_argument_gets_the_batch():
    y, X = simulated()
    known, images = X[:, 1].numpy(), np.ones((len(y), 2, 2))
    res = tm.ModuleModel(y, X[:, 0], module=Batch(), row_data={"known": known, "images": images}).fit()
    assert res.params["b"] == pytest.approx(float((X[:, 0] * (y - X[:, 1])).sum() / (X[:, 0] ** 2).sum()))


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, y, z, offset):
        return tm.normal_logpdf(y - self.b * z - offset)


def test_arguments_are_found_by_name_and_others_refused():
    y, X = simulated()
    model = tm.ModuleModel(y, row_data={"z": X[:, 0]}, offset=X[:, 1], module=Takes())
    assert model.fit().params["b"] == pytest.approx(
        float((X[:, 0] * (y - X[:, 1])).sum() / (X[:, 0] ** 2).sum()), rel=1e-9
    )
    with pytest.raises(tm.OptionError, match=r"takes 'offset'.*may be called y, endog, z"):
        tm.ModuleModel(y, row_data={"z": X[:, 0]}, module=Takes())
    with pytest.raises(tm.OptionError, match="exog was not given"):
        tm.ModuleModel(y, module=Line())


# ---- what is wrong with a module


def forward(function):
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Parameter(torch.ones(()))

        def forward(self, x, y):
            return function(self.b, x, y)

    return Wrong()


@pytest.mark.parametrize("method", ["newton", "adam"])
@pytest.mark.parametrize(("function", "text"), [
    (lambda b, x, y: (b * x - y)[:, None], r"shape \(526, 1\)|shape \(\d+, 1\)"),
    (lambda b, x, y: (b * x - y).sum(), "a scalar"),
    (lambda b, x, y: (b * x - y).detach(), "does not depend on the parameters"),
    (lambda b, x, y: torch.log(-b * x) - y, "NaN"),
    (lambda b, x, y: None, "returned None"),
    (lambda b, x, y: (b * x - y).detach().numpy(), "numpy"),
    (lambda b, x, y: (b * x - y)[:, None] - x, r"\.squeeze"),
    (lambda b, x, y: -((b * x - y + torch.rand(len(x))) ** 2), "different values for the same parameters"),
    (lambda b, x, y: (b * x - y).float(), "float32"),
    (lambda b, x, y: b * x - y.nothing, "AttributeError"),
], ids=["column", "scalar", "detached", "nan", "none", "numpy", "square", "random", "single", "raises"])  # fmt: skip
def test_each_wrong_output_has_its_own_error(function, text, method):
    with pytest.raises(tm.LikelihoodError, match=text):
        tm.ModuleModel(WAGE.lwage, WAGE.educ, module=forward(function)).fit(method=method, maxiter=3)


def test_rows_that_know_of_each_other_cannot_be_trained():
    coupled = forward(lambda b, x, y: -((y - b * (x - x.mean())) ** 2))
    with pytest.raises(tm.OptionError, match="rows that can be parted"):
        tm.ModuleModel(WAGE.lwage, WAGE.educ, module=coupled).fit(method="adam", maxiter=2)
    assert tm.ModuleModel(WAGE.lwage, WAGE.educ, module=coupled).fit().converged  # as a whole


@pytest.mark.parametrize(("module", "text"), [
    (Line, "is the class Line"),
    (lambda x: x, "must be a torch.nn.Module"),
    (nn.ReLU(), "no parameter to estimate"),
    (nn.LazyLinear(1), "no shape yet"),
    (None, "give module=, or define create_model"),
])  # fmt: skip
def test_what_is_no_module_is_refused(module, text):
    with pytest.raises(tm.OptionError, match=text):
        tm.ModuleModel(WAGE.lwage, WAGE.educ, module=module)


@pytest.mark.parametrize(("options", "text"), [
    ({"bounds": {"beta": (0, 1)}}, "bounds is not available"),
    ({"tol": 1e-3}, "tol is not available"),
    ({"options": {"validation": "some"}}, "share of the rows"),
    ({"options": {"validation": 1.5}}, "empty part"),
    ({"options": {"patience": 3}}, "held back"),
    ({"options": {"lrr": 3}}, "lr"),
    ({"options": {"starts": 3}}, "starts"),
    ({"cov_kwds": {"block": ["gamma"]}}, "parameter in the block"),
    ({"cov_type": "HC9"}, "HC"),
])  # fmt: skip
def test_what_training_cannot_do_is_refused(options, text):
    with pytest.raises(tm.TorchmleError, match=text):
        line().fit(method="adam", maxiter=1, **options)


@pytest.mark.parametrize("given", [{"exposure": np.ones(526)}, {"collinear": "drop"}, {"modul": 1}])
def test_keywords_that_there_are_not(given):
    with pytest.raises(tm.OptionError, match="Unknown argument of ModuleModel"):
        line(**given)


# ---- nothing of the user's is changed


@pytest.mark.parametrize("fit", [{}, {"method": "adam", "maxiter": 3}])
def test_module_and_generators_are_as_they_were(fit):
    module = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Dropout(0.2), nn.Linear(2, 1))
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    model = Normal(WAGE.lwage, WAGE.educ.to_frame(), module=module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        model.fit(**{"maxiter": 1, **fit})
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert module.training
    assert next(module.parameters()).dtype == torch.float32
    assert next(module.parameters()).grad is None
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


class Made(Normal):
    def create_model(self):
        return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


def test_a_created_module_is_the_same_for_the_same_seed():
    y, X = simulated()
    state = torch.get_rng_state()
    first, again, other = (Made(y, X, seed=s).start_params for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert Made.from_formula("y ~ 0 + a + b", pd.DataFrame({"y": y, "a": X[:, 0], "b": X[:, 1]})).network.size == 17


def test_the_same_seed_gives_the_same_bits():
    y, X = simulated()
    a, b, c = (Made(y, X).fit(method="adam", batch_size=32, maxiter=5, seed=s) for s in (1, 1, 2))
    assert a.params.equals(b.params)
    assert not a.params.equals(c.params)


# ---- derivatives


def test_hessian_and_scores_are_those_of_plain_torch():
    y, X = simulated(80)
    model = Normal(y, X, module=mlp())
    at = model.start_params

    def total(v):
        return tm.normal_logpdf(y - call_with(model.module, v, X)[:, 0]).sum()

    np.testing.assert_allclose(model.hessian(at), torch.autograd.functional.hessian(total, at), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(model.score(at), torch.autograd.functional.jacobian(total, at), rtol=1e-9)
    rows = torch.func.jacrev(lambda v: tm.normal_logpdf(y - call_with(model.module, v, X)[:, 0]))(at)
    np.testing.assert_allclose(model.score_obs(at), rows, rtol=1e-9, atol=1e-12)
    trained = model.fit(method="adam", maxiter=3)
    np.testing.assert_allclose(
        trained.hessian, torch.autograd.functional.hessian(total, torch.tensor(trained.params.to_numpy())), rtol=1e-8
    )


def test_a_hessian_after_training_is_computed_when_asked_for():
    y, X = simulated(20)
    res = Normal(y, X, module=mlp(hidden=51)).fit(method="adam", maxiter=2)
    assert len(res.fit.derivatives[1]) == 0  # 205 parameters: not by itself
    at = torch.tensor(res.params.to_numpy())
    want = torch.autograd.functional.hessian(
        lambda v: tm.normal_logpdf(y - call_with(res.module, v, X)[:, 0]).sum(), at
    )
    np.testing.assert_allclose(res.hessian, want, rtol=1e-7, atol=1e-9)


def test_threads_do_not_see_each_others_parameters():
    _, X = simulated(200)
    module = mlp(hidden=50).double()
    at = tm.to_vector(module)
    points = [at * (1 + k / 10) for k in range(8)]
    alone = [call_with(module, p, X) for p in points]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(lambda p: call_with(module, p, X), points))
            assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_many_rows_in_chunks_and_threads_are_the_sum(monkeypatch):
    from torchmle.models.neural import objective

    y, X = simulated(3_000)
    model = Normal(y, X, module=mlp())
    whole = model.hessian(model.start_params)
    monkeypatch.setattr(objective, "ROOM", {"cpu": 20_000})
    assert model.make_objective(model.make_map(model.param_names)).chunk < 500
    np.testing.assert_allclose(model.hessian(model.start_params), whole, rtol=1e-10, atol=1e-9)


def test_kinks_of_relu_are_no_wrong_derivatives():
    y, X = simulated(400)
    model = Normal(y, X, module=mlp(activation=nn.ReLU))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.ConvergenceWarning)
        res = model.fit(method="bfgs")
    assert res.fit.status.value in ("converged", "flat", "stalled", "no_maximum")
    assert res.llf > model.loglike(model.start_params)


# ---- errors of a part


class Partly(nn.Module):
    def __init__(self):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))
        self.net = mlp(1, 12)

    def forward(self, x, y):
        return tm.normal_logpdf(y - self.alpha - self.beta * x[:, 1] - self.net(x[:, :1])[:, 0])


@pytest.mark.parametrize("way", ["method", "fit"])
def test_errors_of_a_block_are_the_sandwich_given_the_net(way):
    y, X = simulated(400)
    model = tm.ModuleModel(y, X, module=Partly())
    options = {"method": "adam", "maxiter": 60, "options": {"lr": 0.02}}
    res = model.fit(**options)
    block = res.block_errors(["alpha", "beta"])
    net = res.module.net(X[:, :1])[:, 0].detach()  # given: what is left is least squares on a constant and x2
    Z, r = torch.stack([torch.ones_like(y), X[:, 1]], 1), y - net
    b = torch.linalg.solve(Z.T @ Z, Z.T @ r)
    S = Z * (r - Z @ b)[:, None]
    bread = torch.linalg.inv(Z.T @ Z)
    V = bread @ S.T @ S @ bread
    np.testing.assert_allclose(block.params, b, rtol=1e-8)
    np.testing.assert_allclose(block.cov_params(), V, rtol=1e-7)
    assert "iven the network's weights" in str(block.summary())
    if way == "fit":
        whole = model.fit(**options, cov_kwds={"block": ["alpha", "beta"]})
        assert not whole.converged
        np.testing.assert_allclose(whole.params[["alpha", "beta"]], b, rtol=1e-8)
        np.testing.assert_allclose(whole.bse[["alpha", "beta"]], V.diagonal().sqrt(), rtol=1e-7)
        assert whole.bse.drop(["alpha", "beta"]).isna().all()
        assert whole.llf == pytest.approx(float(tm.normal_logpdf(r - Z @ b).sum()), rel=1e-9)
        assert whole.llf > res.llf
        text = " ".join(str(whole.summary()).split())
        assert "Standard errors: of alpha, beta only: heteroskedasticity" in text
        assert whole.cov_type == "HC0"


def test_summary_of_many_weights_lists_layers_and_single_numbers():
    y, X = simulated(100)
    res = tm.ModuleModel(y, X, module=Partly()).fit(method="adam", maxiter=2)
    short = tm.ModuleModel(y, X, module=nn.ModuleDict({"a": Partly()})["a"]).fit(maxiter=2, method="adam")
    assert short.listed == res.listed  # 39 parameters: all are listed
    big = Made(y, X, module=mlp(hidden=100)).fit(maxiter=2)
    text = str(big.summary())
    assert big.method == "adam"
    assert "100 x 2" in text
    assert "weight[" not in text
    assert "not identified one by one" in " ".join(text.split())
    for render in ("as_html", "as_latex", "as_markdown", "as_csv"):
        assert "100 x 2" in getattr(big.summary(), render)()


def test_a_large_module_costs_no_matrix():
    y, X = simulated(40)
    res = Normal(y, X, module=mlp(hidden=50_000)).fit(batch_size=20, maxiter=2)  # 200,001 parameters
    assert len(res.params) == len(res.bse) == 200_001
    assert res.bse.isna().all()
    assert len(str(res.summary()).splitlines()) < 40
    for ask in (res.cov_params, lambda: res.hessian, lambda: res.wald_test("0.bias[0] = 0")):
        with pytest.raises(tm.UndefinedStatisticError):
            ask()
    with pytest.raises(tm.OptionError, match="needs the Hessian of all 200001"):
        Normal(y, X, module=mlp(hidden=50_000)).fit(method="newton")


def test_dropout_is_off_in_what_is_reported_and_errors_are_refused():
    y, X = simulated(200)
    module = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Dropout(0.3), nn.Linear(30, 1))
    res = Normal(y, X, module=module).fit(method="adam", batch_size=50, maxiter=5)
    with torch.no_grad():
        want = tm.normal_logpdf(y - res.module(X)[:, 0]).sum()
    assert res.llf == pytest.approx(float(want), rel=1e-12)
    assert not res.module.training
    for ask in (lambda: res.block_errors("3"), lambda: res.laplace("3"), lambda: res.hessian):
        with pytest.raises(tm.UndefinedStatisticError, match="under dropout"):
            ask()


def test_the_buffers_of_a_batch_norm_belong_to_the_results():
    y, X = simulated(200)
    module = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    model = Normal(5 + y, 3 * X, module=module)
    res = model.fit(method="adam", batch_size=50, maxiter=10)
    moved = res.module[1].running_mean
    assert not torch.equal(moved, torch.zeros(8))
    assert torch.equal(model.module[1].running_mean, torch.zeros(8, dtype=torch.float64))
    with torch.no_grad():
        want = res.module(3 * X)[:, 0]
    np.testing.assert_allclose(res.predict(), want, rtol=1e-12)
    more = model.fit(method="adam", batch_size=50, maxiter=12, resume=res)
    assert more.params.equals(model.fit(method="adam", batch_size=50, maxiter=12).params)


def test_laplace_is_the_hessian_of_the_layer_and_the_prior():
    images, y = digits()
    X = torch.tensor(images[:300]).flatten(1)[:, 20:28]
    model = tm.Classifier(y[:300] % 3, X, module=nn.Linear(8, 3))
    res = model.fit(method="adam", maxiter=200, options={"lr": 0.05})
    found = res.laplace("bias", prior_precision=2.0)
    with torch.no_grad():
        P = torch.softmax(res.module(X), 1)
    information = torch.diag(P.sum(0)) - P.T @ P
    want = torch.linalg.inv(information + 2 * torch.eye(3, dtype=torch.float64))
    np.testing.assert_allclose(found.cov_params(), want, rtol=1e-8)
    probabilities = found.predict(X[:5], draws=50)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(probabilities, res.predict(X[:5]), atol=0.1)  # the layer is well determined
    assert found.predict(X[:5], draws=50).equals(probabilities)
    with pytest.raises(tm.OptionError, match="parameter in the block"):
        res.laplace("biass")


# ---- classes


def test_one_logit_is_a_logit_model():
    X = MROZ[["educ", "age"]]
    ref = sm.Logit(MROZ.inlf, sm.add_constant(X)).fit(disp=0)
    for module in (nn.Linear(2, 1), nn.Linear(2, 2)):
        model = tm.Classifier(MROZ.inlf, X, module=module)
        if module.out_features == 2:
            fixed = {"weight[0,0]": 0.0, "weight[0,1]": 0.0, "bias[0]": 0.0}
            res = model.fit(fixed=fixed)
            params = res.params[["bias[1]", "weight[1,0]", "weight[1,1]"]]
        else:
            res = model.fit()
            params = res.params[["bias", "weight[0,0]", "weight[0,1]"]]
            np.testing.assert_allclose(res.bse[params.index], ref.bse, rtol=1e-5)
        np.testing.assert_allclose(params, ref.params, rtol=1e-5)
        np.testing.assert_allclose(res.predict(which="mean"), ref.predict(), rtol=1e-6)
        np.testing.assert_allclose(res.predict().sum(axis=1), 1)


def test_labels_of_any_kind_come_back():
    X = MROZ[["educ", "age"]].to_numpy()
    text = np.where(MROZ.inlf == 1, "works", "at home")
    res = tm.Classifier(text, X, module=nn.Linear(2, 2)).fit(method="adam", maxiter=50)
    assert list(res.predict(X[:2]).columns) == ["at home", "works"]
    assert res.classify(X[0]) in ("at home", "works")
    assert res.classify(X[:3]).tolist() == res.predict(X[:3], "class").tolist()
    assert set(res.predict(which="class")) <= {"at home", "works"}
    with pytest.raises(tm.UndefinedStatisticError, match="no mean"):
        res.predict(which="mean")
    more = tm.Classifier(MROZ.inlf, X, module=nn.Linear(2, 3), classes=[0, 1, 2]).fit(method="adam", maxiter=5)
    assert list(more.predict(X[:1]).columns) == [0, 1, 2]
    with pytest.raises(tm.LikelihoodError, match="logits of the 2 classes"):
        tm.Classifier(MROZ.inlf, X, module=nn.Linear(2, 3)).fit()
    with pytest.raises(tm.DataError, match="classes= does not list"):
        tm.Classifier(MROZ.inlf + 5, X, module=nn.Linear(2, 2), classes=[0, 1])


def test_what_a_classifier_says_of_its_rows():
    X = MROZ[["educ", "age"]]
    ref = sm.Logit(MROZ.inlf, sm.add_constant(X)).fit(disp=0)
    res = tm.Classifier(MROZ.inlf + 1, X, module=nn.Linear(2, 1)).fit()  # classes 1 and 2
    np.testing.assert_allclose(res.resid, ref.resid_response, atol=1e-6)
    np.testing.assert_allclose(res.pred_table(), ref.pred_table())
    assert res.prsquared == pytest.approx(ref.prsquared, rel=1e-7)
    assert set(res.model.simulate(res.params, seed=1)) == {1, 2}
    share = res.model.simulate(res.params, 200, seed=1).to_numpy().mean() - 1
    assert share == pytest.approx(MROZ.inlf.mean(), abs=4 * 0.5 / np.sqrt(200 * len(MROZ)))  # four standard errors
    assert res.bootstrap(3, "parametric", seed=0).bse.notna().all()
    with pytest.raises(tm.UndefinedStatisticError, match="not defined for classes"):
        res.residuals("deviance")
    w = np.arange(len(MROZ)) % 2
    weighted = tm.Classifier(MROZ.inlf, X, module=nn.Linear(2, 1), freq_weights=w).fit()
    assert weighted.pred_table().to_numpy().sum() == w.sum()


def test_classes_of_a_formula_lose_and_keep_rows():
    table = pd.DataFrame({"s": list("bacbac") * 10, "a": np.random.default_rng(0).normal(size=60)})
    table.loc[3, "a"] = np.nan
    res = tm.Classifier.from_formula("s ~ a", table, module=nn.Linear(2, 3)).fit(method="adam", maxiter=5)
    assert res.nobs == 59
    assert list(res.predict(table.head(4)).columns) == list("abc")
    assert res.predict(table.head(4)).iloc[3].isna().all()
    assert res.predict(table.head(4), "class").isna().tolist() == [False, False, False, True]


def test_a_network_of_convolutions_reads_digits():
    images, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 10)),
        )
    model = tm.Classifier(y[:1400], images[:1400], module=net, dtype="float32")
    res = model.fit(batch_size=50, maxiter=25, options={"lr": 3e-3, "validation": 0.1})
    assert (res.predict(images[1400:], "class") == y[1400:]).mean() >= 0.97
    assert res.classify(images[1400]) == res.predict(images[1400:1401]).iloc[0].idxmax()
    held = tm.Classifier(y[1400:], images[1400:], module=net, dtype="float32")
    again = model.fit(batch_size=50, maxiter=2, options={"lr": 3e-3, "validation": held})
    assert again.history.validation_loglik.iloc[-1] == pytest.approx(held.loglike(again.params) / held.nobs, rel=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_of_whole_numbers_are_numbers(kind):
    images, y = digits()
    model = tm.Classifier(
        y[:50], (images[:50] * 16).astype(kind), module=nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    )
    assert model.exog.dtype == torch.float64
    assert model.exog.shape == (50, 1, 8, 8)


# ---- predictions


def test_predictions_of_records_tables_and_pieces(monkeypatch):
    from torchmle.models.neural import predicting

    table = pd.DataFrame({"y": [1.0, 2, 3, 5], "a": [0.0, 1, 2, 3], "g": list("uvuv")})
    res = Normal.from_formula("y ~ a + g", table, module=nn.Linear(3, 1)).fit(method="adam", maxiter=20)
    weight, bias = res.module.weight[0].detach(), res.module.bias.detach()
    new = pd.DataFrame({"a": [1.0, np.nan, 4], "g": list("vuv")}, index=[7, 8, 9])
    rows = torch.tensor([[1.0, 1, 1], [1, 4, 1]], dtype=torch.float64)
    found = res.predict(new)
    assert list(found.index) == [7, 8, 9]
    assert np.isnan(found[8])
    order = [list(res.model.exog_names).index(n) for n in ("Intercept", "a", "g[T.v]")]
    np.testing.assert_allclose(found[[7, 9]], rows @ weight[order] + bias)
    y, X = simulated()
    flat = Normal(y, X, module=mlp()).fit(method="adam", maxiter=2)
    whole = flat.predict(X)
    monkeypatch.setattr(predicting, "PIECE_BYTES", 1)
    assert len(flat.predict(X)) == len(X)
    np.testing.assert_allclose(flat.predict(X), whole, rtol=1e-13)
    np.testing.assert_allclose(flat.predict(X[3]), whole[3:4])
    np.testing.assert_allclose(flat.predict(X, "eta"), whole)
    with pytest.raises(tm.OptionError, match="Unknown which 'meen'"):
        flat.predict(X, "meen")
    with pytest.raises(tm.TorchmleError, match="columns"):
        flat.predict(torch.ones(3, 5))


def test_a_module_that_says_nothing_of_means_has_none():
    module = forward(lambda b, x, y: tm.normal_logpdf(y - b * x))
    res = tm.ModuleModel(WAGE.lwage, WAGE.educ, module=module).fit()
    with pytest.raises(tm.UndefinedStatisticError, match="Define mean"):
        res.predict()


def test_what_follows_an_exact_fit_is_there():
    res = line().fit()
    lr = res.lr_test(line().fit(fixed={"beta": 0.0}))
    ols = sm.OLS(WAGE.lwage, sm.add_constant(WAGE.educ)).fit()
    null = sm.OLS(WAGE.lwage, np.ones(len(WAGE))).fit()
    assert lr.statistic == pytest.approx(2 * (ols.llf - null.llf), rel=1e-7)
    frame = res.get_prediction([12.0]).summary_frame()
    assert frame["mean"].iloc[0] == pytest.approx(float(ols.predict([1, 12])[0]), rel=1e-8)
    assert frame["mean_se"].iloc[0] == pytest.approx(
        float(ols.get_prediction([1, 12]).se[0] * np.sqrt(ols.df_resid / len(WAGE))), rel=1e-6
    )
    assert res.margins().table.estimate.iloc[0] == pytest.approx(ols.params["educ"], rel=1e-7)
    assert res.bootstrap(5, seed=0).bse.notna().all()


def test_the_public_kit_passes():
    report = tm.testing.check_model(Normal(WAGE.lwage, WAGE[["educ", "exper"]] / 10, module=nn.Linear(2, 1)))
    assert not report.failures
    assert not tm.testing.check_model(line()).failures


# ---- files


@pytest.mark.parametrize("data", [False, True])
def test_results_are_kept_without_code(tmp_path, data):
    y, X = simulated(150)
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1))
    res = Normal(y, X, module=module).fit(method="adam", batch_size=30, maxiter=4)
    path = tmp_path / "net"
    res.save(path, data=data)
    again = tm.load(path, module=copy.deepcopy(module))
    assert again.params.equals(res.params)
    assert str(again.summary()) == str(res.summary())
    assert again.predict(X[:4]).equals(res.predict(X[:4]))  # the buffers are there
    assert copy.deepcopy(res).predict(X[:4]).equals(res.predict(X[:4]))
    if data:
        assert again.block_errors("3").params.equals(res.block_errors("3").params)
    else:
        with pytest.raises(tm.NoDataError):
            again.block_errors("3")
    for wrong, text in ((None, "which no file holds"), (nn.Linear(2, 1), "weights for '0.weight'")):
        with pytest.raises(tm.StoreError, match=text):
            tm.load(path, module=wrong)


def test_the_class_makes_the_module_of_a_file(tmp_path):
    y, X = simulated(100)
    res = Made(y, X, seed=5).fit(method="adam", maxiter=3)
    res.save(tmp_path / "made")
    assert tm.load(tmp_path / "made").predict(X[:3]).equals(res.predict(X[:3]))
    tm.OLS.from_formula("lwage ~ educ", WAGE).fit().save(tmp_path / "ols")
    with pytest.raises(tm.OptionError, match="module= is for"):
        tm.load(tmp_path / "ols", module=nn.Linear(1, 1))


# ---- batches


@pytest.mark.parametrize("form", ["loader", "pairs", "dicts"])
def test_batches_give_the_same_as_arrays(form):
    y, X = simulated(200)
    pairs = [(X[i : i + 50], y[i : i + 50]) for i in range(0, 200, 50)]
    source = {
        "loader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=50, shuffle=True),
        "pairs": pairs,
        "dicts": [{"x": a, "y": b} for a, b in pairs],
    }[form]
    model = Normal.from_batches(source, module=mlp())
    arrays = Normal(y, X, module=mlp())
    res = model.fit(maxiter=5)
    assert res.nobs == 200
    assert res.llf == pytest.approx(arrays.loglike(res.params), rel=1e-12)
    np.testing.assert_allclose(res.score, arrays.score(res.params), rtol=1e-8)
    np.testing.assert_allclose(res.hessian, arrays.hessian(res.params), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(res.predict(X), arrays.network(torch.tensor(res.params.to_numpy()), X)[:, 0].detach())
    assert model.fit(maxiter=5).params.equals(res.params)
    for ask in (res.predict, lambda: res.resid, lambda: res.block_errors("0")):
        with pytest.raises(tm.NoDataError):
            ask()
    with pytest.raises(tm.OptionError, match="rows in memory"):
        model.fit(method="newton")


def test_weights_within_batches():
    y, X = simulated(200)
    w = torch.arange(200) % 3
    batches = [{"x": X[i : i + 50], "y": y[i : i + 50], "w": w[i : i + 50]} for i in range(0, 200, 50)]
    model = Normal.from_batches(batches, module=nn.Linear(2, 1), freq_weights="w")
    res = model.fit(maxiter=200, options={"lr": 0.05, "schedule": lambda epoch: 0.97**epoch})
    exact = Normal(y, X, module=nn.Linear(2, 1), freq_weights=w).fit()
    assert res.nobs == exact.nobs == float(w.sum())
    np.testing.assert_allclose(res.params, exact.params, atol=2e-3)  # the rate falls to nothing before it is there
    assert res.llf == pytest.approx(exact.llf, abs=1e-2)


@pytest.mark.parametrize(("batches", "text"), [
    ([(torch.ones(3, 2), torch.ones(3), torch.ones(3))], "3 parts"),
    ([{"x": torch.ones(3, 2), "y": torch.ones(2)}], "different lengths"),
    ([{"x": torch.ones(3, 2), "y": torch.ones(3), **more} for more in ({}, {"z": torch.ones(3)})], "an earlier one"),
    (iter([(torch.ones(3, 2), torch.ones(3))]), "more than once"),
    ([], "no batch"),
])  # fmt: skip
def test_batches_that_cannot_be_used(batches, text):
    if text is None:
        batches, text = (
            [*batches[:1], {"x": torch.ones(3, 2), "y": torch.ones(3), "z": torch.ones(3)}],
            "an earlier one",
        )
    with pytest.raises(tm.TorchmleError, match=text):
        Normal.from_batches(batches, module=mlp())
