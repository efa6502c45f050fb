"""Training by mini-batches: against bare torch loops; interrupted, killed, resumed; seeds, weights, loaders, faults."""

import copy
import functools
import math
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset

import torchmle as tm
from torchmle.loglik.batches import ArrayBatches, Batch, LoaderBatches, split_rows
from torchmle.loglik.randomness import OwnRandom, mixed
from torchmle.loglik.trainee import ModuleTrainee
from torchmle.models import checkpoint as files
from torchmle.optim import run as engine
from torchmle.optim.base import Status
from torchmle.optim.registry import make_training
from torchmle.optim.snapshots import read_bytes, to_bytes
from torchmle.optim.training import TrainingOptions, train

CPU = torch.device("cpu")
N, SIZE = 90, 20


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On a busy machine the barriers between threads take most of the time of bare loops on small batches."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(n=N, dtype=torch.float64):
    draw = torch.Generator().manual_seed(5)
    X = torch.randn(n, 3, generator=draw, dtype=dtype)
    return X[:, 0] - 0.5 * X[:, 1] + torch.randn(n, generator=draw, dtype=dtype), X


class Normal(nn.Module):
    """A normal response around a net."""

    def __init__(self, net, log_sigma=0.3):
        super().__init__()
        self.net = net
        self.log_sigma = nn.Parameter(torch.tensor(log_sigma, dtype=torch.float64))

    def forward(self, y, x):
        mu = self.net(x).squeeze(1)
        return -0.5 * ((y - mu) * torch.exp(-self.log_sigma)) ** 2 - self.log_sigma - 0.5 * math.log(2 * math.pi)


def plain():
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return Normal(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double())


def noisy():
    """Dropout draws, and batch normalisation keeps buffers."""
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        layers = nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 1)
        return Normal(nn.Sequential(*layers).double())


def trainee(module=None, size=SIZE, validation=False, **kw):
    records = data()
    kept, back = split_rows(N, 0.25, 0) if validation else (None, None)
    held = ArrayBatches(records, size, rows=back) if validation else None
    return ModuleTrainee(module or plain(), ArrayBatches(records, size, rows=kept), held, **kw)


def options(**kw):
    return TrainingOptions(**{"epochs": 4, "lr": 0.01, "seed": 3, **kw})


def comparable(trained):
    """Return all that must be the same in two runs; NaN are equal."""
    rows = [[r.iteration, r.running_loglik, r.validation_loglik, r.lr] for r in trained.trace]
    kept = {k: v.tolist() for k, v in trained.state.items()}
    return repr((trained.x.tolist(), trained.snapshot.x.tolist(), kept, rows, trained.epochs, trained.best))


# ---- the same as by hand


def by_hand(kind, epochs, settings, schedule=None, clip=None, module=None, size=SIZE, seed=3):
    """Train with torch alone, one tensor at a time, on the same batches."""
    module, (y, X) = module or plain(), data()
    optimizer = kind(module.parameters(), **settings)
    scheduler = None
    if schedule is not None:
        factory = functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=schedule)
        scheduler = (schedule if engine_made(schedule) else factory)(optimizer)
    batches = ArrayBatches((y, X), size)
    for epoch in range(epochs):
        for rows in batches.order(seed, epoch).split(size or N):
            optimizer.zero_grad()
            (-module(y[rows], X[rows]).mean()).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(module.parameters(), clip)
            optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def engine_made(schedule):
    return isinstance(schedule, functools.partial)


HALVING = functools.partial(StepLR, step_size=1, gamma=0.5)


@pytest.mark.parametrize(("kind", "settings"), [
    (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.99)}),
    (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (torch.optim.RMSprop, {"lr": 0.005, "centered": True}),
    (torch.optim.Adagrad, {"lr": 0.05}),
    (torch.optim.NAdam, {"lr": 0.01}),
    (torch.optim.Rprop, {"lr": 0.01}),
    (torch.optim.ASGD, {"lr": 0.05}),
    (torch.optim.Adafactor, {"lr": 0.01}),
], ids=lambda v: v.__name__ if isinstance(v, type) else "-".join(k for k in v if k != "lr"))  # fmt: skip
@pytest.mark.parametrize(("schedule", "clip"), [(None, None), (lambda epoch: 0.7**epoch, 0.5), (HALVING, 0.3)])
def test_training_is_what_a_bare_loop_does(kind, settings, schedule, clip):
    rest = {k: v for k, v in settings.items() if k != "lr"}
    found = train(trainee(), options(kind=kind, lr=settings["lr"], extra=rest, schedule=schedule, clip=clip))
    expected = by_hand(kind, 4, settings, schedule, clip)
    # the only difference is the order in which rounding happens, within sums over one tensor or several
    assert torch.allclose(found.x, expected, rtol=0, atol=1e-12)
    assert found.status is Status.TRAINED
    assert found.epochs == 4


