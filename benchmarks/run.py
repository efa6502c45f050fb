"""Time torchmle against its peers: each in a process of its own, in turns, with answers compared.

Run ``python benchmarks/run.py [problem ...] [--repeat 5] [--threads N]``. Prints a table a problem and keeps it as
``results/PROBLEM.csv``; ``--show`` prints the tables that are kept. A ratio is the peer's time over torchmle's. Gaps
are against the reference peer, of estimates in standard errors, of errors relative. With ``--device cuda`` or
``--dtype float32`` torchmle is held against itself on the CPU in float64.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from contender import THREADS, Contender, take_turns
from peers import PEERS
from problems import PROBLEMS
from table import as_text, machine, show, tabulate


def choose(problem_name: str, asked: list[str] | None) -> list[str]:
    """Return the peers that have such a model and are installed, and say which are not."""
    problem = PROBLEMS[problem_name]()
    able = [n for n, peer in PEERS.items() if (n in asked if asked else peer.takes(problem))]
    for name in able:
        if not PEERS[name].installed:
            print(f"{name}: skipped, {PEERS[name].package} is not installed")
    return [name for name in able if PEERS[name].installed]


def measure(name: str, options: argparse.Namespace) -> None:
    """Measure one problem, print its table and keep it."""
    peers = choose(name, options.peers)
    where = (options.device, options.dtype)
    elsewhere = where != ("cpu", "float64")
    if elsewhere:
        peers = [p for p in peers if PEERS[p].package == "torchmle"]
    contenders = [Contender.start(name, peer) for peer in peers]
    if elsewhere:
        contenders += [Contender.start(name, peer, *where) for peer in peers]
    take_turns(contenders, options.repeat, options.limit)
    result = tabulate(contenders)
    print(f"\n{name}\n{as_text(result)}", flush=True)
    stem = "-".join([name, *where]) if elsewhere else name
    header = f"# {name}: {machine(peers)}\n"
    (options.out / f"{stem}.csv").write_text(header + result.to_csv(index=False), encoding="utf-8")


def main() -> None:
    """Measure the problems asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", metavar="problem", help=f"any of {', '.join(PROBLEMS)}; all by default")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), help="only these, however many rows there are")
    parser.add_argument("--threads", type=int, help="threads of every peer; by default each has its own way")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which a peer is stopped")
    parser.add_argument("--device", default="cpu", help="of torchmle: cpu, cuda, mps")
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"], help="of torchmle")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--show", action="store_true", help="print the tables that are kept, and measure nothing")
    options = parser.parse_args()
    unknown = [name for name in options.problems if name not in PROBLEMS]
    if unknown:
        parser.error(f"no such problem: {', '.join(unknown)}; there are {', '.join(PROBLEMS)}")
    if options.show:
        print(show(options.out))
        return
    if options.threads:
        os.environ.update(dict.fromkeys(THREADS, str(options.threads)))
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.problems or PROBLEMS:
        measure(name, options)


if __name__ == "__main__":
    main()
