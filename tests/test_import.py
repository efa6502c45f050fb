"""Importing is cheap: torch and pandas load on first use, and heavy modules only where they are needed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib", "formulaic", "tabulate")
NEVER_FOR_A_FIT = (
    "matplotlib",
    "formulaic",
    "scipy.stats",
    "statsmodels",
    "sympy",
    "polars",
    "torch._dynamo",
    "torch._inductor",
)

ARRAY_FIT = """
import json, sys
import numpy as np
import torch, pandas
import torchmle as tm

before = set(sys.modules)
rng = np.random.default_rng(0)
X = tm.add_constant(rng.normal(size=(200, 2)))
latent = X @ [0.2, 1.0, -1.0] + rng.logistic(size=200)
ols = tm.OLS(latent, X).fit()
logit = tm.Logit((latent > 0).astype(float), X).fit(cov_type="HC1")
assert ols.converged and logit.converged
str(ols.summary()), str(logit.summary()), str(ols.compare_ols())
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded(code: str) -> list[str]:
    """Return the modules that a fresh interpreter lists on its last line after running some code."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def below(modules: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the modules that are one of the names, or belong to one."""
    return [m for m in modules if any(m == name or m.startswith(f"{name}.") for name in names)]


def test_importing_loads_nothing_heavy():
    code = "import json, sys; import torchmle; dir(torchmle); print(json.dumps(sorted(sys.modules)))"
    modules = loaded(code)
    assert "torchmle" in modules
    assert not below(modules, HEAVY)


def test_looking_at_data_does_not_load_torch():
    code = "import json, sys, torchmle; torchmle.datasets.load('wage1'); print(json.dumps(sorted(sys.modules)))"
    modules = loaded(code)
    assert "pandas" in modules
    assert not below(modules, ("torch", "formulaic", "scipy", "matplotlib"))


def test_a_fit_from_arrays_loads_only_what_it_uses():
    modules = loaded(ARRAY_FIT)
    assert "torchmle.models.linear" in modules
    assert not below(modules, NEVER_FOR_A_FIT)
