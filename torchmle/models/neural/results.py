"""Report a module: what it predicts, and which errors there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...errors import UndefinedStatisticError
from ...loglik.network import Layer
from ...optim.snapshots import EpochRow, Snapshot
from ...results.inference import check_inference
from ...results.predict import need_solution
from ...results.results import Results
from ...workers import engine
from .newdata import new_records
from .predicting import in_pieces, labelled
from .withheld import LISTED_UP_TO, no_covariance

if TYPE_CHECKING:
    from ...loglik.identification import Identification
    from .base import ModuleModel
    from .laplace import Laplace

EXACT_UP_TO = 5_000
"""Parameters up to which there is an exact Hessian."""


@dataclass(frozen=True, eq=False, repr=False)
class NeuralResults(Results):
    """Hold a fitted module.

    Where it was trained and the point is not shown to be a maximum, there are no standard errors for its weights:
    ask for those of a part of the parameters, given the rest, with :meth:`block_errors`.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> class Curve(tm.ModuleModel):
    ...     def create_model(self):
    ...         return torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    ...     def mean(self, output):
    ...         return output[:, 0]
    ...     def logdensity(self, y, output):
    ...         return tm.normal_logpdf(y - output[:, 0])
    >>> x = torch.linspace(-3, 3, 200)
    >>> res = Curve(torch.sin(x), x[:, None]).fit(method="adam", maxiter=200, options={"lr": 0.05})
    >>> res.fit.status.value, res.predict([[0.5]]).shape
    ('trained', (1,))
    """

    row_statistics: ClassVar[tuple[str, ...]] = ("_theta", "llnull")

    given_net: Mapping[str, Any] | None = None
    """Standard errors of a block of parameters given the others: ``names`` and ``cov``."""
    snapshot: Snapshot | None = None
    """Where training stood, for ``fit(resume=results)``; a file of results does not hold it."""

    @property
    def _model(self) -> ModuleModel:
        from .base import ModuleModel

        assert isinstance(self.model, ModuleModel)
        return self.model

    # ---- the module

    @property
    def module(self) -> nn.Module:
        """Return a copy of the trained module, in evaluation mode."""
        return self._model.network.at(self._theta).module

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return the tensors of parameters: name, shape, and whether they were estimated."""
        return self._model.network.layers

    @property
    def listed(self) -> tuple[str, ...]:
        """Return the parameters that a summary lists: all of a few, else those that are one number."""
        if len(self.names) <= LISTED_UP_TO:
            return self.names
        single = {layer.name for layer in self.layers if layer.trained and int(np.prod(layer.shape)) == 1}
        block = set(self.given_net["names"]) if self.given_net else set()
        return tuple(name for name in self.names if name in single or name in block)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Return, for a summary, the layers that it does not list number by number."""
        if len(self.names) <= LISTED_UP_TO:
            return []
        found = [(la.name, la) for la in self.layers if int(np.prod(la.shape)) != 1]
        return [(name, f"{' x '.join(map(str, la.shape))}{'' if la.trained else ', frozen'}") for name, la in found]

    @property
    def history(self) -> pd.DataFrame:
        """Return the trace of the fit: a row an iteration, or an epoch of training."""
        rows = self.fit.history
        if not rows or not isinstance(rows[0], EpochRow):
            return super().history
        return pd.DataFrame([asdict(row) for row in rows])

    # ---- errors

    @cached_property
    def _covariance(self) -> Tensor:
        K = len(self.names)
        if self.converged:
            return self.fit.map.push(self.inference.covariance.matrix, self.fit.gamma)
        if K > EXACT_UP_TO:
            raise UndefinedStatisticError(
                f"There is no covariance of {K} parameters. Ask for a part: results.block_errors([...])."
            )
        matrix = torch.full((K, K), torch.nan, dtype=torch.float64, device="cpu")
        if self.given_net is not None:
            at = [self.names.index(name) for name in self.given_net["names"]]
            matrix[np.ix_(at, at)] = self.given_net["cov"]
        return matrix

    @property
    def bse(self) -> pd.Series:
        """Return the standard errors; NaN where the point is not shown to be a maximum, but for a block."""
        if self.converged:
            return super().bse
        found = pd.Series(np.nan, index=self._labels)
        if self.given_net is not None:
            found[list(self.given_net["names"])] = self.given_net["cov"].diagonal().sqrt().numpy()
        found.iloc[list(self.fit.map.fixed)] = 0.0
        return found

    @property
    def hessian(self) -> pd.DataFrame:
        """Return the exact Hessian of the log-likelihood at the estimates, up to 5,000 parameters.

        Raises
        ------
        UndefinedStatisticError
            For more parameters, or where parts of the module dropped out at random while it was trained.
        """
        with engine():
            return self._frame(self.fit.map.reported_hessian(self.fit.gamma, *self._derivatives))

    @cached_property
    def _derivatives(self) -> tuple[Tensor, Tensor]:
        gradient, hessian = self.fit.derivatives
        if len(hessian) == len(gradient):
            return gradient, hessian
        self.refuse_random("hessian")
        if len(self.names) > EXACT_UP_TO:
            raise UndefinedStatisticError(
                f"The Hessian of {len(self.names)} parameters is not computed: {EXACT_UP_TO} are the most. For a part "
                "of them: results.block_errors([...])."
            )
        found = self.fit.objective.moments(self.fit.map.working(self.fit.gamma), 2)
        assert found.gradient is not None
        assert found.hessian is not None
        return found.gradient, found.hessian

    def identification(self) -> Identification:
        """Return which combinations of the parameters the data identify; see :meth:`Results.identification`."""
        if len(self.fit.derivatives[1]):
            return super().identification()
        with engine():
            return replace(self, fit=replace(self.fit, derivatives=self._derivatives)).identification()

    def refuse_random(self, what: str) -> None:
        """Raise if parts of the module dropped out at random while it was trained."""
        parts = self._model.network.dropout
        if parts and not self.converged:
            raise UndefinedStatisticError(
                f"{what} is not defined under dropout ({', '.join(parts)}): training maximised the mean over random "
                "parts of the network, and what is evaluated is the whole network, of which this point is no maximum. "
                "Train without dropout (p=0)."
            )

    def block_errors(
        self,
        names: str | Sequence[str],
        cov_type: str = "HC0",
        cov_kwds: Mapping[str, Any] | None = None,
        use_t: bool | None = None,
    ) -> NeuralResults:
        """Return results for a part of the parameters with the rest held where it is.

        The part is first maximised by Newton's method, given the rest. Its errors are those of a model in which the
        network's other weights are known: they hold the uncertainty of the weights for nothing.

        Parameters
        ----------
        names : tensors of parameters (``"alpha"``, ``"fc.weight"``) or submodules (``"fc"``), whole ones.
        cov_type, cov_kwds, use_t : see :meth:`with_cov`; the sandwich by default.

        Raises
        ------
        OptionError
            For a name that is no tensor of parameters and no submodule.
        UndefinedStatisticError
            Where parts of the module dropped out at random while it was trained.

        Examples
        --------
        >>> import torch, torchmle as tm
        >>> class Bent(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.beta, self.net = torch.nn.Parameter(torch.tensor(0.0)), torch.nn.Linear(1, 1)
        ...     def forward(self, x, y):
        ...         return tm.normal_logpdf(y - self.beta * x[:, 0] - self.net(x[:, 1:])[:, 0])
        >>> wage1 = tm.datasets.load("wage1")
        >>> model = tm.ModuleModel(wage1.lwage, wage1[["female", "educ"]] / 10, module=Bent())
        >>> res = model.fit(method="adam", maxiter=50)
        >>> bool(res.bse.isna().all()), bool(res.block_errors("beta").bse["beta"] > 0)
        (True, True)
        """
        from .blocks import block_results

        return block_results(self, names, cov_type, cov_kwds, use_t)

    def laplace(self, layer: str, prior_precision: float = 1.0) -> Laplace:
        """Return the Gaussian posterior of one layer given the others (Laplace; MacKay 1992; Daxberger et al. 2021).

        Its mean is the layer as it was trained, its precision minus the exact Hessian of the log-likelihood in this
        layer plus ``prior_precision`` times the identity: a normal prior with mean zero and that precision.

        Parameters
        ----------
        layer : name of a submodule or of a tensor of parameters, mostly the last layer.
        prior_precision : one over the variance of the prior of every weight.

        Raises
        ------
        UndefinedStatisticError
            Under dropout, or where the posterior precision is not positive definite.
        """
        from .laplace import laplace

        with engine():
            return laplace(self, layer, prior_precision)

    # ---- predictions

    def predict(self, exog: Any = None, which: str | None = None, **new: Any) -> Any:
        """Predict for new records, or for the rows of the fit, in pieces that fit into memory.

        Parameters
        ----------
        exog : a table with the columns of the formula, an array like that of the fit, or one record; None for the rows
            in use.
        which : ``"mean"`` (the default), ``"eta"`` for what the module returns, or the name of any method of the module
            or the model; of a classifier ``"prob"`` (the default), ``"class"``, ``"mean"`` or ``"eta"``.
        new : row data of the new records, by name; an offset.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            A row a record; a column an output where there are several. Outputs of more dimensions are an array.
        """
        model = self._model
        need_solution(self, "predict()")
        with engine():
            target, index = new_records(self, model.rank, exog, new)
            index = index if len(index) or exog is not None else target.rows.labels
            link = self.fit.map.link(self.fit.gamma)
            values, columns = in_pieces(model, link, target, which or model.usual_prediction)
        return labelled(values, columns, index, None if exog is None else target.rows.used)

    @cached_property
    def _fitted(self) -> Any:
        return self.predict(which="mean")

    def with_cov(
        self, cov_type: str, cov_kwds: Mapping[str, Any] | None = None, use_t: bool | None = None
    ) -> NeuralResults:
        """Return the same fit with another covariance; see :meth:`Results.with_cov`. ``{"block": [...]}`` among the
        options asks for that of a part of the parameters given the rest, as :meth:`block_errors`.
        """
        kwds = dict(cov_kwds or {})
        block = kwds.pop("block", None)
        if block is None and (self.converged or self.inference.bread is not None):
            return super().with_cov(cov_type, cov_kwds, use_t)
        if block is None:
            check_inference(self.model, cov_type, cov_kwds, separable=True)
            covariance = no_covariance(self._model.network, len(self.fit.gamma), cov_type, use_t)
            return replace(self, inference=replace(self.inference, covariance=covariance), given_net=None)
        from .blocks import with_block

        return with_block(replace(self, given_net=None), block, cov_type, kwds)


def neural(found: Results) -> NeuralResults:
    """Return results of an exact method as those of a module."""
    fit, parts = found.fit, cast("ModuleModel", found.model).network.dropout
    if fit.objective.separable:
        fit = replace(fit, engine=fit.objective.engine)
    if parts:
        fit = replace(fit, notes=(*fit.notes, f"Nothing was dropped out ({', '.join(parts)}): exact methods do not."))
    kind = cast("ModuleModel", found.model).results_kind
    return kind(found.model, fit, found.inference, found.record, found.reporter)
