"""Resolve device, dtype and the sizes of the pieces of work."""

from __future__ import annotations

import torch

from .errors import DeviceError, OptionError, unknown

CHUNK_BYTES = 2_000_000
"""Bytes of the design matrix in one row chunk: it then stays in the processor's cache (docs/explanation)."""

DTYPES: dict[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32}


def resolve_device(device: str | torch.device, dtype: torch.dtype | str) -> tuple[torch.device, torch.dtype]:
    """Return the device and the dtype to compute in, or say why they are not available.

    Parameters
    ----------
    device : ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, ``"auto"`` or a ``torch.device``.
    dtype : ``torch.float64`` or ``torch.float32``, or its name. ``mps`` has no float64 and takes float32.

    Raises
    ------
    DeviceError
        If the device is unknown or not present on this machine.
    """
    resolved = _resolve_dtype(dtype)
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, ordinal = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (ordinal and not ordinal.isdigit()):
        raise DeviceError(unknown("device", str(device), ["cpu", "cuda", "cuda:0", "mps", "auto"]))
    if kind == "cuda":
        _check_cuda(int(ordinal or 0))
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("device='mps' was asked for, but this machine has no Apple GPU. Use device='cpu'.")
        resolved = torch.float32
    return torch.device(name), resolved


def _check_cuda(ordinal: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if ordinal >= count:
        raise DeviceError(
            f"device='cuda:{ordinal}' was asked for, but torch {torch.__version__} sees {count} CUDA devices "
            "on this machine. Use device='cpu' or device='auto'."
        )


def _resolve_dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise OptionError(unknown("dtype", str(dtype), DTYPES))
    return found


def chunk_rows(columns: int, device: torch.device, itemsize: int = 8) -> int:
    """Return how many rows one chunk holds, for ``columns`` numbers a row."""
    if device.type != "cpu":
        return max(65_536, 256_000_000 // (itemsize * max(columns, 1)))
    return int(min(16_384, max(2_048, CHUNK_BYTES // (itemsize * max(columns, 1)))))
