"""What a mount shows otherwise than a disk happens to, as a test condition: the order of listings, numbers, blocks.

A program whose result changes with these depends on something that no file system promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cowfs.union.nodes import Numbers


class Order(Enum):
    SORTED = "sorted"
    REVERSE = "reverse"
    SHUFFLE = "shuffle"


@dataclass(frozen=True)
class ReaddirOrder:
    """The order in which a directory is listed. Names are ordered by their bytes."""

    order: Order
    seed: str = ""
    """Of SHUFFLE: the same seed and the same names give the same order."""

    def arranged(self, names: list[bytes]) -> list[bytes]:
        if self.order is Order.SHUFFLE:
            import hashlib  # loads OpenSSL, which a mount as usual does without

            key = hashlib.blake2b(self.seed.encode(), digest_size=32).digest()
            return sorted(names, key=lambda name: hashlib.blake2b(name, key=key, digest_size=16).digest())
        return sorted(names, reverse=self.order is Order.REVERSE)


@dataclass(frozen=True)
class Variation:
    """All test conditions; the default changes nothing."""

    readdir_order: ReaddirOrder | None = None
    """None: as it comes."""
    inode_seed: str | None = None
    """Every inode number but the root's is another, one for each seed."""
    padding: int = 0
    """Blocks that st_blocks says more than are there."""

    def numbers(self, devices: list[int]) -> Numbers:
        return Numbers(devices) if self.inode_seed is None else _VariedNumbers(devices, self.inode_seed)


class _VariedNumbers(Numbers):
    """Each number is exchanged for another one of the same range; no two become the same."""

    _RANGE = 1 << 32

    def __init__(self, devices: list[int], seed: str) -> None:
        super().__init__(devices)
        import hashlib

        digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
        # Odd, so that it has an inverse: then multiplying is a permutation.
        self._factor = int.from_bytes(digest[:4], "little") | 1
        self._mask = int.from_bytes(digest[4:], "little")

    def spare_number(self, device: int, inode: int) -> int:
        return self._exchanged(super().spare_number(device, inode))

    def _number(self, slot: int, inode: int) -> int | None:
        number = super()._number(slot, inode)
        return None if number is None else self._exchanged(number)

    def _exchanged(self, number: int) -> int:
        # 0 is no number, and 1 the root's: a walk along the cycle that leads to one of them goes on.
        while True:
            number = (number * self._factor % self._RANGE) ^ self._mask
            if number > 1:
                return number


NO_VARIATION = Variation()
