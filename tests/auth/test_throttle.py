"""Failed logins: how late they are answered, on a clock that only the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from popserv.auth.login import FailureDelay
from popserv.auth.throttle import FORGET_SECONDS, Throttle

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock():
    return Clock()


def failures(throttle, times, address=HERE, name="fred"):
    return [throttle.record_failure(address, name) for _ in range(times)]


def test_delays_double_up_to_the_most(clock):
    assert failures(Throttle(clock, 2.0), 6) == [2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert failures(Throttle(clock, 1.0, most_seconds=3.0), 4) == [1.0, 2.0, 3.0, 3.0]
    assert failures(Throttle(clock, 60.0), 2) == [15.0, 15.0]


def test_a_base_of_zero_switches_it_off(clock):
    throttle = Throttle(clock, 0.0)
    assert failures(throttle, 5) == [0.0] * 5
    assert throttle.delay_for(HERE, "fred") == 0.0


def test_one_address_that_tries_many_names_slows_down(clock):
    throttle = Throttle(clock, 2.0)
    assert [throttle.record_failure(HERE, f"user{number}") for number in range(4)] == [2.0, 4.0, 8.0, 15.0]
    assert throttle.record_failure(THERE, "somebody") == 2.0


def test_one_name_tried_from_many_addresses_slows_down(clock):
    throttle = Throttle(clock, 2.0)
    assert [throttle.record_failure(f"192.0.2.{number}", "fred") for number in range(4)] == [2.0, 4.0, 8.0, 15.0]


def test_an_ipv6_customer_is_one_address_and_an_ipv4_neighbour_is_not(clock):
    throttle = Throttle(clock, 2.0)
    throttle.record_failure("2001:db8:1:2::1", "a")
    assert throttle.record_failure("2001:db8:1:2:ffff::9", "b") == 4.0
    assert throttle.record_failure("2001:db8:1:3::1", "c") == 2.0
    throttle.record_failure(HERE, "d")
    assert throttle.record_failure(f"::ffff:{HERE}", "e") == 4.0
    assert throttle.record_failure(THERE, "f") == 2.0
    assert throttle.record_failure("::1", "g") == 2.0


def test_unix_sockets_count_by_name_only(clock):
    throttle = Throttle(clock, 2.0)
    throttle.record_failure("", "ann")
    assert throttle.record_failure("", "bob") == 2.0
    assert throttle.record_failure("", "ann") == 4.0


def test_failures_are_forgotten_some_minutes_after_the_last(clock):
    throttle = Throttle(clock, 2.0)
    failures(throttle, 3)
    clock.advance(FORGET_SECONDS - 1)
    assert throttle.delay_for(HERE, "fred") == 8.0
    assert throttle.record_failure(HERE, "fred") == 15.0
    clock.advance(FORGET_SECONDS)
    assert throttle.delay_for(HERE, "fred") == 0.0
    assert throttle.record_failure(HERE, "fred") == 2.0


def test_success_clears_the_name_and_not_the_address(clock):
    throttle = Throttle(clock, 2.0)
    failures(throttle, 3)
    throttle.record_success(HERE, "fred")
    assert throttle.delay_for(THERE, "fred") == 0.0
    assert throttle.record_failure(THERE, "fred") == 2.0
    assert throttle.record_failure(HERE, "ann") == 15.0


def test_a_success_under_attack_needs_no_wait_and_its_next_slip_at_most_the_cap(clock):
    throttle = Throttle(clock, 2.0)
    for number in range(100):
        throttle.record_failure(f"198.51.100.{number}", "fred")
    assert throttle.record_success(HERE, "fred") is None
    throttle.record_failure("198.51.100.1", "fred")
    assert throttle.record_failure(HERE, "fred") <= 15.0


def test_memory_is_bounded_and_the_oldest_goes_first(clock):
    throttle = Throttle(clock, 2.0, entries=3)
    for name in ("a", "b", "c"):
        throttle.record_failure("", name)
    throttle.record_failure("", "a")
    throttle.record_failure("", "d")
    assert [throttle.delay_for("", name) for name in ("a", "b", "c", "d")] == [4.0, 0.0, 2.0, 2.0]


def test_a_flood_of_names_does_not_hide_its_address(clock):
    throttle = Throttle(clock, 2.0, entries=3)
    assert [throttle.record_failure(HERE, f"user{number}") for number in range(50)][-1] == 15.0


def test_a_long_name_is_not_kept_whole(clock):
    throttle = Throttle(clock, 2.0)
    throttle.record_failure("", "x" * 65_000)
    assert max(map(len, throttle._names._latest)) == 255
    assert throttle.record_failure("", "x" * 65_000) == 4.0


def test_it_is_what_the_login_asks_for(clock):
    throttle: FailureDelay = Throttle(clock, 2.0)
    assert throttle.record_failure(HERE, "fred") == 2.0


@given(st.lists(st.tuples(st.sampled_from([HERE, THERE, "", "::1", "?"]), st.sampled_from("ab"), st.floats(0, 700))))
def test_every_delay_lies_between_base_and_cap(events):
    clock = Clock()
    throttle = Throttle(clock, 2.0, entries=2)
    for address, name, pause in events:
        clock.advance(pause)
        delay = throttle.record_failure(address, name)
        assert 2.0 <= delay <= 15.0
        assert throttle.delay_for(address, name) == delay
