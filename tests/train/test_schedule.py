"""The rate warms up in every stage, and falls as its schedule says."""

import dataclasses

import pytest

from stinet.config import TrainConfig
from stinet.train.schedule import Plan, learning_rate


def rates(config: TrainConfig) -> list[float]:
    plan = Plan(config)
    return [learning_rate(plan.at(step), step) for step in range(plan.steps)]


def test_the_rate_warms_up_stays_and_falls() -> None:
    late = TrainConfig(steps=100, warmup_steps=10, schedule="late", decay_steps=20, rate=1.0)
    found = rates(late)
    assert found[0] == pytest.approx(0.1)
    assert set(found[10:80]) == {1.0}
    assert found[80:] == sorted(found[80:], reverse=True)
    assert found[-1] < 0.01
    assert rates(dataclasses.replace(late, schedule="cosine"))[55] == pytest.approx(0.5)


def test_stairs_fall_by_their_factor_at_every_step_of_theirs() -> None:
    found = rates(TrainConfig(steps=30, warmup_steps=0, schedule="stairs", stair_steps=10, stair_factor=4.0, rate=1.6))
    assert found == pytest.approx([1.6] * 10 + [0.4] * 10 + [0.1] * 10)


def test_every_stage_warms_up_and_decays_by_itself() -> None:
    stages = ({"steps": 10, "frames": 1}, {"steps": 20, "rate": 2.0})
    found = rates(TrainConfig(warmup_steps=4, rate=1.0, schedule="cosine", stages=stages))
    alone = [rates(TrainConfig(warmup_steps=4, rate=rate, steps=steps)) for rate, steps in ((1.0, 10), (2.0, 20))]
    assert found == pytest.approx(alone[0] + alone[1])


def test_every_step_is_in_one_stage_and_the_last_has_what_comes_after() -> None:
    plan = Plan(TrainConfig(stages=({"steps": 3}, {"steps": 1}, {"steps": 2})))
    assert [plan.at(step).number for step in range(plan.steps)] == [0, 0, 0, 1, 2, 2]
    assert plan.at(99).number == 2
