"""The world of false labels: who lies of what, and that caps hold back a flood of one labeller."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import poisoning
from benchmarks.poisoning import ATTACKS, MOMENTS, Attack, Kind, Run, Setting, honest_day, said_of, simulate, text_of
from benchmarks.small_bank import shipped_models
from detector.models.logistic import Caps

_SMALL = Setting(quiet_days=5, attacked_days=3, recovery_days=3, payments_a_day=4_000, fraud_share=0.02)


def _said(kind: Kind, strength: float) -> tuple[poisoning._Day, np.ndarray, list[str]]:
    """What is said on a day of an attack."""
    day = honest_day(np.random.default_rng(1), _SMALL, 0)
    return day, *said_of(day, Attack(kind, strength), np.random.default_rng(2))


def test_honest_people_say_what_is_true() -> None:
    """Without an attack every label is right, and many agents give them."""
    day = honest_day(np.random.default_rng(1), _SMALL, 0)
    label, names = said_of(day, None, np.random.default_rng(2))
    assert np.array_equal(label, day.fraud)
    assert len(set(names)) > 20


def test_a_labeller_lies_of_his_pattern_alone() -> None:
    """His name stands on all false labels and on no true one; the rest is as it would be."""
    for kind, truth in ((Kind.LABELLER_ACCUSES, 0), (Kind.LABELLER_COVERS, 1)):
        day, label, names = _said(kind, 0.5)
        false = label != day.fraud
        assert 0.3 < false.sum() / day.pattern(kind).sum() < 0.7
        assert (day.fraud[false] == truth).all()
        assert day.is_online[false].all()
        assert np.array_equal(np.array(names) == "attacker", false)


def test_a_web_shop_is_accused_by_many() -> None:
    """All payments that are falsely called fraud are at one merchant, by different labellers and cards."""
    day, label, names = _said(Kind.MERCHANT, 1.0)
    false = label != day.fraud
    assert len(set(day.place[false].tolist())) == 1
    assert len({name for name, lie in zip(names, false.tolist(), strict=True) if lie}) > 20
    assert len(set(day.card[false].tolist())) > 100


def test_a_day_is_the_same_every_time() -> None:
    """The seed is all the chance there is."""
    days = [honest_day(np.random.default_rng(5), _SMALL, 3) for _ in range(2)]
    for name in poisoning._Day.__slots__:
        assert np.array_equal(getattr(days[0], name), getattr(days[1], name))


@pytest.mark.compiled
def test_caps_hold_back_one_labeller() -> None:
    """A fifth of plain purchases online is called fraud by one; with tight caps the others' scores move less."""
    attack = Attack(Kind.LABELLER_ACCUSES, 0.2)
    without, tight = (simulate(attack, _SMALL, caps) for caps in (Caps(), Caps(labeller=5.0)))
    assert without.harm["before"].ap == pytest.approx(tight.harm["before"].ap, abs=0.05)
    assert without.false_a_day == tight.false_a_day > 100
    assert without.harm["during"].pattern_score > 2 * tight.harm["during"].pattern_score


def test_every_attack_is_told() -> None:
    """A row for each of them and each way to cap it, under the columns that the head names."""
    harm = poisoning.Harm(0.5, 0.0123, 7.0)
    run = Run(dict.fromkeys(MOMENTS, harm), 1_234.0, (1.0, 2.0, 3.0))
    text = text_of(_SMALL, shipped_models().caps, [(attack, {"none": run}) for attack in ATTACKS])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(ATTACKS) + 2
    assert {row.count("|") for row in rows} == {12}
    assert "1,234 | none | 0.500 | 0.500 | 0.500 | 0.0123" in rows[2]
