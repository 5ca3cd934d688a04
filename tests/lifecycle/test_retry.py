"""The delays between attempts."""

from hypothesis import given
from hypothesis import strategies as st

from evento.lifecycle.retry import delay_s, exhausted
from evento.model.resources import RetryPolicy

POLICY = RetryPolicy(first_s=0.1, factor=2, cap_s=30)


def test_the_interval_grows_by_the_factor_until_the_cap() -> None:
    steps = [delay_s(POLICY, attempts, 1.0) for attempts in range(1, 12)]
    assert steps[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert steps[-1] == 30


@given(st.integers(1, 100_000), st.floats(0, 1, exclude_max=True))
def test_full_jitter_stays_between_zero_and_the_step(attempts: int, jitter: float) -> None:
    assert 0 <= delay_s(POLICY, attempts, jitter) <= delay_s(POLICY, attempts, 1.0) <= POLICY.cap_s


def test_retries_are_unlimited_unless_the_policy_says_otherwise() -> None:
    assert not exhausted(POLICY, 10**9)
    limited = RetryPolicy(attempts_max=3)
    assert [exhausted(limited, attempts) for attempts in (1, 2, 3, 4)] == [False, False, True, True]