@pytest.mark.parametrize("size", [None, N, 5 * N, 1, 7])
def test_batches_of_any_size(size):
    found = train(trainee(size=size), options(epochs=2, kind=torch.optim.SGD))
    taken = N if size is None else min(size, N)
    assert torch.allclose(found.x, by_hand(torch.optim.SGD, 2, {"lr": 0.01}, size=taken), rtol=0, atol=1e-12)


def test_rows_put_in_order_in_blocks_are_the_same_rows(monkeypatch):
    whole = train(trainee(), options())
    monkeypatch.setattr("torchmle.loglik.batches.GATHER_BYTES", 1)
    assert torch.equal(train(trainee(), options()).x, whole.x)


def test_an_epoch_reads_every_row_once_in_a_new_order():
    batches, random = ArrayBatches(data(), 7), OwnRandom(CPU)
    orders = [torch.cat([b.rows for b in batches.shuffled(0, e, 0, random)]) for e in range(3)]
    assert all(o.sort().values.equal(torch.arange(N)) for o in orders)
    assert not orders[0].equal(orders[1])
    for batch in batches.shuffled(0, 1, 0, random):
        assert batch.inputs[0].equal(data()[0][batch.rows])


def test_plateaus_lower_the_rate():
    schedule = functools.partial(ReduceLROnPlateau, patience=0, factor=0.1, threshold=1e3, threshold_mode="abs")
    found = train(trainee(validation=True), options(schedule=schedule))
    # no epoch gains a thousand: the first one sets the level, and each one after it cuts the rate
    assert np.allclose([row.lr for row in found.trace[1:]], [0.01, 0.01, 1e-3, 1e-4])


def test_weight_decay_is_a_penalty_only_where_it_is_asked_for():
    quiet = make_training("torch:AdamW", {}, {"lr": 0.01})
    loud = make_training("torch:AdamW", {}, {"lr": 0.01, "weight_decay": 0.1})
    assert (quiet.extra["weight_decay"], quiet.notes) == (0.0, ())
    assert "weight_decay=0.1" in loud.notes[0]
    assert "penalised" in train(trainee(), loud).notes[0]


# ---- interrupts, kills, limits


class Trap(nn.Module):
    """Do something in the k-th forward or backward pass in train mode."""

    def __init__(self, module, at, action, where="forward"):
        super().__init__()
        self.module, self.at, self.action, self.where, self.calls = module, at, action, where, 0

    def spring(self, *_):
        self.calls += 1
        if self.calls == self.at:
            self.action()

    def forward(self, y, x):
        found = self.module(y, x)
        if self.training and self.where == "forward":
            self.spring()
        if self.training and self.where == "backward":
            found.register_hook(self.spring)
        return found


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def snap_always(monkeypatch):
    for name in ("EVERY", "SHARE"):
        monkeypatch.setattr(engine, name, 0)


def noisy_trainee(module=None):
    return trainee(module or Trap(noisy(), 0, None), validation=True)


@functools.cache
def uninterrupted(schedule=None):
    return train(noisy_trainee(), options(schedule=schedule))


@pytest.mark.parametrize("every", [0.0, 0.1])
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("at", [1, 4, 6, 15])
def test_ctrl_c_within_an_epoch_and_resume_is_as_if_nothing_had_happened(monkeypatch, every, where, at):
    monkeypatch.setattr(engine, "EVERY", every)
    monkeypatch.setattr(engine, "SHARE", 0)
    stopped = train(noisy_trainee(Trap(noisy(), at, ctrl_c, where)), options())
    assert stopped.status is Status.INTERRUPTED
    if every == 0:
        place = stopped.snapshot.progress
        assert place.epoch * 4 + place.batch == at - 1  # not one batch is lost
    resumed = train(noisy_trainee(), options(), resume=stopped.snapshot)
    assert comparable(resumed) == comparable(uninterrupted())
    assert resumed.status is Status.TRAINED


@pytest.mark.parametrize("schedule", [
    lambda epoch: 0.5**epoch,
    HALVING,
    functools.partial(CosineAnnealingLR, T_max=4),
    functools.partial(OneCycleLR, max_lr=0.1, total_steps=8),
    functools.partial(ReduceLROnPlateau, patience=0),
])  # fmt: skip
def test_ctrl_c_between_epochs_and_schedules(schedule):
    stopped = train(noisy_trainee(), options(schedule=schedule), callback=lambda row: row.iteration == 2 and ctrl_c())
    assert (stopped.status, stopped.epochs, len(stopped.trace)) == (Status.INTERRUPTED, 2, 3)
    resumed = train(noisy_trainee(), options(schedule=schedule), resume=stopped.snapshot)
    assert comparable(resumed) == comparable(train(noisy_trainee(), options(schedule=schedule)))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Rprop, torch.optim.ASGD, torch.optim.Adafactor])
