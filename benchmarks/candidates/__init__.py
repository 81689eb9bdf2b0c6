"""The ways to get a throw-away copy of a base that are measured side by side, a module each."""

from __future__ import annotations

from benchmarks.candidates.btrfs import BtrfsSnapshot
from benchmarks.candidates.cowdancer import Cowdancer
from benchmarks.candidates.cowfs import Cowfs, CowfsOnDevice, CowfsOnPyfuse3
from benchmarks.candidates.fuse_overlayfs import FuseOverlayfs
from benchmarks.candidates.interface import Candidate
from benchmarks.candidates.lvm import LvmClassic, LvmThin
from benchmarks.candidates.overlayfs import Overlayfs, OverlayfsPlain, OverlayfsVolatile
from benchmarks.candidates.plain_copy import Copy, Reflink
from benchmarks.candidates.tarball import Tarball
from benchmarks.candidates.unionfs_fuse import UnionfsFuse

CANDIDATES: dict[str, Candidate] = {
    candidate.name: candidate
    for candidate in (
        Cowfs(),
        CowfsOnDevice(),
        CowfsOnPyfuse3(),
        Overlayfs(),
        OverlayfsVolatile(),
        OverlayfsPlain(),
        FuseOverlayfs(),
        UnionfsFuse(),
        Copy(),
        Reflink(),
        Tarball(),
        Cowdancer(),
        BtrfsSnapshot(),
        LvmClassic(),
        LvmThin(),
    )
}

REFERENCE = "overlayfs"
"""What the ratios are over, where it was measured."""
