"""Go on with a training run: from results or from a checkpoint, with all that is left open as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import OptionError
from ...optim.registry import make_training, training_method
from ...optim.snapshots import NOT_KEPT, Snapshot
from ..checkpoint import resumed_training
from ..request import FitRequest
from .results import NeuralResults

if TYPE_CHECKING:
    from .base import ModuleModel

TAKEN = ("maxiter", "seed", "batch_size")
"""Arguments of ``fit`` that are those of the run where they are left out."""


def stood(model: ModuleModel, request: FitRequest) -> Snapshot | None:
    """Return where the training run that ``resume`` names stood, or None if it names none of this method.

    Results are a point to begin at for any other method; a checkpoint is for its own only.
    """
    if isinstance(request.resume, NeuralResults):
        snapshot: Snapshot | None = request.resume.snapshot
        if snapshot is None or request.method is None:
            return snapshot
        return snapshot if _class_name(request.method) == snapshot.asked["kind"] else None
    return resumed_training(request, model.model_name, model.data.device)


def _class_name(method: str) -> str | None:
    """Return the class of torch.optim of a method, or None for another method."""
    try:
        return make_training(method, {}, {}).kind.__name__
    except OptionError:
        return None


def taken_over(request: FitRequest, snapshot: Snapshot) -> FitRequest:
    """Return a request that asks for what the run was asked for wherever it says nothing itself.

    Raises
    ------
    OptionError
        If the run had an option that a file does not hold, and it is not given again.
    """
    asked = snapshot.asked
    options = {**asked["options"], **request.options}
    for name, value in options.items():
        if value == NOT_KEPT:
            raise OptionError(
                f"resume: the run began with {name}=, which a file does not hold. Give it again in options."
            )
    taken = {k: getattr(request, k) if getattr(request, k) is not None else asked[k] for k in TAKEN}
    return replace(request, method=request.method or training_method(asked["kind"]), options=options, **taken)
