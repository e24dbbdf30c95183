"""What a seed chooses: how large the installation is, what is paid, and what goes wrong when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum, auto

from tests.sim.world import Chances


class FaultKind(Enum):
    """What is done to a process at a moment of the plan.

    ZOMBIE: it is stopped while its answers are on their way, for longer than its session; another worker takes over and
    knows another model; the first one wakes and goes on; then whoever took over is killed.
    """

    KILL = auto()
    PAUSE = auto()
    LEAVE = auto()
    JOIN = auto()
    ZOMBIE = auto()


@dataclass(frozen=True)
class Fault:
    """Something that happens to a process of a kind (`score` or `respond`) at a moment.

    Attributes:
        number: which of the processes of this kind, counted round.
        duration_s: of a pause.
    """

    at_s: float
    kind: FaultKind
    role: str
    number: int
    duration_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything a seed chooses beforehand; what it chooses on the way comes from the same random numbers.

    Attributes:
        workers: score workers and respond workers at the start.
        duration_s: for how long payments come; afterwards everything is left in peace until all is done.
        duplicates: share of payments that are sent again some time later.
        broken: share of records that are no payments, or break our own code.
        labelled: share of payments that get a label.
        late: share of payments for which a waiting caller is told something at its deadline, in the decisions topic.
        commands: how many commands a person gives.
        models_at_s: moments of new model versions. Each draws the line of a FREEZE anew.
        skews_ms: by how much clocks are wrong, dealt out to processes.
        shares: whether score workers tell each other of shared entities.
    """

    seed: int
    partitions: int
    workers: dict[str, int]
    cards: int
    payments: int
    duration_s: float
    duplicates: float
    broken: float
    labelled: float
    late: float
    commands: int
    models_at_s: tuple[float, ...]
    faults: tuple[Fault, ...]
    skews_ms: tuple[int, ...]
    checkpoint_interval_s: float
    session_s: float
    batch_rows: int
    shares: bool
    chances: Chances


def plan_of(seed: int) -> Plan:
    """Choose."""
    rng = random.Random(f"plan {seed}")
    duration_s = rng.uniform(4.0, 9.0)
    session_s = rng.choice((1.0, 2.0, 4.0))
    skew_ms = rng.choice((0, 50, 2_000))
    return Plan(
        seed=seed,
        partitions=rng.choice((1, 2, 4)),
        workers={"score": rng.choice((1, 1, 2, 3)), "respond": rng.choice((1, 1, 2))},
        cards=rng.choice((3, 10, 40)),
        payments=rng.randint(40, 160),
        duration_s=duration_s,
        duplicates=rng.choice((0.0, 0.05, 0.2)),
        broken=rng.choice((0.0, 0.0, 0.04)),
        labelled=rng.choice((0.0, 0.1, 0.3)),
        late=rng.choice((0.0, 0.0, 0.1)),
        commands=rng.choice((0, 2, 6)),
        models_at_s=tuple(rng.uniform(0, duration_s) for _ in range(rng.choice((1, 3, 8)))),
        faults=tuple(_fault(rng, duration_s, session_s) for _ in range(rng.randint(1, 5))),
        skews_ms=tuple(rng.randint(-skew_ms, skew_ms) for _ in range(5)),
        checkpoint_interval_s=rng.choice((0.5, 1.0, 3.0)),
        session_s=session_s,
        batch_rows=rng.choice((3, 16, 4096)),
        shares=random.Random(f"shares {seed}").random() < 0.5,
        chances=Chances(
            deaths=rng.choice((0, 1, 3)),
            die_at_operation=rng.choice((0.002, 0.01, 0.03)),
            slow_s=rng.choice((0.02, 0.3, 1.5)),
            lost_answer=rng.choice((0.0, 0.02, 0.1)),
            refused_answer=rng.choice((0.0, 0.02, 0.1)),
            refused_output=rng.choice((0.0, 0.0, 0.01)),
            disk_full=rng.choice((0.0, 0.0, 0.1)),
            gap=rng.choice((0.0, 0.1)),
            lost_fetch=rng.choice((0.0, 0.0, 0.05)),
            lost_assignment=rng.choice((0.0, 0.2)),
        ),
    )


def _fault(rng: random.Random, duration_s: float, session_s: float) -> Fault:
    kind = rng.choice((FaultKind.KILL, *FaultKind))
    return Fault(
        at_s=rng.uniform(0.3, duration_s + 1.0),
        kind=kind,
        role=rng.choice(("score", "score", "respond")),
        number=rng.randrange(3),
        duration_s=rng.choice((0.3, session_s + 1.5, session_s + 6.0)),
    )
