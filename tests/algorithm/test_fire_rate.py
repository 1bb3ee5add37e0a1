"""How often DiPO acted: sums by hand, and a warning that names the switch that would change it."""

from __future__ import annotations

import pytest

from dipo_openrlhf.algorithm.fire_rate import fire_rate, fire_summary, fire_warning


def row(hard=4, easy=2, fired_hard=0, fired_easy=0, **idle) -> dict[str, float | None]:
    return {
        "dipo/groups_hard": hard,
        "dipo/groups_easy": easy,
        "dipo/fired_hard": fired_hard,
        "dipo/fired_easy": fired_easy,
        **{f"dipo/idle_{reason}": count for reason, count in idle.items()},
    }


def test_sums_by_direction_and_reason():
    rate = fire_rate([row(fired_hard=1, wrong_space=5), row(fired_easy=2, infeasible=3, wrong_space=1)])
    assert (rate.hard, rate.easy, rate.fired_hard, rate.fired_easy) == (8, 4, 1, 2)
    assert rate.idle == {
        "reward_variance": 0, "no_log_ppl": 0, "infeasible": 3, "wrong_space": 6, "direction_off": 0,
    }  # fmt: skip
    assert rate.share == 3 / 12
    assert fire_summary([row(fired_hard=1, wrong_space=5)]) == (
        "DiPO acted on 1 of 6 extreme groups (16.7%): 1 of 4 all-incorrect, 0 of 2 all-correct; "
        "skipped: 5 wrong space"
    )


def test_no_extreme_group_is_no_division_by_zero():
    assert fire_rate([]).share == 0
    assert fire_summary([row(hard=0, easy=0)]) == "DiPO met no all-incorrect or all-correct group"
    assert fire_warning([row(hard=0, easy=0)] * 50) is None


def test_a_null_in_the_log_counts_as_nothing():
    assert fire_rate([{"dipo/groups_hard": None, "dipo/groups_easy": 2}]).extreme == 2


@pytest.mark.parametrize(
    ("idle", "words"),
    [
        ({"wrong_space": 6}, "dipo.group_space"),
        ({"infeasible": 6}, "dipo.min_side_samples"),
        ({"reward_variance": 6}, "reward.overlong_buffer_len"),
        ({"direction_off": 6}, "dipo.directions"),
        ({"no_log_ppl": 6}, "rollout.max_new_tokens"),
    ],
)
def test_the_warning_names_the_commonest_reason_s_switch(idle, words):
    warning = fire_warning([row(**idle)] * 50)
    assert warning is not None
    assert "0 of 300 extreme groups (0.0%) in 50 steps" in warning
    assert f"what would change it: {words}" in warning
    assert "\n" not in warning


def test_under_one_percent_over_fifty_steps_and_not_before():
    quiet = [row(wrong_space=6)] * 50
    assert fire_warning(quiet[:49]) is None
    assert fire_warning([*quiet[:48], row(fired_hard=2), row(fired_easy=1)]) is None  # 3 of 300: 1%
    assert fire_warning([*quiet[:48], row(fired_hard=2), row()]) is not None
    assert fire_warning([row(fired_hard=4), *quiet]) is not None  # what lies further back does not count
