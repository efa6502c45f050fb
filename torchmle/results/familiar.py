"""Answer to further names that users of statsmodels know; say what to use where they are not defined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from ..data.absent import need_rows
from ..data.batch import ModelData
from ..data.vectors import FloatArray
from ..errors import OptionError, UndefinedStatisticError
from ..optim.status import Status
from ..workers import engine
from .linkscale import link_values
from .predict import predict, target_of
from .predicted import Predicted
from .tested import Tested
from .tidy import estimagic_dict, glance, tidy


class Elsewhere:
    """Stand for a name that results do not have: an AttributeError says what to use, and ``hasattr`` is False."""

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, results: object, owner: type) -> Elsewhere:
        if results is None:
            return self
        raise UndefinedStatisticError(f"{owner.__name__} has no {self.name}. {self.advice}")


def elsewhere(advice: str) -> Any:
    """Return a stand-in for a name that results do not have."""
    return Elsewhere(advice)


@dataclass(frozen=True, eq=False, repr=False)
class Familiar(Tested, Predicted):
    """Add what other packages and code written for statsmodels ask of results."""

    remove_data = elsewhere("Results are not changed: res.lean() returns them without the rows.")
    load = elsewhere("torchmle.load(path) reads what res.save(path) wrote.")
    get_robustcov_results = elsewhere("res.with_cov('HC1') returns the same fit with another covariance.")
    HC0_se = elsewhere("Use res.with_cov('HC0').bse.")
    HC1_se = elsewhere("Use res.with_cov('HC1').bse.")
    HC2_se = elsewhere("Use res.with_cov('HC2').bse.")
    HC3_se = elsewhere("Use res.with_cov('HC3').bse.")
    compare_lr_test = elsewhere("Use res.lr_test(restricted).")
    compare_f_test = elsewhere("Use res.lr_test(restricted), or res.f_test('x1 = x2 = 0').")
    outlier_test = elsewhere("Use res.influence(), or res.residuals('quantile').")

    # ---- plain tables

    def tidy(self, *, alpha: float = 0.05) -> pd.DataFrame:
        """Return a row a parameter: term, estimate, std.error, statistic, p.value, conf.low, conf.high.

        Parameters
        ----------
        alpha : one minus the level of the intervals.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
        >>> print(res.tidy().loc[:, "term":"std.error"].round(3).to_string(index=False))
             term  estimate  std.error
        Intercept    -1.132      0.614
             educ     0.168      0.035
              age    -0.015      0.009
        """
        return tidy(self, alpha)

    def glance(self) -> pd.DataFrame:
        """Return one row for the fit: model, response, and the statistics that are defined for it.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Logit.from_formula("inlf ~ educ + age", tm.datasets.load("mroz")).fit()
        >>> list(res.glance().columns)[:6]
        ['model', 'response', 'nobs', 'df', 'df.residual', 'logLik']
        """
        with engine():
            return glance(self)

    # ---- other packages

    def to_estimagic(self) -> dict[str, Any]:
        """Return ``params``, ``info`` and ``name`` in a dict, as ``estimagic.estimation_table`` takes a model."""
        with engine():
            return estimagic_dict(self)

    def to_marginaleffects(self) -> Any:
        """Return a model for the package marginaleffects: its ``slopes``, ``comparisons``, ``predictions`` take it.

        Its parameters are those on the scale of the predictors (``link_params``), with the covariance of these
        results; ``vcov="HC3"`` there takes another one. Needs ``pip install "torchmle[marginaleffects]"``.

        Raises
        ------
        MissingPackageError
            If the package is not there.
        OptionError, UndefinedStatisticError
            For models built from arrays, or with several predictions a row.
        """
        from .marginaleffects import adapt

        return adapt(self)

    # ---- names of statsmodels

    @property
    def mle_retvals(self) -> dict[str, Any]:
        """Return how the fit ended: ``converged``, ``iterations``, ``warnflag``, ``fopt`` (``-llf / nobs``)."""
        if self.method == "closed form":
            raise UndefinedStatisticError("mle_retvals is not defined: least squares in closed form does not iterate.")
        flag = 0 if self.converged else 1 if self.fit.status is Status.MAXITER else 2
        ended = {"converged": self.converged, "iterations": self.fit.iterations, "warnflag": flag}
        return {**ended, "fopt": -self.llf / self.nobs, "status": self.status}

    @property
    def normalized_cov_params(self) -> pd.DataFrame:
        """Return the inverse of the information, for least squares ``(X'WX)^-1``: the nonrobust covariance / scale."""
        bread = self.inference.bread
        if bread is None:
            raise UndefinedStatisticError("normalized_cov_params is not defined: the information has no inverse here.")
        with engine():
            return self._frame(self.fit.map.push(bread, self.fit.gamma))

    @property
    def k_constant(self) -> int:
        """Return 1 if the first predictor has a constant, else 0."""
        from .linear import spans_constant

        designs = list(self.model.data.designs.values())
        terms = designs[0].terms if designs else ()
        if not any(name == t or name.endswith(f":{t}") for name in self.names for t in terms):
            raise UndefinedStatisticError("k_constant is not defined where regressors have no coefficients.")
        if designs[0].constant is not None:
            return 1
        need_rows(self.model.data, "k_constant")
        with engine():
            return int(spans_constant(designs[0]))

    @property
    def resid_dev(self) -> pd.Series:
        """Return :attr:`resid_deviance`."""
        return self.resid_deviance

    def pred_table(self, threshold: float = 0.5) -> FloatArray:
        """Return the (2, 2) counts of 0 and 1 as observed (rows) and as predicted (columns) in the rows of the fit.

        Rows count by ``freq_weights`` or ``sampling_weights``.

        Parameters
        ----------
        threshold : the probability above which 1 is predicted.
        """
        if self.model.response != "binary":
            raise UndefinedStatisticError("pred_table is defined for binary and multinomial models.")
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
            raise OptionError(f"threshold={threshold!r} must be a probability, e.g. 0.5.")
        data = self.model.data
        need_rows(data, "pred_table()")
        with engine():
            ones = predict(self, None, "mean", {}).to_numpy() > threshold
            seen = data.endog.cpu().numpy() > 0.5
            w = np.ones(len(seen)) if data.weights is None else data.weights.values.double().cpu().numpy()
        return np.array([[w[(seen == i) & (ones == j)].sum() for j in (False, True)] for i in (False, True)])

    def get_distribution(self, exog: Any = None, **new: Any) -> Any:
        """Return the fitted distribution of the response in each row, as a frozen distribution of scipy.stats.

        Parameters
        ----------
        exog, new : see :meth:`predict`.

        Returns
        -------
        scipy.stats distribution
            With parameters (n,); ``rvs()``, ``cdf(y)``, ``interval(0.9)``. NaN where a regressor is missing.

        Raises
        ------
        UndefinedStatisticError
            If the model does not say which distribution that is: define ``distribution(self, *etas)`` in the class.

        Examples
        --------
        >>> import torchmle as tm
        >>> res = tm.Poisson.from_formula("narr86 ~ pcnv", tm.datasets.load("crime1")).fit()
        >>> res.get_distribution({"pcnv": [0.0, 1.0]}).pmf(0).round(3).tolist()
        [0.63, 0.736]
        """
        with engine():
            return _distribution(self, exog, new)


def _distribution(results: Familiar, exog: Any, new: Mapping[str, Any]) -> Any:
    from scipy import stats  # slow to import, and needed here only

    model = cast(Any, results.model)
    target, index = target_of(results, exog, new)
    variance = model.observation_variance(results, target)
    normal = variance is not None
    if normal or model.response == "binary":
        mean = model.predict_at(link_values(results), target, "mean")
        values = _full(target, index, exog, mean, *([variance**0.5] if normal else []))
        return (stats.norm if normal else stats.bernoulli)(*values)
    if hasattr(type(model), "distribution"):
        etas = model.row_etas(results) if exog is None else model.etas(link_values(results), target)
        return model.distribution(*_full(target, index, exog, *etas))
    raise UndefinedStatisticError(
        f"{model.model_name} does not say which distribution of scipy.stats its response has. Define "
        "distribution(self, *etas), which gets (n,) arrays, in the class; or draw responses by simulate()."
    )


def _full(target: ModelData, index: pd.Index, exog: Any, *values: Any) -> list[FloatArray]:
    """Return values of the rows that can be predicted as arrays, NaN in the other rows of new data."""
    arrays = [v.detach().double().cpu().numpy() if isinstance(v, torch.Tensor) else np.asarray(v) for v in values]
    if exog is None or target.rows.used is None:
        return arrays
    found = [np.full(len(index), np.nan) for _ in arrays]
    for whole, part in zip(found, arrays, strict=True):
        whole[target.rows.used] = part
    return found
