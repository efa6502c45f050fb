"""Take formulaic's objects apart into plain values, and put them together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import FormulaError

Plain = dict[str, Any]


class Refused:
    """Stand where a fitted formula cannot be evaluated again; new data are an error that says why."""

    column_names: tuple[str, ...] = ()

    def __init__(self, why: str) -> None:
        self.why = why

    def get_model_matrix(self, *_: Any, **__: Any) -> Any:
        """Raise: predictions for new data are not possible."""
        raise FormulaError(
            f"new data cannot be read with loaded results: {self.why}. Build the model again from the same formula "
            "and give it: torchmle.load(path, model=model)."
        )


def formula_to_plain(formula: Any) -> list[Any]:
    """Return the terms of a formula: expression and way of evaluation of each factor."""
    return [[[f.expr, f.eval_method.value, f.kind.value] for f in term.factors] for term in formula]


def formula_from_plain(terms: Sequence[Any]) -> Any:
    """Return the formula of such terms, in their order."""
    from formulaic.formula import SimpleFormula

    return SimpleFormula([_term(factors) for factors in terms], _ordering="none")


def _term(factors: Sequence[Any]) -> Any:
    from formulaic.parser.types import Factor, Term

    return Term([Factor(expr, eval_method=method, kind=kind) for expr, method, kind in factors])


def spec_to_plain(spec: Any) -> Plain:
    """Return a fitted ModelSpec: its terms, the columns that they gave, levels and state of transforms."""
    encoders = {
        str(expr): [kind.value, {k: v for k, v in state.items() if k != "contrasts"}]  # which only shows what was used
        for expr, (kind, state) in spec.encoder_state.items()
    }
    structure = [
        [
            formula_to_plain([row.term])[0],
            [[[[f.factor.expr, bool(f.reduced)] for f in t.factors], t.scale] for t in row.scoped_terms],
            list(row.columns),
        ]
        for row in spec.structure
    ]
    return {
        "terms": formula_to_plain(spec.formula),
        "materializer": spec.materializer,
        "full_rank": spec.ensure_full_rank,
        "output": spec.output,
        "structure": structure,
        "transforms": dict(spec.transform_state),
        "encoders": encoders,
    }


def spec_from_plain(plain: Mapping[str, Any]) -> Any:
    """Return the ModelSpec that gives the same columns for the same data."""
    from formulaic import ModelSpec
    from formulaic.materializers.base import EncodedTermStructure
    from formulaic.parser.types import Factor

    formula = formula_from_plain(plain["terms"])
    factors = {f.expr: f for term in formula for f in term.factors}
    structure = [
        EncodedTermStructure(_term(term), [_scoped(t, factors) for t in scoped], list(columns))
        for term, scoped, columns in plain["structure"]
    ]
    return ModelSpec(
        formula=formula,
        materializer=plain["materializer"],
        materializer_params={},
        ensure_full_rank=plain["full_rank"],
        na_action="ignore",
        output=plain["output"],
        structure=structure,
        transform_state=dict(plain["transforms"]),
        encoder_state={k: (Factor.Kind(kind), dict(state)) for k, (kind, state) in plain["encoders"].items()},
    )


def _scoped(plain: Sequence[Any], factors: Mapping[str, Any]) -> Any:
    from formulaic.materializers.types import EvaluatedFactor, ScopedFactor, ScopedTerm

    own, scale = plain
    found = [ScopedFactor(EvaluatedFactor(factors[expr], None, None), reduced=reduced) for expr, reduced in own]
    return ScopedTerm(found, scale=scale)
