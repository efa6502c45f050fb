"""Hold fitted latent class logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pandas as pd
import torch

from ...data.absent import need_rows
from ...workers import engine
from .quantities import Quantities, estimates_of, quantities
from .results import ChoiceResults

if TYPE_CHECKING:
    from .latent import LatentClassLogit


@dataclass(frozen=True, eq=False, repr=False)
class LatentClassResults(ChoiceResults):
    """Hold a fitted latent class logit; predictions are averages over the classes of a person not seen to choose.

    Examples
    --------
    >>> import torchmle as tm
    >>> model = tm.LatentClassLogit.from_formula(
    ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
    ...     persons="person", classes=2, common=["asc_train", "asc_bike", "asc_car", "cost"])
    >>> model.fit().classes.loc["time"].round(2).to_dict()
    {'class1': -0.11, 'class2': -0.03}
    """

    @property
    def _latent(self) -> LatentClassLogit:
        return cast("LatentClassLogit", self.model)

    @property
    def classes(self) -> pd.DataFrame:
        """Return the coefficients of attributes by class, common ones repeated: attributes x classes."""
        model = self._latent
        values = model.layout.coefficients(estimates_of(self)).mT.numpy()
        return pd.DataFrame(values, index=list(model.exog_names), columns=_labels(model.classes))

    def class_shares(self, *, alpha: float = 0.05) -> Quantities:
        """Return the shares of the classes among the persons of the fit, with errors.

        Averages of ``pi_nc`` over persons, who count by the weights of the fit.

        Examples
        --------
        >>> import torchmle as tm
        >>> model = tm.LatentClassLogit.from_formula(
        ...     "chosen ~ time + cost", tm.datasets.load("trips"), alternatives="mode", situations="trip",
        ...     persons="person", classes=2)
        >>> model.fit().class_shares().values.sum().round(6).item()
        1.0
        """
        need_rows(self.model.data, "class_shares()")
        model = self._latent
        with engine(), torch.enable_grad():
            Z, given = model.person_variables.double().cpu(), model.data.weights
            w = torch.ones(len(Z), dtype=torch.float64) if given is None else given.values.double().cpu()
            theta = estimates_of(self).requires_grad_()
            shares = (w / w.sum()) @ model.layout.log_shares(theta, Z).exp()
            rows = [torch.autograd.grad(s, theta, retain_graph=True, allow_unused=True)[0] for s in shares]
            jacobian = torch.stack([torch.zeros_like(theta) if row is None else row for row in rows]).detach()
            labels = pd.DataFrame({"class": _labels(model.classes)})
            return quantities(self, "Class shares", labels, shares, jacobian, alpha)

    def class_probabilities(self) -> pd.DataFrame:
        """Return the probabilities of the classes of each person given the choices (Bayes' rule), persons x classes."""
        need_rows(self.model.data, "class_probabilities()")
        model = self._latent
        with engine(), torch.no_grad():
            objective = model.make_objective(self.fit.map)
            found = objective.posteriors(self.fit.map.working(self.fit.gamma)).double().cpu().numpy()
        return pd.DataFrame(found, index=model.data.rows.labels, columns=_labels(model.classes))


def _labels(count: int) -> list[str]:
    return [f"class{c + 1}" for c in range(count)]