def test_every_kind_of_memory_is_taken_up(kind, monkeypatch):
    snap_always(monkeypatch)
    settings = options(kind=kind, extra={"momentum": 0.9} if kind is torch.optim.SGD else {})
    stopped = train(noisy_trainee(Trap(noisy(), 7, ctrl_c)), settings)
    tree = read_bytes(memoryview(b"".join(to_bytes(stopped.snapshot.tree()))), CPU)
    assert repr(tree) == repr(stopped.snapshot.tree())
    resumed = train(noisy_trainee(), settings, resume=stopped.snapshot)
    assert comparable(resumed) == comparable(train(noisy_trainee(), settings))


def test_ctrl_c_before_the_first_epoch():
    module = Trap(noisy(), 0, None)
    module.register_forward_pre_hook(lambda part, _: None if part.training else ctrl_c())
    stopped = train(noisy_trainee(module), options())
    assert (stopped.status, stopped.epochs, len(stopped.trace)) == (Status.INTERRUPTED, 0, 1)
    assert comparable(train(noisy_trainee(), options(), resume=stopped.snapshot)) == comparable(uninterrupted())


def test_ctrl_c_by_a_timer():
    timer = threading.Timer(0.3, ctrl_c)
    timer.start()
    stopped = train(noisy_trainee(), options(epochs=100_000))
    assert stopped.status is Status.INTERRUPTED
    assert 0 < stopped.epochs < 100_000
    again = train(noisy_trainee(), options(epochs=stopped.epochs + 1), resume=stopped.snapshot)
    assert comparable(again) == comparable(train(noisy_trainee(), options(epochs=stopped.epochs + 1)))


def test_a_time_limit_within_an_epoch_leaves_nothing_behind(monkeypatch):
    snap_always(monkeypatch)
    cut = train(noisy_trainee(), options(time_limit=1e-9))
    assert (cut.status, cut.epochs) == (Status.TIME_LIMIT, 0)
    slow = Trap(noisy(), 6, lambda: threading.Event().wait(0.3))
    cut = train(noisy_trainee(slow), options(time_limit=0.25))
    assert cut.status is Status.TIME_LIMIT
    assert comparable(train(noisy_trainee(), options(), resume=cut.snapshot)) == comparable(uninterrupted())


def test_a_callback_stops_and_more_epochs_go_on():
    stopped = train(noisy_trainee(), options(), callback=lambda row: row.iteration == 1)
    assert (stopped.status, stopped.epochs) == (Status.STOPPED, 1)
    done = train(noisy_trainee(), options(epochs=2), resume=stopped.snapshot)
    more = train(noisy_trainee(), options(), resume=done.snapshot)
    assert comparable(more) == comparable(uninterrupted())
    assert [row.seconds for row in more.trace] == sorted(row.seconds for row in more.trace)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_training as t
