"""Means of what happened, and the ratios that are none of means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.meter import Meter, mean_facts

if TYPE_CHECKING:
    from trainer.actor import Episode


def fought(kills: float, deaths: float) -> Episode:
    return {"score": kills, "length": 10, "facts": {"kills": kills, "deaths": deaths}}


def test_the_ratio_of_kills_to_deaths_is_that_of_their_totals() -> None:
    episodes = [fought(9, 1), fought(1, 4), fought(2, 1)]
    facts = mean_facts(episodes)
    assert facts == {"kills": 4.0, "deaths": 2.0, "kill_death": 2.0}

    meter = Meter()
    meter.add_window(20, episodes[:1])
    meter.add_window(20, episodes[1:])
    logged = meter.take()
    assert {name: logged[name] for name in facts} == facts
    assert "kill_death" not in meter.take()


def test_who_never_died_has_as_many_kills_for_a_death_as_kills() -> None:
    assert mean_facts([fought(3, 0), fought(4, 0)])["kill_death"] == 7.0
    assert mean_facts([fought(0, 0)])["kill_death"] == 0.0


def test_what_has_no_kills_has_no_ratio() -> None:
    assert mean_facts([{"score": 1, "length": 2, "facts": {"win_rate": 1.0}}]) == {"win_rate": 1.0}
    assert mean_facts([]) == {}
