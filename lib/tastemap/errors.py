"""Errors that are addressed to the person who runs a job."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A fault that the user can mend: jobs print it without a trace and exit with code 2.

    Parameters
    ----------
    faults : str or sequence of str
        One sentence a fault: what it is about, what was found, what is allowed, what to do.
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))