from torchmle.models import checkpoint as files
t.engine.EVERY = t.engine.SHARE = files.EVERY = files.SHARE = 0
trap = t.Trap(t.noisy(), {at}, lambda: os.kill(os.getpid(), signal.SIGKILL))
keep = files.open_training({path!r}, "Noisy").keep
t.train(t.noisy_trainee(trap), t.options(), keep=keep)
"""


@pytest.mark.parametrize("at", [7])
def test_a_kill_and_resume_is_as_if_nothing_had_happened(tmp_path, at):
    path = tmp_path / "run"
    script = KILLED.format(tests=os.path.dirname(__file__), path=str(path), at=at)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    snapshot = files.read_training(path, "Noisy", CPU)
    assert snapshot.progress.epoch * 4 + snapshot.progress.batch == at - 1
    assert comparable(train(noisy_trainee(), options(), resume=snapshot)) == comparable(uninterrupted())


# ---- validation


def test_the_best_weights_are_kept_and_their_buffers():
    """A rate that explodes after two epochs: what came before is returned."""
    schedule = {0: 1.0, 1: 1.0}
    setup = options(schedule=lambda epoch: schedule.get(epoch, 300.0), epochs=50, patience=3)
    found = train(noisy_trainee(), setup)
    scores = [row.validation_loglik for row in found.trace]
    assert found.best == int(np.argmax(scores)) <= 2
    assert found.epochs == found.best + 3
    assert "Stopped early" in found.notes[0]
    until = train(noisy_trainee(), options(epochs=found.best))
    assert torch.equal(until.x, found.x)
    assert all(torch.equal(until.state[k], found.state[k]) for k in until.state)
    again = noisy_trainee()
    moved = train(again, setup)
    assert torch.equal(again.flat.detach(), moved.x)  # the trainee is left at the point that is returned
    assert again.evaluate("validation") == max(scores)


def test_a_pass_over_the_rows_leaves_the_grad_mode_alone():
    for _ in trainee().passed("train"):
        assert torch.is_grad_enabled()


def test_a_score_is_exact_and_of_the_point():
    work = trainee(validation=True)
    found = train(work, options())
    _, back = split_rows(N, 0.25, 0)
    y, X = data()
    with torch.no_grad():
        expected = work.module(y[back], X[back]).mean()
    best = found.trace[found.best].validation_loglik
    assert best == pytest.approx(float(expected), abs=1e-14)


def test_groups_are_not_cut_in_two():
    groups = torch.arange(60) // 6
    kept, back = split_rows(60, 0.3, 7, groups)
    assert set(groups[kept].tolist()) & set(groups[back].tolist()) == set()
    assert len(back) == 18
    assert torch.cat([kept, back]).sort().values.equal(torch.arange(60))


# ---- weights


def test_weights_are_repeated_rows_where_all_rows_are_one_batch():
    y, X = data()
    w = torch.arange(N) % 4
    rows = torch.arange(N).repeat_interleave(w)
    one = train(ModuleTrainee(plain(), ArrayBatches((y, X), None, w.double())), options())
    two = train(ModuleTrainee(plain(), ArrayBatches((y[rows], X[rows]))), options())
    # Adam divides by the size of the gradient: rounding in the sums is all that differs
    assert torch.allclose(one.x, two.x, rtol=0, atol=1e-11)
    assert one.trace[-1].running_loglik == pytest.approx(two.trace[-1].running_loglik, abs=1e-12)


@pytest.mark.parametrize("loader", [False, True])
def test_gradients_of_weighted_batches_have_the_gradient_of_all_rows_as_their_mean(loader):
    """A ratio to the weight within each batch would not."""
    y, X = data()
    w = torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 4 * (1 + (y - 1) ** 2)
    batches = ArrayBatches((y, X), 9, w)
    if loader:
        batches = LoaderBatches(DataLoader(TensorDataset(y, X, w), 9, shuffle=True), CPU, weights=2)
    work = ModuleTrainee(plain(), batches)
    with OwnRandom(CPU) as random:
        for batch in work.batches(0, 0, 0, random):
            (work.objective(batch) * len(batch.weights) / N).backward()
    module = plain()
    (-(w * module(y, X)).sum() / w.sum()).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    assert torch.allclose(work.flat.grad, expected, rtol=0, atol=1e-14)
    assert work.evaluate("train") == pytest.approx(float((w * module(y, X)).detach().sum() / w.sum()), abs=1e-14)


def test_parameters_that_are_held_stay():
    module = plain()
    setup = options(kind=torch.optim.AdamW, extra={"weight_decay": 0.5}, clip=0.1)
    found = train(trainee(module, held=torch.tensor([0, 4])), setup)
    start = ModuleTrainee(plain(), ArrayBatches(data())).flat.detach()
    assert torch.equal((found.x == start).nonzero().flatten(), torch.tensor([0, 4]))


# ---- loaders


class Stream(IterableDataset):
    """Records without a length, shuffled by torch's own generator."""

    def __iter__(self):
        y, X = data()
        return iter([(y[i], X[i]) for i in torch.randperm(N)])


class Named(torch.utils.data.Dataset):
    """Records as dicts, with noise from torch's generator."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        y, X = data()
        return {"x": X[i] + 0.01 * torch.randn(3, dtype=torch.float64), "y": y[i]}


class Shuffled:
    """An iterable of the user's own, which draws while it is read."""

    def __iter__(self):
        y, X = data()
        for _ in range(4):
            rows = torch.randperm(N)[:SIZE]
            yield [y[rows], X[rows]]


LOADERS = {
    "tuples": lambda: DataLoader(TensorDataset(*data()), SIZE, shuffle=True),
    "dicts": lambda: DataLoader(Named(), SIZE, shuffle=True),
    "own generator": lambda: DataLoader(TensorDataset(*data()), SIZE, True, generator=torch.Generator().manual_seed(9)),
    "stream": lambda: DataLoader(Stream(), SIZE),
    "iterable": Shuffled,
    "list": lambda: [(y, X) for y, X in zip(*(t.split(SIZE) for t in data()), strict=True)],
    "arrays": lambda: [{"y": y.numpy(), "x": X.numpy()} for y, X in LOADERS["list"]()],
    "epochs": lambda: DataLoader(
        (d := TensorDataset(*data())), SIZE, sampler=DistributedSampler(d, num_replicas=1, rank=0)
    ),
    "workers": lambda: DataLoader(Named(), SIZE, shuffle=True, num_workers=1),
}


@pytest.mark.parametrize("name", LOADERS)
def test_loaders_are_repeatable_and_resumed(name, monkeypatch):
    snap_always(monkeypatch)

    def run(module, resume=None, loader=None):
        work = ModuleTrainee(module, LoaderBatches(LOADERS[name]() if loader is None else loader, CPU))
        return train(work, options(epochs=2), resume=resume)

    loader = LOADERS[name]()
    whole = run(Trap(noisy(), 0, None), loader=loader)
    assert comparable(run(Trap(noisy(), 0, None), loader=loader)) == comparable(whole)
    stopped = run(Trap(noisy(), 8, ctrl_c))
    assert stopped.status is Status.INTERRUPTED
    assert stopped.snapshot.progress.batch > 0
    assert comparable(run(Trap(noisy(), 0, None), stopped.snapshot)) == comparable(whole)


