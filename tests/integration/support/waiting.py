"""Waiting for something to become true: the only place of the plays where time passes on purpose."""

import time

POLL_S = 0.02


def wait_until(condition, what, timeout=10.0, poll=POLL_S):
    """Calls condition until it returns something true, and returns that. Fails naming what, with the last exception if any."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (OSError, AssertionError, ValueError, KeyError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what}" + (f" ({last!r})" if last else ""))
        time.sleep(poll)


def never_during(condition, seconds, what, poll=POLL_S):
    """Asserts that condition stays false for that long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not condition(), f"happened, and should not have: {what}"
        time.sleep(poll)
