"""Fit classes by a module that returns their logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.levels import code_levels, label_of
from ...errors import DataError, LikelihoodError, OptionError, UndefinedStatisticError, listing, unknown
from ...results.estimates import Estimates
from ...special import log_sigmoid
from .base import ModuleModel
from .classified import ClassifierResults
from .loader import Loader

MOST = 10_000
"""Classes up to which a response of numbers is taken for one of classes."""


class Classifier(ModuleModel):
    """Fit a module that returns a logit for each class, (n, J): ``log p_j = eta_j - logsumexp(eta)``.

    With two classes it may return one logit a row, (n,) or (n, 1): that of the second class.

    Parameters
    ----------
    endog : (n,) classes: whole numbers, text, truth values or categories. They are sorted; categories keep their order.
    classes : all classes in the order of the outputs, where some may be in no row.

    All other arguments are those of :class:`ModuleModel`.

    Notes
    -----
    ``results.predict(new, which=...)`` gives ``"prob"`` (a table with a column a class), ``"class"``, ``"eta"`` (the
    logits), or ``"mean"``, the expected class where classes are numbers: for 0 and 1 the probability of 1.

    Raises
    ------
    DataError
        If a row is of a class that ``classes`` does not list, or all rows are of one class.

    Examples
    --------
    >>> import torch, torchmle as tm
    >>> mroz = tm.datasets.load("mroz")
    >>> model = tm.Classifier(mroz.inlf, mroz[["educ", "age"]], module=torch.nn.Linear(2, 1))
    >>> res = model.fit()
    >>> res.converged, round(res.llf, 3) == round(tm.Logit.from_formula("inlf ~ educ + age", mroz).fit().llf, 3)
    (True, True)
    """

    response: str | None = "categorical"
    own_inputs = ("classes",)
    usual_prediction = "prob"
    own_state = (*ModuleModel.own_state, "labels", "_asked")
    results_kind = ClassifierResults

    labels: tuple[Any, ...]

    def __init__(
        self,
        endog: Any,
        exog: Any = None,
        *,
        classes: Sequence[Any] | None = None,
        _labels: tuple[Any, ...] | None = None,
        **options: Any,
    ) -> None:
        if options.get("_loader") is not None:
            _labels = _read_classes(classes)
        elif options.get("_data") is None:
            endog, _labels = code_levels(endog, "endog")
        self.labels, self._asked = _labels or (), _read_classes(classes)
        super().__init__(endog, exog, **options)
        if classes is not None:
            self.data = replace(self.data, given={**self.data.given, "classes": list(self._asked or ())})

    @property
    def classes(self) -> tuple[Any, ...]:
        """Return the classes in the order of the outputs."""
        return self.labels

    def check_endog(self) -> None:
        """Turn the response into positions of classes."""
        if self.loader is not None:
            self._check_batches(self.loader)
            return
        what = f"{type(self).__name__}: the response {self.data.endog_name!r}"
        seen: list[float] = torch.unique(self.endog).tolist()
        if self.labels:
            labels = tuple(self.labels[int(code)] for code in seen)
        else:
            if len(seen) > min(MOST, max(2, self.nobs // 2)):
                raise DataError(f"{what} has {len(seen)} different values in {self.nobs} rows; these are no classes.")
            labels = tuple(map(label_of, seen))
        known = self.labels if self.labels and self._asked is None else self._asked or labels
        absent = [label for label in labels if label not in known]
        if absent:
            raise DataError(f"{what} has the class {listing(map(repr, absent))}, which classes= does not list.")
        if len(labels) < 2:
            raise DataError(f"{what} is {labels[0]!r} in every row in use. Two classes are needed.")
        place = torch.tensor([known.index(label) for label in labels], dtype=self.endog.dtype, device=self.endog.device)
        codes = torch.tensor(seen, dtype=self.endog.dtype, device=self.endog.device)
        self.endog = place[torch.searchsorted(codes, self.endog)]
        self.labels = tuple(known)
        self.data = replace(self.data, endog=self.endog)

    def _check_batches(self, loader: Loader) -> None:
        """Find the classes of batches, which hold their positions."""
        seen = [torch.unique(loader.named(batch)["endog"]) for batch in loader.in_order()]
        codes = torch.unique(torch.cat(seen)).tolist()
        count = len(self.labels) or int(max(codes)) + 1
        bad = [code for code in codes if code != int(code) or not 0 <= code < count]
        if bad:
            raise DataError(f"y of the batches holds {listing(bad)}; it must be positions of classes, 0 to {count - 1}")
        self.labels = self.labels or tuple(range(count))

    # ---- the likelihood

    def logits(self, output: Any) -> Tensor:
        """Return the (n, J) logits, or (n,) of the second of two classes."""
        rows, J = len(self.endog), len(self.labels)
        seen = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if isinstance(output, Tensor) and output.is_floating_point():
            if output.ndim == 2 and output.shape == (rows, J):
                return output
            if J == 2 and tuple(output.shape) in ((rows,), (rows, 1)):
                return output.reshape(rows)
        alone = f", or ({rows},) of the second" if J == 2 else ""
        raise LikelihoodError(
            f"{self.network.kind}.forward returned {seen}; it must be logits of the {J} classes "
            f"{listing(self.labels)}: ({rows}, {J}){alone}. Classes that are in no row are named by classes=."
        )

    def logdensity(self, y: Tensor, output: Any) -> Tensor:
        """Return the (n,) log-probabilities of the classes observed."""
        eta = self.logits(output)
        if eta.ndim == 1:
            return log_sigmoid((2 * y - 1) * eta)
        return torch.log_softmax(eta, 1).gather(1, y.long()[:, None])[:, 0]

    def probabilities(self, output: Any) -> Tensor:
        """Return the (n, J) probabilities."""
        eta = self.logits(output)
        both = torch.stack([torch.zeros_like(eta), eta], 1) if eta.ndim == 1 else eta
        return torch.softmax(both, 1)

    # ---- predictions

    def predicted(self, params: Tensor, which: str) -> Tensor:
        """Return predictions of one kind for the rows of the model."""
        output = self.output(params)
        if which == "eta":
            return self.logits(output)
        P = self.probabilities(output)
        if which == "prob":
            return P
        if which == "class":
            return P.argmax(1)
        if which == "mean":
            return P @ torch.tensor(self.numbers(), dtype=P.dtype, device=P.device)
        raise OptionError(unknown("which", which, ["prob", "class", "mean", "eta"]))

    def numbers(self) -> list[float]:
        """Return the classes as numbers, where they are some."""
        if not all(isinstance(label, (bool, int, float, np.number)) for label in self.labels):
            raise UndefinedStatisticError(
                f"The classes {listing(map(repr, self.labels))} are no numbers and have no mean; use which='prob'."
            )
        return [float(label) for label in self.labels]

    def told(self, which: str, values: Tensor) -> tuple[Any, list[Any] | None]:
        """Return predictions with the names of the classes."""
        if which != "class":
            return values, list(self.labels) if values.ndim == 2 else None
        labels = np.empty(len(self.labels), dtype=object)
        labels[:] = self.labels
        return labels[values.numpy()], None

    def simulate_endog(self, *etas: Tensor, generator: torch.Generator) -> Tensor:
        """Return positions of classes, drawn with the probabilities at the parameters."""
        below = self.predicted(etas[0].to(self.data.device, self.dtype), "prob").double().cpu().cumsum(1)[:, :-1]
        u = torch.rand(len(below), 1, generator=generator, dtype=torch.float64, device="cpu")
        return (u > below).sum(1).double()

    def simulate(self, params: Any, n: int | None = None, seed: int = 0) -> pd.Series | pd.DataFrame:
        """Draw classes for the rows in use; see :meth:`GenericLikelihoodModel.simulate`."""
        positions = super().simulate(params, n, seed)
        labels = np.empty(len(self.labels), dtype=object)
        labels[:] = self.labels
        found = labels[positions.to_numpy().astype(int)]
        if isinstance(positions, pd.Series):
            return pd.Series(found.tolist(), index=positions.index, name=positions.name)
        return pd.DataFrame(found, index=positions.index).infer_objects()

    def null_llf(self, results: Estimates) -> float:
        """Return the log-likelihood of constant probabilities: the shares of the classes."""
        weights = self.data.weights
        values = None if weights is None else weights.values.double()
        counts = torch.bincount(self.endog.long(), values, len(self.labels)).double()
        seen = counts[counts > 0]
        return float((seen * (seen / counts.sum()).log()).sum())


def _read_classes(classes: Any) -> tuple[Any, ...] | None:
    if classes is None:
        return None
    found = tuple(classes.tolist() if hasattr(classes, "tolist") else classes)
    if len(set(found)) != len(found) or len(found) < 2:
        raise OptionError(f"classes={list(found)!r} must list two or more classes, each once.")
    return found