def test_a_loader_is_the_same_as_by_hand():
    loader = DataLoader(TensorDataset(*data()), SIZE, shuffle=True)
    found = train(ModuleTrainee(plain(), LoaderBatches(loader, CPU)), options(kind=torch.optim.SGD))
    module = plain()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    with torch.random.fork_rng([]):
        for epoch in range(4):
            torch.manual_seed(mixed(3, "order", epoch))
            for batch in loader:
                optimizer.zero_grad()
                (-module(*batch).mean()).backward()
                optimizer.step()
    assert torch.allclose(found.x, torch.cat([p.detach().reshape(-1) for p in module.parameters()]), rtol=0, atol=1e-12)


def test_a_loader_is_left_as_it_was():
    generator = torch.Generator().manual_seed(9)
    loader = DataLoader(TensorDataset(*data()), SIZE, shuffle=True, generator=generator)
    before = generator.get_state()
    train(ModuleTrainee(plain(), LoaderBatches(loader, CPU)), options())
    assert torch.equal(generator.get_state(), before)


def test_numbers_of_a_loader_become_those_of_the_module():
    batches = LoaderBatches([tuple(t.float() for t in data())], CPU, torch.float64)
    found = train(ModuleTrainee(plain(), batches), options())
    assert found.x.dtype == torch.float64


@pytest.mark.parametrize(("make", "text"), [
    (lambda: LoaderBatches(iter([1]), CPU), "cannot be read more than once"),
    (lambda: LoaderBatches(7, CPU), "cannot be read more than once"),
    (lambda: LoaderBatches([data()], CPU, weights=5), "no weights 5; they have 2 parts"),
    (lambda: LoaderBatches([{"y": data()[0]}], CPU, weights="w"), r"no weights 'w'; they have \['y'\]"),
    (lambda: train(ModuleTrainee(plain(), LoaderBatches([], CPU)), options()), "gives no batch"),
    (lambda: ArrayBatches((torch.zeros(3), torch.zeros(4))), r"one number of rows; their shapes: \(3,\), \(4,\)"),
    (lambda: ArrayBatches((torch.zeros(3),), weights=torch.ones(2)), "one number of rows"),
    (lambda: ArrayBatches(()), "shapes: none"),
    (lambda: split_rows(3, 0.01, 0), "empty part"),
    (lambda: split_rows(3, 1.5, 0), "empty part"),
])  # fmt: skip
def test_data_that_cannot_be_read(make, text):
    with pytest.raises(tm.errors.TorchmleError, match=text):
        make()


# ---- seeds, and nothing global changed


def test_seeds():
    one, same, other = (train(noisy_trainee(), options(seed=s)) for s in (1, 1, 2))
    assert comparable(one) == comparable(same)
    assert not torch.equal(one.x, other.x)


def test_nothing_global_is_changed():
    torch.set_num_threads(2)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    drawn = np.random.get_state()[1].tolist()
    stopped = train(noisy_trainee(Trap(noisy(), 5, ctrl_c)), options())
    assert stopped.status is Status.INTERRUPTED
    with pytest.raises(ZeroDivisionError):
        train(noisy_trainee(Trap(noisy(), 5, lambda: 1 / 0)), options())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    assert drawn == np.random.get_state()[1].tolist()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    torch.set_num_threads(1)


TABLE = data()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")])
def test_modes_of_the_caller_do_not_matter(mode):
    with mode():
        made = tuple(t.clone() for t in TABLE)
    work = ModuleTrainee(noisy(), ArrayBatches(made, SIZE))
    with mode():
        found = train(work, options())
    assert comparable(found) == comparable(train(ModuleTrainee(noisy(), ArrayBatches(data(), SIZE)), options()))


