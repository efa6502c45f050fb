"""Add a column of ones, as statsmodels' function of that name does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch


def add_constant(data: Any, prepend: bool = True) -> Any:
    """Return ``data`` with a column of ones; the same kind of object, and not the same object.

    Parameters
    ----------
    data : array (n,) or (n, k), tensor, Series or frame. A frame gets a column ``const``.
    prepend : put the column first (default) or last. If there is a constant column already, ``data`` is returned.

    Examples
    --------
    >>> import numpy as np, torchmle as tm
    >>> tm.add_constant(np.array([[2.0], [3.0]])).tolist()
    [[1.0, 2.0], [1.0, 3.0]]
    """
    if isinstance(data, (pd.DataFrame, pd.Series)):
        frame = data.to_frame() if isinstance(data, pd.Series) else data
        if "const" in frame.columns:
            return data
        ones = pd.DataFrame({"const": 1.0}, index=frame.index)
        return pd.concat([ones, frame] if prepend else [frame, ones], axis=1)
    if isinstance(data, torch.Tensor):
        X = data[:, None] if data.ndim == 1 else data
        column = torch.ones(len(X), 1, dtype=X.dtype, device=X.device)
        constant = bool(((X[0] == X).all(0) & (X[0] != 0)).any())
        return data if constant else torch.cat([column, X] if prepend else [X, column], 1)
    array = np.asarray(data)
    array = array[:, None] if array.ndim == 1 else array
    if ((array == array[0]).all(axis=0) & (array[0] != 0)).any():
        return data
    ones_column = np.ones((len(array), 1))
    return np.hstack([ones_column, array] if prepend else [array, ones_column])
