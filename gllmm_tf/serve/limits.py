"""What clients of the service may ask for."""

import dataclasses

from gllmm_tf.files import container


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one client, and all of them together, may ask for.

    Attributes:
        bytes: of a body.
        pixels: width x height of a picture, a side below 64 counted as 64.
        memory: megabytes that the process may take; pictures that do not fit together take turns.
        seconds: from the head of a request to its answer.
        threads: pictures that are worked on at a time.
        waiting: requests that may wait beyond these, bodies in transfer included.
        retry_after: seconds, after which a refused client may try again.
    """

    bytes: int = 1 << 25
    pixels: int = container.MAX_PIXELS_FOR_OTHERS
    memory: int = 3000
    seconds: float = 120.0
    threads: int = 2
    waiting: int = 8
    retry_after: int = 2
