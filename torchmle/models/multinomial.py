"""Fit responses of several levels without an order: the multinomial logit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import resolve_device
from ..data.batch import DataOptions, ModelData
from ..data.extras import ExtraInputs
from ..data.formula import caller_names
from ..data.levels import code_levels, label_of, refuse_unseen
from ..errors import DataError, OptionError, UndefinedStatisticError, unknown
from ..loglik.multinomial import MultinomialObjective, log_softmax_of
from ..loglik.objective import Objective
from ..loglik.predictor import Predictor
from ..loglik.separation import Separation, find_separation
from ..optim.base import OptimResult, Status
from ..params.map import ParamMap, Units
from ..results.estimates import Estimates
from .base import DATA_KEYWORDS, GenericLikelihoodModel
from .fitting import run_fit
from .multinomial_results import MNLogitResults
from .predictors import shift_of, uncentre_of
from .request import FitRequest
from .separated import EXTREME, allowed
from .views import Moves, of_table

SAMPLE = 2_000
"""Rows that are looked at first for a separation: mostly they exclude it."""


class MNLogit(GenericLikelihoodModel):
    """Fit a multinomial logit: ``P(y = j) = exp(x'b_j) / sum_l exp(x'b_l)``, with ``b = 0`` for the base level.

    Variables belong to the row, and every level but the base has coefficients of its own (Greene 2018, section 18.2;
    statsmodels' MNLogit). For attributes of the alternatives see :class:`ConditionalLogit`.

    Parameters
    ----------
    endog : (n,) levels: numbers, text, truth values or categories. The levels are sorted; categories keep their order.
    base : the level whose coefficients are zero; by default the first.

    All other arguments are those of :class:`GenericLikelihoodModel`; there is no offset.

    Notes
    -----
    Parameters are called ``level:term``, level by level. ``params_by_level`` is the table (terms x levels) that
    statsmodels has in ``params``.

    Raises
    ------
    DataError
        If a category is in no row in use, or there is one level only.

    Examples
    --------
    >>> import torchmle as tm
    >>> res = tm.MNLogit.from_formula("vote ~ educ + age", tm.datasets.load("anes96"), base=0).fit()
    >>> res.params.round(3).to_dict()
    {'1:Intercept': -1.309, '1:educ': 0.123, '1:age': 0.009}
    """

    response: str | None = "categorical"
    takes_exposure = False
    own_inputs = ("base",)

    labels: tuple[Any, ...]
    codes: tuple[float, ...]
    base: Any

    def __init__(
        self, endog: Any, exog: Any = None, *, base: Any = None, _labels: tuple[Any, ...] | None = None, **options: Any
    ) -> None:
        if options.get("_data") is None:
            endog, _labels = code_levels(endog, "endog")
        self.labels, self.base = _labels or (), base
        super().__init__(endog, exog, **options)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        *,
        base: Any = None,
        freq_weights: Any = None,
        sampling_weights: Any = None,
        groups: Any = None,
        row_data: Any = None,
        missing: str = "drop",
        collinear: str = "drop",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float64,
        **others: Any,
    ) -> MNLogit:
        """Build the model from a formula and a table; see :meth:`GenericLikelihoodModel.from_formula`.

        Parameters
        ----------
        formula : ``"party ~ age + C(region)"``; the response is a column of any kind.
        base : the level whose coefficients are zero; by default the first.
        """
        extras = {name: others.pop(name) for name in ("offset", "exposure", "var_weights") if name in others}
        cls._check_predictors(others, "formula")
        given = ExtraInputs(
            **extras,
            freq_weights=freq_weights,
            sampling_weights=sampling_weights,
            groups=groups,
            row_data=row_data,
        )
        options = DataOptions(missing, collinear, *resolve_device(device, dtype))
        return of_table(cls, formula, data, "exog", {}, given, options, caller_names([formula], 2), base=base)

    @classmethod
    def _check_predictors(cls, given: Mapping[str, Any], what: str) -> None:
        for name in given:
            raise OptionError(unknown(f"argument of {cls.__name__}:", name, ["exog", "base", *DATA_KEYWORDS]))

    def _install(self, data: ModelData) -> None:
        if not data.designs:
            raise DataError("MNLogit has no regressors. Give exog, with a constant: tm.add_constant(x).")
        super()._install(data)
        if self.base != self.levels[0]:
            self.data = replace(self.data, given={**self.data.given, "base": self.base})

    def check_endog(self) -> None:
        """Find the levels in use, refusing those that are in no row, and put the base first."""
        name = type(self).__name__
        if self.offset is not None:
            raise OptionError(f"{name} has no offset: it does not say to which level it would belong. Leave it out.")
        what = f"{name}: the response {self.data.endog_name!r}"
        seen: list[float] = torch.unique(self.endog).tolist()
        if not self.labels:
            if len(seen) > max(2, self.nobs // 2):
                raise DataError(f"{what} has {len(seen)} different values in {self.nobs} rows; these are no levels.")
            self.labels, self.codes = tuple(map(label_of, seen)), tuple(seen)
        else:
            self.codes = tuple(map(float, range(len(self.labels))))
        refuse_unseen([code in seen for code in self.codes], self.labels, what)
        self.base = self.labels[0] if self.base is None else self._read_base()

    def _read_base(self) -> Any:
        found = [label for label in self.labels if label == self.base or str(label) == str(self.base)]
        if not found:
            raise OptionError(unknown("base", self.base, map(str, self.labels)))
        return found[0]

    # ---- levels, names and maps

    @property
    def levels(self) -> tuple[Any, ...]:
        """Return the J levels in the order of the data, the base among them."""
        return self.labels

    @property
    def others(self) -> tuple[Any, ...]:
        """Return the levels that have coefficients, in order."""
        return tuple(label for label in self.labels if label != self.base)

    @property
    def target(self) -> Tensor:
        """Return the (n,) levels observed, 0 for the base, the others in order."""
        order = [(self.base, *self.others).index(label) for label in self.labels]
        codes = torch.tensor(self.codes, dtype=self.endog.dtype, device=self.endog.device)
        return torch.tensor(order, device=self.endog.device)[torch.searchsorted(codes, self.endog)]

    @property
    def param_names(self) -> tuple[str, ...]:
        """Return the names of the parameters, ``level:term``, level by level."""
        return tuple(f"{level}:{term}" for level in self.others for term in self.exog_names)

    def make_map(self, names: Sequence[str], units: Units = "scaled") -> ParamMap:
        """Return the map to coefficients of standardised columns, the same for all levels."""
        design, others = self.data.designs["exog"], len(self.others)
        shift = shift_of(design, units)
        scale = torch.ones_like(design.scale) if units == "raw" else design.scale
        uncentre = uncentre_of([design] * others, [shift] * others)
        return ParamMap(tuple(names), tuple(names), scale.repeat(others), uncentre, shifts=(shift,))

    def make_objective(self, pmap: ParamMap) -> Objective:
        """Return the log-likelihood with its derivatives in closed form."""
        X, (shift,) = self.data.designs["exog"].X, pmap.shifts
        weights = None if self.data.weights is None else self.data.weights.values
        columns = Predictor(X, None if shift is None else shift.to(X))
        return MultinomialObjective(columns, self.target, len(self.others), weights)

    def start_candidates(self, pmap: ParamMap) -> list[Tensor]:
        """Return the estimates of the model with a constant only."""
        design, others = self.data.designs["exog"], len(self.others)
        start = torch.zeros(others, len(design.terms), dtype=torch.float64, device="cpu")
        if design.constant is not None:
            logs = self._counts().log()
            start[:, design.constant] = (logs[1:] - logs[0]) / float(design.cross.mean[design.constant])
        return [start.flatten()]

    def _counts(self) -> Tensor:
        """Return the weighted numbers of rows by level, the base first."""
        weights = self.data.weights
        values = None if weights is None else weights.values.double().cpu()
        return torch.bincount(self.target.cpu(), values, len(self.labels)).double()

    # ---- likelihood

    def loglikeobs(self, params: Any) -> Tensor:
        """Return the (n,) log-probabilities of the levels observed."""
        at = params if isinstance(params, Tensor) else torch.as_tensor(np.asarray(params), dtype=self.exog.dtype)
        logp = self._log_probabilities(self.exog, at)
        return logp.gather(1, self.target[:, None])[:, 0]

    def _log_probabilities(self, X: Tensor, params: Tensor) -> Tensor:
        """Return the (n, J) log-probabilities, the base first."""
        return log_softmax_of(X @ params.view(len(self.others), -1).mT)

    def null_llf(self, results: Estimates) -> float:
        """Return the log-likelihood of constant probabilities: the shares of the levels."""
        counts = self._counts()
        return float((counts * (counts / counts.sum()).log()).sum())

    def separation(self, pmap: ParamMap, objective: Objective, found: OptimResult) -> Separation | None:
        """Return the rows that are predicted perfectly, and the coefficients that do it, or None.

        A direction c separates the data if ``x'(c_y - c_j) >= 0`` for all levels j in all rows, with ``> 0`` for some:
        what is looked at are these comparisons of a row's level with the others.
        """
        if not found.at.finite:
            return None
        P = self._log_probabilities(self.exog, pmap.link(found.x).to(self.exog)).exp()
        target = self.target
        others = torch.ones_like(P, dtype=torch.bool).scatter_(1, target[:, None], False)
        low = others if found.status is not Status.CONVERGED else others & (EXTREME[P.dtype] > P)
        if not bool(low.any()) or self._sample_spans(others & ~low, target):
            return None
        row, level = others.nonzero(as_tuple=True)
        comparisons = self._comparisons(row, target[row], level)
        extreme, ones = low[row, level], torch.ones_like(comparisons[:, 0])
        separated = find_separation(comparisons, ones, extreme, None, allowed(pmap, found.x, len(pmap.names)))
        if separated is None:
            return None
        return Separation(tuple(sorted(set(row[list(separated.rows)].tolist()))), separated.columns)

    def _comparisons(self, row: Tensor, own: Tensor, level: Tensor) -> Tensor:
        """Return (m, K) differences of what coefficients are multiplied by: the row's own level less another one."""
        x = self.exog[row]
        out = x.new_zeros(len(row), len(self.labels), x.shape[1])
        at = torch.arange(len(row), device=x.device)
        out[at, own] += x
        out[at, level] -= x
        return out[:, 1:].flatten(1)

    def _sample_spans(self, inside: Tensor, target: Tensor) -> bool:
        """Return whether comparisons that cannot be separated, in a sample, leave no direction that could be."""
        stride = max(1, self.nobs // SAMPLE)
        sample, level = inside[::stride].nonzero(as_tuple=True)
        D = self._comparisons(sample * stride, target[sample * stride], level).double()
        if len(D) < D.shape[1]:
            return False
        size = D.square().mean(0).sqrt()
        values = torch.linalg.svdvals((D / torch.where(size > 0, size, torch.ones_like(size))) / len(D) ** 0.5)
        return bool(values[-1] > 1e-4)

    # ---- fit, predictions and draws

    def _fit(self, request: FitRequest) -> MNLogitResults:
        refuse_unseen((self._counts() > 0).tolist(), (self.base, *self.others), f"{type(self).__name__}: the response")
        found = run_fit(self, request)
        return MNLogitResults(found.model, found.fit, found.inference, found.record, found.reporter)

    def probabilities_at(self, params: Tensor, data: ModelData) -> Tensor:
        """Return the (n, J) probabilities, levels in order."""
        X = data.designs["exog"].X
        return self._in_order(self._log_probabilities(X, params.to(X)).exp())

    def _in_order(self, columns: Tensor) -> Tensor:
        order = (self.base, *self.others)
        return columns[:, [order.index(label) for label in self.labels]]

    def _level(self, which: str) -> int:
        """Return the position of a level, the base first."""
        names = [str(label) for label in (self.base, *self.others)]
        if which in ("mean", "linear"):
            raise UndefinedStatisticError(
                f"{type(self).__name__} has a probability for each level: say which='{names[1]}', or use predict()."
            )
        if which not in names:
            raise OptionError(unknown("level in which:", which, names))
        return names.index(which)

    def predict_at(self, params: Tensor, data: ModelData, which: str) -> Tensor:
        """Return the probability of one level."""
        position, X = self._level(which), data.designs["exog"].X
        return self._log_probabilities(X, params.to(X))[:, position].exp()

    def predict_along(self, params: Tensor, data: ModelData, moves: Moves, step: Tensor, which: str) -> Tensor:
        """Return the probability of one level with the regressors moved: few columns move."""
        position, X = self._level(which), data.designs["exog"].X
        B = params.to(X).view(len(self.others), -1)
        columns, slopes = moves["exog"]
        etas = X @ B.mT + step[:, None] * (slopes @ B[:, columns].mT)
        return log_softmax_of(etas)[:, position].exp()

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return the code of a level for each row, drawn with the probabilities at the parameters."""
        below = self.probabilities_at(etas[0], self.data).double().cpu().cumsum(1)[:, :-1]
        u = torch.rand(len(below), 1, generator=generator, dtype=torch.float64, device="cpu")
        return torch.tensor(self.codes, dtype=torch.float64)[(u > below).sum(1)]

    def simulate(self, params: Any, n: int | None = None, seed: int = 0) -> pd.Series | pd.DataFrame:
        """Draw levels for the rows in use; see :meth:`GenericLikelihoodModel.simulate`."""
        codes = super().simulate(params, n, seed)
        labels = pd.Index(list(self.labels))
        found = np.asarray(labels[np.searchsorted(self.codes, codes.to_numpy().ravel())]).reshape(codes.shape)
        if isinstance(codes, pd.Series):
            return pd.Series(found, index=codes.index, name=codes.name)
        return pd.DataFrame(found, index=codes.index)
