"""The circuit breaker, on a clock of numbers."""

from evento.functions.breaker import CALLS_SEEN_MAX, PROBE_CAP_S, PROBE_FIRST_S, Breaker


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    breaker.record(False, now_s, unavailable=True)
    return breaker


def test_it_stays_closed_while_fewer_than_half_of_the_calls_fail() -> None:
    breaker = Breaker()
    for n in range(200):
        breaker.record(n % 20 >= 9, n)
        assert breaker.allows(n) and not breaker.is_open


def test_it_says_nothing_before_it_has_seen_enough() -> None:
    breaker = Breaker()
    for _ in range(CALLS_SEEN_MAX - 1):
        breaker.record(False, 1.0)
        assert breaker.allows(1.0)
    breaker.record(False, 1.0)
    assert not breaker.allows(1.0)


def test_half_of_the_last_calls_failing_opens_it_whatever_was_before() -> None:
    breaker = Breaker()
    for _ in range(1000):
        breaker.record(True, 1.0)
    for _ in range(CALLS_SEEN_MAX // 2):
        assert breaker.allows(1.0)
        breaker.record(False, 1.0)
    assert not breaker.allows(1.0)


def test_an_unavailable_function_opens_it_at_once() -> None:
    breaker = opened(7.0)
    assert breaker.is_open and breaker.next_probe_s == 7.0 + PROBE_FIRST_S
    assert not breaker.allows(7.0 + PROBE_FIRST_S - 0.01) and breaker.allows(7.0 + PROBE_FIRST_S)


def test_asking_changes_nothing() -> None:
    breaker = opened()
    assert all(breaker.allows(1.0) for _ in range(5)) and breaker.is_open


def test_failed_probes_are_further_and_further_apart_up_to_a_cap() -> None:
    breaker, now_s, waits = opened(), 0.0, []
    for _ in range(7):
        waits.append(breaker.next_probe_s - now_s)
        now_s = breaker.next_probe_s
        breaker.record(False, now_s)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, PROBE_CAP_S, PROBE_CAP_S]


def test_stragglers_do_not_put_the_probe_off() -> None:
    breaker = opened()
    for _ in range(16):
        breaker.record(False, 0.1)
    assert breaker.next_probe_s == PROBE_FIRST_S


def test_a_probe_that_works_closes_it_and_forgets() -> None:
    breaker = opened()
    breaker.record(False, 1.0)
    breaker.record(True, 3.0)
    assert not breaker.is_open and breaker.next_probe_s == 0.0 and breaker.allows(3.0)
    for _ in range(CALLS_SEEN_MAX // 2):
        breaker.record(False, 3.0)
        assert breaker.allows(3.0)
    breaker.record(False, 4.0, unavailable=True)
    assert breaker.next_probe_s == 4.0 + PROBE_FIRST_S
