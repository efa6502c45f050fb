"""Time Mixed Logit B of Brownstone and Train (1999): 4,654 households, six vehicles, 250 draws.

    python benchmarks/seed_s0.py [draws ...]

Prints the log-likelihood of the multinomial logit against the published one (it fails if that is missed), and for each
number of draws the log-likelihood of the mixed logit, seconds from the table to estimates and errors by the exact
Hessian, seconds of one value with gradient, and of one Hessian.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd

import torchmle as tm

PUBLISHED = -7391.830
LAYOUT = {"alternatives": "alt_id", "situations": "obs_id"}
FORMULA = (
    "choice ~ price + range + acceleration + top_speed + pollution + size + big_enough + luggage + cost + station"
    " + sportuv + sportcar + stwagon + truck + van + ev + ev:coml5 + ev:college + cng + methanol + methanol:college | 0"
)


def vehicles() -> pd.DataFrame:
    """Return the table of docs/tutorial/mixed-logit-b.md."""
    path = Path(__file__).parents[1] / "tests" / "reference" / "data" / "car_choice.csv.gz"
    cars = pd.read_csv(path).rename(columns={"price_over_log_income": "price"})
    fuel, body = cars.fuel_type, cars.body_type
    return cars.assign(
        range=cars.range / 100,
        acceleration=cars.acceleration / 10,
        top_speed=cars.top_speed / 100,
        size=cars.vehicle_size / 10,
        big_enough=((cars.hsg2 == 1) & (cars.vehicle_size == 3)) * 1.0,
        luggage=cars.luggage_space,
        cost=cars.cents_per_mile / 10,
        station=cars.station_availability,
        **{name: (body == name) * 1.0 for name in ["sportuv", "sportcar", "stwagon", "truck", "van"]},
        **{
            short: (fuel == name) * 1.0
            for short, name in {"ev": "electric", "cng": "cng", "methanol": "methanol"}.items()
        },
        non_ev=(fuel != "electric") * 1.0,
        non_cng=(fuel != "cng") * 1.0,
    )


def mixed(cars: pd.DataFrame, draws: int) -> dict[str, object]:
    """Fit the mixed logit and time it."""
    lognormal = dict.fromkeys(["price", "acceleration", "pollution", "cost"], "-lognormal")
    lognormal |= dict.fromkeys(["range", "top_speed", "big_enough", "station"], "lognormal")
    random = {**lognormal, "size": "normal", "luggage": "normal"}
    begin = time.perf_counter()
    model = tm.MixedLogit.from_formula(
        FORMULA, cars, random=random, components="non_ev + non_cng", draws=tm.Draws("random", draws), **LAYOUT
    )
    results = model.fit(fixed={f"sd:{name}": 0.8326 for name in lognormal})
    seconds = time.perf_counter() - begin
    assert results.converged, results.status
    found = {"draws": draws, "llf": results.llf, "seconds": seconds, "iterations": results.fit.iterations}
    for name, method in (("score s", model.score), ("hessian s", model.hessian)):
        begin = time.perf_counter()
        method(results.params)
        found[name] = time.perf_counter() - begin
    return found


def main(numbers: list[int]) -> None:
    cars = vehicles()
    begin = time.perf_counter()
    logit = tm.ConditionalLogit.from_formula(FORMULA, cars, **LAYOUT).fit()
    print(f"multinomial logit: {logit.llf:.3f} (published {PUBLISHED:.3f}), {time.perf_counter() - begin:.2f} s")
    if abs(logit.llf - PUBLISHED) > 5e-4:
        raise SystemExit("The published log-likelihood is missed.")
    print(pd.DataFrame([mixed(cars, number) for number in numbers]).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [250])
