"""NumPy's matrix products on one thread.

The products of a coding step are small. BLAS libraries share even those among threads that wait for each
other, which takes longer as soon as a core is busy with something else, up to a hundred times; what can
run side by side is shared out by `workers.py` instead.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import threadpoolctl

_lock = threading.Lock()
_users = 0
_limit: threadpoolctl.threadpool_limits | None = None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """While any thread is inside, BLAS runs on one thread in all of the process."""
    global _users, _limit
    with _lock:
        if _users == 0:
            _limit = threadpoolctl.threadpool_limits(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limit is not None:
                _limit.restore_original_limits()
                _limit = None
