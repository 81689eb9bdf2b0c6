"""The copy-ups of one tree: how large one may be while others wait, how many are under way, what can be shared."""

from __future__ import annotations

from collections.abc import Callable


class CopyUps:
    def __init__(self, device: int) -> None:
        """`device`: the upper layer's st_dev, on which a base may share its content with its copy."""
        self.inline_limit: int | None = None
        """Bytes that may be copied before the operation returns; more raises CopyUpNeeded. None: any number."""
        self.cloning_devices = {device}
        """Where a base file's content may be shared with its copy; a device that refuses is taken out."""
        self.running = 0
        """How many are under way."""
        self._waiting: list[Callable[[], None]] = []

    def begun(self) -> None:
        self.running += 1

    def ended(self) -> None:
        self.running -= 1
        if not self.running:
            waiting, self._waiting = self._waiting, []
            for tell in waiting:
                tell()

    def when_none_run(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the last that is under way has ended."""
        self._waiting.append(tell)
