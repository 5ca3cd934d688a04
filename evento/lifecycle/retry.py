"""When a failed turn is tried again (design §3.2)."""

from evento.model.resources import RetryPolicy

_EXPONENT_MAX = 64  # beyond it every policy has reached its cap; keeps the power from overflowing


def delay_s(policy: RetryPolicy, attempts: int, jitter: float) -> float:
    """Return the seconds to wait after the `attempts`-th failed attempt (from 1).

    Full jitter: `jitter`, uniform in [0, 1), times the exponential step, so that many failures do not return as one wave.
    Source: Exponential Backoff and Jitter, AWS Architecture Blog, 2015.
    """
    step = policy.first_s * policy.factor ** min(attempts - 1, _EXPONENT_MAX)
    return min(policy.cap_s, step) * jitter


def exhausted(policy: RetryPolicy, attempts: int) -> bool:
    """Tell whether a Command with so many failed attempts is parked instead of being tried again."""
    return 0 < policy.attempts_max <= attempts
