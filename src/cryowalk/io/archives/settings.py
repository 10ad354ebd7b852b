"""How patient a transfer is."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSettings:
    """Times, repetitions and limits of a transfer; nothing here makes a check weaker."""

    connect_timeout: Annotated[float, "time to reach a host, s", ("above", 0)] = 10.0
    stall_timeout: Annotated[float, "time without progress after which a connection is given up, s", ("above", 0)] = 30.0
    slowest_rate: Annotated[float, "bytes a second below which a connection counts as stalled", ("min", 0)] = 500.0
    attempts: Annotated[int, "attempts in a row that bring nothing before a transfer is given up", ("min", 1)] = 5
    first_wait: Annotated[float, "time before the second attempt, s; each later one waits twice as long", ("min", 0)] = 0.5
    longest_wait: Annotated[float, "longest time between two attempts, s", ("min", 0)] = 60.0
    redirects: Annotated[int, "redirects that one request may follow", ("min", 0)] = 5
    largest_file: Annotated[int, "bytes beyond which a file is refused", ("min", 1)] = 10**12