def test_two_runs_in_two_threads_are_those_of_one():
    before, found = torch.get_rng_state(), {}
    made = {seed: noisy_trainee() for seed in (1, 2)}

    def work(seed):
        found[seed] = train(made[seed], options(seed=seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(before, torch.get_rng_state())
    for seed in (1, 2):
        assert comparable(found[seed]) == comparable(train(noisy_trainee(), options(seed=seed)))


def test_train_and_eval_modes():
    module = noisy()
    module.net[1].eval()  # its author froze the normalisation
    buffers = {k: v.clone() for k, v in module.named_buffers()}
    seen = []
    module.net[3].register_forward_hook(lambda part, *_: seen.append((part.training, module.net[1].training)))
    found = train(trainee(module, validation=True), options(epochs=1))
    assert all(torch.equal(buffers[k], found.state[k]) for k in buffers)
    assert seen[0] == (False, False)  # the score of the start
    assert seen[1:-1] == [(True, False)] * (len(seen) - 2)
    assert seen[-1] == (False, False)
    whole = noisy().eval()  # as a module that was loaded: no part of it was set apart
    assert train(trainee(whole), options()).state["net.1.num_batches_tracked"] == 20


# ---- what is not finite


class Spoilt(nn.Module):
    """Give something that is not finite from some epoch on, for one row."""

    def __init__(self, what, after):
        super().__init__()
        self.inner, self.what, self.after, self.calls = plain(), what, after, 0

    def forward(self, y, x, row):
        bad = (row == 17) & torch.tensor(self.count > self.after)
        each = self.inner(y, x)
        if self.what == "log-likelihood":
            return torch.where(bad, torch.nan, each)
        nothing = self.inner.log_sigma - self.inner.log_sigma.detach()
        return each + torch.sqrt(torch.where(bad, nothing, 1.0)) - 1 + bad.double()

    @property
    def count(self):
        return int(self.seen)


@pytest.mark.parametrize("what", ["log-likelihood", "gradient"])
@pytest.mark.parametrize("after", [0, 12])
@pytest.mark.parametrize("every", [0, 0.1])
def test_what_is_not_finite_is_found_and_named(what, after, every, monkeypatch):
    if not every:
        snap_always(monkeypatch)
    module = Spoilt(what, after)
    module.register_buffer("seen", torch.tensor(0))

    def loglike(net, batch):
        if net.training:
            net.seen += 1
        return net(*batch.inputs)

    y, X = data()
    batches = ArrayBatches((y, X, torch.arange(N)), SIZE)
    found = train(ModuleTrainee(module, batches, loglike=loglike), options(epochs=30))
    assert found.status is Status.NOT_FINITE
    epoch = after // 5
    order = batches.order(3, epoch).tolist()
    place = order.index(17) // SIZE
    if epoch * 5 + place < after:
        epoch, place = epoch + 1, batches.order(3, epoch + 1).tolist().index(17) // SIZE
    assert f"Epoch {epoch + 1}, batch {place + 1}: the {what} is not finite (rows" in found.notes[0]
    assert ("rows 17)" if what == "log-likelihood" else " 17") in found.notes[0]
    good = epoch * 5 + place
    assert int(found.state["seen"]) == good
    expected = by_batches(good)
    assert torch.allclose(found.x, expected, rtol=0, atol=1e-12)
    assert len(found.trace) == found.epochs + 1


@pytest.mark.parametrize("every", [0, 0.1])
@pytest.mark.parametrize("what", ["log-likelihood", "gradient"])
def test_the_last_step_of_all_is_looked_at_too(what, every, monkeypatch):
    """Nobody would see the parameters that it leads to in a later batch."""
    if not every:
        snap_always(monkeypatch)
    module = Spoilt(what, 0)
    module.register_buffer("seen", torch.tensor(1))
    y, X = data()
    found = train(ModuleTrainee(module, ArrayBatches((y, X, torch.arange(N)))), options(epochs=1))
    assert found.status is Status.NOT_FINITE
    assert torch.isfinite(found.x).all()
    assert f"Epoch 1, batch 1: the {what} is not finite" in found.notes[0]


def test_a_step_that_overflows_is_named():
    found = train(trainee(), options(kind=torch.optim.SGD, lr=1e308))
    assert found.status is Status.NOT_FINITE
    assert torch.isfinite(found.x).all()
    assert "is not finite" in found.notes[0]


def by_batches(count):
    """Take some steps of Adam by hand."""
    module, (y, X) = plain(), data()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for step in range(count):
        rows = ArrayBatches((y, X), SIZE).order(3, step // 5).split(SIZE)[step % 5]
        optimizer.zero_grad()
        (-module(y[rows], X[rows]).mean()).backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


# ---- what is refused


class Detached(Normal):
    def forward(self, y, x):
        return super().forward(y, x).detach()


class Tall(Normal):
    def forward(self, y, x):
        return super().forward(y, x)[:, None]


class Scalar(Normal):
    def forward(self, y, x):
        return super().forward(y, x).sum()


class Replaced(Normal):
    def forward(self, y, x):
        self.log_sigma.data = self.log_sigma.data.clone()
        return super().forward(y, x)


@pytest.mark.parametrize(("kind", "text"), [
    (Detached, "does not depend on the parameters"),
    (Tall, r"tensor of shape \(20,\); it gave shape \(20, 1\)"),
    (Scalar, r"it gave shape \(\)"),
    (Replaced, "were replaced while it was trained"),
])  # fmt: skip
def test_likelihoods_that_cannot_be_trained(kind, text):
    with pytest.raises(tm.LikelihoodError, match=text):
        train(trainee(kind(plain().net)), options())


@pytest.mark.parametrize(("method", "given", "text"), [
    ("newton", {}, "Unknown method for training"),
    ("torch:Adamw", {}, "Did you mean 'AdamW'"),
    ("torch:LBFGS", {}, "use method='lbfgs'"),
    ("torch:SparseAdam", {}, "needs sparse gradients"),
    ("adam", {"beta": 1}, "Did you mean 'betas'"),
    ("adam", {"momentum": 0.9}, "Unknown option"),
    ("adam", {"maximize": True}, "Unknown option"),
    ("adam", {"betas": (2.0, 0.9)}, "refuses its options"),
    ("torch:Muon", {}, "refuses its options|Unknown class"),
    ("adam", {"lr": -1}, "lr=-1 must be positive"),
    ("adam", {"clip": 0}, "clip=0 must be positive"),
    ("adam", {"patience": 0}, "patience=0 must be a positive whole number"),
    ("adam", {"patience": 2}, "patience needs records held back"),
    ("adam", {"schedule": 0.5}, "must be a function"),
    ("adam", {"schedule": lambda epoch: -1.0}, r"schedule\(0\)=-1.0 must be finite"),
    ("adam", {"schedule": StepLR}, "functools.partial"),
    ("adam", {"schedule": ReduceLROnPlateau}, "needs records held back"),
])  # fmt: skip
def test_options_that_are_refused(method, given, text):
    with pytest.raises(tm.OptionError, match=text):
        train(trainee(), make_training(method, {"epochs": 1}, given))


@pytest.mark.parametrize(("change", "text"), [
    ({"seed": 4}, "seed was 3 and is 4"),
    ({"kind": torch.optim.SGD}, "method was 'Adam' and is 'SGD'"),
    ({"size": 7}, "batch_size was 20 and is 7"),
    ({"extra": {"amsgrad": True}}, "amsgrad was None and is True"),
    ({"schedule": HALVING}, "another kind of schedule"),
])  # fmt: skip
def test_a_run_goes_on_only_as_it_began(change, text):
    before = train(trainee(), options(epochs=1)).snapshot
    size, change = change.get("size", SIZE), {k: v for k, v in change.items() if k != "size"}
    with pytest.raises(tm.OptionError, match=text):
        train(trainee(size=size), options(**change), resume=before)


def test_a_rate_may_be_changed_on_the_way():
    before = train(trainee(), options(epochs=2)).snapshot
    still = train(trainee(), options(lr=1e-300), resume=before)
    assert torch.allclose(still.x, before.x, rtol=0, atol=1e-200)
    first = train(trainee(), options(epochs=2, schedule=HALVING)).snapshot
    with pytest.raises(tm.OptionError, match="Leave lr as it was"):
        train(trainee(), options(lr=1.0, schedule=HALVING), resume=first)


# ---- files


def written(path):
    keep = files.open_training(path, "Noisy")
    return train(noisy_trainee(), options(epochs=2), keep=keep.keep)


def test_the_last_state_is_always_in_the_file(tmp_path):
    found = written(tmp_path / "run")
    snapshot = files.read_training(tmp_path / "run", "Noisy", CPU)
    assert repr(snapshot.tree()) == repr(found.snapshot.tree())
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert comparable(train(noisy_trainee(), options(), resume=snapshot)) == comparable(uninterrupted())


@pytest.mark.parametrize("place", [0.0, 0.01, 0.03, 0.2, 0.5, 0.9, 1.0])
def test_a_flipped_byte_is_an_error(tmp_path, place):
    path = tmp_path / "run"
    written(path)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(tm.DataError, match="damaged"):
        files.read_training(path, "Noisy", CPU)


def test_other_files_are_errors(tmp_path):
    path = tmp_path / "run"
    written(path)
    with pytest.raises(tm.OptionError, match="checkpoint of a Noisy; this is a Other"):
        files.read_training(path, "Other", CPU)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(tm.DataError, match="damaged"):
        files.read_training(path, "Noisy", CPU)
    path.write_bytes(b"torchmle training 2\n" + bytes(100))
    with pytest.raises(tm.DataError, match="another version"):
        files.read_training(path, "Noisy", CPU)


def test_a_training_checkpoint_is_nothing_for_newton(tmp_path):
    path = tmp_path / "run"
    written(path)
    y, X = data()
    with pytest.raises(tm.OptionError, match="checkpoint of training by mini-batches"):
        tm.OLS(y.numpy(), X.numpy()).fit(method="newton", resume=path)


def test_a_full_disk_does_not_end_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    with pytest.warns(tm.TorchmleWarning, match="cannot be written"):
        assert written(tmp_path / "run").status is Status.TRAINED


def test_what_a_file_cannot_hold_is_named():
    with pytest.raises(tm.OptionError, match=r"cannot hold schedule\.anneal, which is function"):
        to_bytes({"schedule": {"anneal": lambda: 0}})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (3, 0)])
def test_tensors_come_back_as_they_were(dtype, shape):
    tensor = (torch.rand(shape) * 3).to(dtype)
    back = read_bytes(memoryview(b"".join(to_bytes({"a": (tensor, [1, -math.inf, "é"]), 3: None}))), CPU)
    assert list(back) == ["a", 3]
    assert back["a"][0].dtype == dtype
    assert torch.equal(back["a"][0], tensor)
    assert back["a"][1] == [1, -math.inf, "é"]


# ---- what one sees


def test_the_line(monkeypatch):
    snap_always(monkeypatch)
    seen = []
    train(trainee(validation=True), options(epochs=2), show=seen.append)
    assert seen[0].startswith("epoch=1 batch=1/4 loglik=-")
    assert " validation=-" in seen[-1]
    assert seen[-1].startswith("epoch=2 batch=4/4 ")


def test_an_objective_and_a_hook_of_ones_own():
    """A penalty with a weight that rises from epoch to epoch, as a constraint needs it, goes on after an interrupt."""

    class Penalised(ModuleTrainee):
        weight_now = 0.0

        def objective(self, batch: Batch):
            return super().objective(batch) + self.weight_now * self.flat.square().sum()

        def ended(self, epoch):
            self.weight_now += 0.1

        def state(self):
            return {"weight_now": self.weight_now, "buffers": super().state()}

        def load(self, state):
            self.weight_now = state["weight_now"]
            super().load(state["buffers"])

    def run(at=0, resume=None):
        work = Penalised(Trap(noisy(), at, ctrl_c), ArrayBatches(data(), SIZE))
        return train(work, options(), resume=resume)

    whole, stopped = run(), run(13)
    resumed = run(resume=stopped.snapshot)
    assert torch.equal(whole.x, resumed.x)
    assert whole.state["weight_now"] == resumed.state["weight_now"] == pytest.approx(0.4)
    assert not torch.equal(whole.x, train(trainee(noisy()), options()).x)


def test_a_copy_is_trained_and_the_module_of_the_user_stays():
    module = plain()
    before = copy.deepcopy(module.state_dict())
    train(trainee(copy.deepcopy(module)), options())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


# ---- through fit


class Answer(nn.Module):
    """A logit by a net with dropout."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(4)
            self.net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))

    def forward(self, endog, exog):
        return nn.functional.logsigmoid((2 * endog - 1) * self.net(exog).squeeze(1))


def fitted(epochs=4, **kw):
    y, X = data()
    model = tm.ModuleModel((y > 0).long().numpy(), X.numpy(), module=Answer())
    rest = {"options": {"lr": 0.01, "validation": 0.2}, "seed": 1, "batch_size": 16, "disp": False}
    return model.fit(method="adam", maxiter=epochs, **{**rest, **kw})


def test_fit_goes_on_from_results_and_from_a_file(tmp_path):
    path = tmp_path / "run"
    whole, first = fitted(), fitted(2, checkpoint=path, resume=path)
    for source in (first, path, str(path)):
        found = fitted(resume=source)
        assert (found.params == whole.params).all()
        assert list(found.history["iteration"]) == [0, 1, 2, 3, 4]
    with pytest.raises(tm.OptionError, match="seed was 1 and is 2"):
        fitted(resume=path, seed=2)
    y, X = data()
    logit = tm.Logit((y > 0).long().numpy(), X.numpy())
    with pytest.raises(tm.OptionError, match="checkpoint of training by mini-batches"):
        logit.fit(resume=path)


@pytest.mark.parametrize("schedule", [None, lambda epoch: 0.5**epoch])
def test_fit_takes_over_what_it_is_not_told(tmp_path, schedule):
    setup = {"lr": 0.01, "validation": 0.2, "betas": (0.8, 0.9), "clip": 0.5, "patience": 50}
    setup |= {} if schedule is None else {"schedule": schedule}
    path = tmp_path / "run"
    whole = fitted(options=setup)
    with pytest.warns(tm.ConvergenceWarning, match="interrupted"):
        stopped = fitted(options=setup, checkpoint=path, callback=lambda row: row.iteration == 2 and ctrl_c())
    model = stopped.model
    assert (model.fit(resume=stopped).params == whole.params).all()
    assert len(model.fit(resume=stopped, maxiter=6).history) == 7
    again = {} if schedule is None else {"options": {"schedule": schedule}}
    assert (model.fit(resume=path, **again).params == whole.params).all()
    if schedule is not None:
        with pytest.raises(tm.OptionError, match="began with schedule=, which a file does not hold"):
            model.fit(resume=path)
    other = model.fit(resume=stopped, method="sgd", maxiter=1, options={"lr": 1e-12})
    assert np.allclose(other.params, stopped.params, rtol=0, atol=1e-9)  # begins at the point, as a run of its own
    assert len(other.history) == 2
    with pytest.raises(tm.OptionError, match=r"held was \[\] and is \[3\]"):
        model.fit(resume=stopped, fixed={stopped.names[3]: 0.0})


KILLED_FIT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_training as t
t.engine.EVERY = t.engine.SHARE = t.files.EVERY = t.files.SHARE = 0
t.fitted(checkpoint={path!r}, callback=lambda row: row.iteration == 2 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_fit_goes_on(tmp_path):
    path = tmp_path / "run"
    script = KILLED_FIT.format(tests=os.path.dirname(__file__), path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found, whole = fitted(resume=path), fitted()
    assert (found.params == whole.params).all()
    assert found.llf == whole.llf
    assert len(found.history) == 5


def test_ctrl_c_in_fit():
    with pytest.warns(tm.ConvergenceWarning, match="interrupted"):
        stopped = fitted(callback=lambda row: row.iteration == 3 and ctrl_c())
    assert not stopped.converged
    assert len(stopped.history) == 4
    assert (fitted(resume=stopped).params == fitted().params).all()
