"""Time an epoch of training against a bare torch loop over the same batches, taking turns in one process.

    python benchmarks/neural.py [rounds]

Four bare loops: over batches that were made beforehand (nothing but forward, backward and step), over slices of a
random order of the rows, over batches by ``index_select``, and over a ``DataLoader``, which torchmle reads as well.
The ratio is that of the shortest epochs of ours and theirs: what else runs on the machine only adds. All of them have
torch on one thread: on a busy machine the barriers between its threads take more than ten times what they share.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import torch
from table import machine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchmle.loglik.batches import ArrayBatches, LoaderBatches
from torchmle.loglik.randomness import OwnRandom
from torchmle.loglik.trainee import ModuleTrainee
from torchmle.optim.training import TrainingOptions, train

CPU = torch.device("cpu")


class Line(nn.Module):
    """A normal regression on one column: the lecture's first module."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        z = (y - self.alpha - self.beta * x) * torch.exp(-self.log_sigma)
        return -0.5 * z * z - self.log_sigma - 0.9189385332046727


class Classes(nn.Module):
    """The log-probability of a class by any net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return -nn.functional.cross_entropy(self.net(x), y, reduction="none")


def perceptron() -> nn.Module:
    return Classes(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)))


def convolutions() -> nn.Module:
    head = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return Classes(
        nn.Sequential(*head, nn.Flatten(), nn.Dropout(0.25), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))
    )


def problems() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...], int, int]]:
    """Yield name, module, records, batch size and epochs; the images have the shape of scikit-learn's digits."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(5_000, generator=draw)
    yield "line", Line(), (1 + 2 * x + torch.randn(5_000, generator=draw), x), 5, 1
    X = torch.randn(15_000, 20, generator=draw)
    yield "perceptron", perceptron(), ((X[:, 0] > 0).long(), X), 150, 4
    images = torch.rand(1_797, 1, 8, 8, generator=draw)
    yield "digits", convolutions(), (torch.randint(10, (1_797,), generator=draw), images), 64, 2


def bare(module: nn.Module, epochs: int, batches: Callable[[int], Iterable[tuple[Tensor, ...]]]) -> float:
    """Return seconds of an epoch of what one would write by hand."""
    module = copy.deepcopy(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.001)
    module.train()
    made = [batches(epoch) for epoch in range(epochs)]
    begin = time.perf_counter()
    for epoch in range(epochs):
        for batch in made[epoch]:
            optimizer.zero_grad()
            loss = -module(*batch).mean()
            loss.backward()
            optimizer.step()
    return (time.perf_counter() - begin) / epochs


def ours(module: nn.Module, epochs: int, batches: ArrayBatches | LoaderBatches) -> float:
    """Return seconds of an epoch of torchmle, the start and the end of the run included."""
    trainee = ModuleTrainee(copy.deepcopy(module), batches)
    begin = time.perf_counter()
    train(trainee, TrainingOptions(epochs=epochs, lr=0.001))
    return (time.perf_counter() - begin) / epochs


def by_slices(records: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    order = torch.randperm(len(records[0]))
    yield from zip(*(t[order].split(size) for t in records), strict=True)


def by_index(records: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    for rows in torch.randperm(len(records[0])).split(size):
        yield tuple(t.index_select(0, rows) for t in records)


def prepared(batches: ArrayBatches, epoch: int) -> list[tuple[Tensor, ...]]:
    with OwnRandom(CPU) as random:
        return [tuple(t.clone() for t in batch.inputs) for batch in batches.shuffled(0, epoch, 0, random)]


def measure(rounds: int) -> pd.DataFrame:
    found = []
    for name, module, records, size, epochs in problems():
        batches, loader = ArrayBatches(records, size), DataLoader(TensorDataset(*records), size, shuffle=True)
        runs: dict[str, Callable[[], float]] = {
            "torchmle": lambda: ours(module, epochs, batches),  # noqa: B023
            "bare, made beforehand": lambda: bare(module, epochs, lambda e: prepared(batches, e)),  # noqa: B023
            "bare, slices": lambda: bare(module, epochs, lambda _: by_slices(records, size)),  # noqa: B023
            "bare, index_select": lambda: bare(module, epochs, lambda _: by_index(records, size)),  # noqa: B023
            "torchmle, DataLoader": lambda: ours(module, epochs, LoaderBatches(loader, CPU)),  # noqa: B023
            "bare, DataLoader": lambda: bare(module, epochs, lambda _: loader),  # noqa: B023
        }
        seconds = {run: [] for run in runs}
        for _ in range(rounds + 1):
            for run, work in runs.items():
                seconds[run].append(work())
        best = {run: min(values[1:]) for run, values in seconds.items()}
        for run, value in best.items():
            mine = best["torchmle, DataLoader" if "DataLoader" in run else "torchmle"]
            found.append((name, run, -(-len(records[0]) // size), value, mine / value))
    columns = ["problem", "loop", "batches", "seconds an epoch", "torchmle over it"]
    return pd.DataFrame(found, columns=columns).round({"seconds an epoch": 4, "torchmle over it": 3})


def main(rounds: int = 7) -> None:
    torch.set_num_threads(1)
    table = measure(rounds)
    print(table.to_string(index=False))
    path = Path(__file__).parent / "results" / "neural.csv"
    with path.open("w") as file:
        file.write(f"# neural: torch on one thread; {machine(['torchmle'])}\n")
        table.to_csv(file, index=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
