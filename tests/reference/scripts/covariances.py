"""Write ``covariances/peers.json``: standard errors of linearmodels 7.1 and pyfixest 0.60.0 on the panel of wages.

Run in an environment of its own with these two packages: ``python covariances.py`` in this folder.
"""

import json
from importlib import metadata
from pathlib import Path

import linearmodels as lm
import pandas as pd
import pyfixest as pf

ROOT = Path(__file__).parents[1]
FORMULA = "lwage ~ educ + exper + union + married"
LOGIT = "union ~ educ + exper + married"
COUNT = "children ~ educ + exper + married"

frame = pd.read_csv(ROOT / "data" / "w_wagepan.csv.gz")
frame["children"] = frame["hours"] // 250  # a count that the panel has for every row
panel = frame.set_index(["nr", "year"])
pooled = lm.PooledOLS.from_formula(FORMULA.replace("~", "~ 1 +"), panel)


def linearmodels(**options) -> dict[str, float]:
    errors = pooled.fit(**options).std_errors
    return {str(k): float(v) for k, v in errors.items()}


def pyfixest(vcov, formula: str = FORMULA, family: str | None = None, **options) -> dict[str, float]:
    if family is None:
        fit = pf.feols(formula, frame, vcov=vcov, **options)
    elif family == "poisson":
        fit = pf.fepois(formula, frame, vcov=vcov, iwls_tol=1e-15, iwls_maxiter=200, **options)
    else:
        fit = pf.feglm(formula, frame, family=family, vcov=vcov, iwls_tol=1e-15, iwls_maxiter=200, **options)
    return {str(k): float(v) for k, v in fit.se().items()}


own = pf.ssc(k_adj=True, G_adj=True, G_df="conventional")
least = pf.ssc(k_adj=True, G_adj=True, G_df="min")
cases = {
    "linearmodels": {
        "HC1": linearmodels(cov_type="robust"),
        "cluster nr": linearmodels(cov_type="clustered", cluster_entity=True, group_debias=True),
        "cluster nr year": linearmodels(
            cov_type="clustered", cluster_entity=True, cluster_time=True, group_debias=True
        ),
        "driscoll-kraay bartlett 3": linearmodels(cov_type="kernel", kernel="bartlett", bandwidth=3),
        "driscoll-kraay parzen 3": linearmodels(cov_type="kernel", kernel="parzen", bandwidth=3),
        "driscoll-kraay quadratic-spectral 3": linearmodels(cov_type="kernel", kernel="qs", bandwidth=3),
    },
    "pyfixest": {
        "HC1": pyfixest("HC1"),
        "HC2": pyfixest("HC2"),
        "HC3": pyfixest("HC3"),
        "cluster nr": pyfixest({"CRV1": "nr"}),
        "cluster nr year own": pyfixest({"CRV1": "nr + year"}, ssc=own),
        "cluster nr year min": pyfixest({"CRV1": "nr + year"}, ssc=least),
        "CRV3 nr": pyfixest({"CRV3": "nr"}),
        "logit HC1": pyfixest("HC1", LOGIT, "logit"),
        "logit cluster nr": pyfixest({"CRV1": "nr"}, LOGIT, "logit"),
        "probit HC1": pyfixest("HC1", LOGIT, "probit"),
        "poisson HC1": pyfixest("HC1", COUNT, "poisson"),
        "poisson cluster nr": pyfixest({"CRV1": "nr"}, COUNT, "poisson"),
    },
}
names = ("linearmodels", "pyfixest", "numpy", "pandas")
record = {
    "data": "w_wagepan.csv.gz",
    "formulas": {"OLS": FORMULA, "logit, probit": LOGIT, "poisson": COUNT},
    "versions": {name: metadata.version(name) for name in names},
    "bse": cases,
}
target = ROOT / "covariances" / "peers.json"
target.write_text(json.dumps(record, indent=1) + "\n")
