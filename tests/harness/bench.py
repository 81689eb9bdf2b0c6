"""The workbench of one test: bases, mounts of them, and the promise that no base ever changes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.mounts import Mount
from tests.harness.snapshot import Snapshot, differences, snapshot
from tests.harness.trees import Description, make_tree
from tests.harness.trial import CLOCK_TICK_NS, Operations, compare


@dataclass
class Workbench:
    """Makes bases and mounts of them for one test, and at its end takes them away and checks that no base changed."""

    place: Path
    engine: str
    mounts: list[Mount] = field(default_factory=list)
    bases: dict[Path, Snapshot] = field(default_factory=dict)

    def base(self, description: Description, name: str = "base") -> Path:
        path = self.place / name
        make_tree(str(path), description)
        return path

    def watch(self, base: Path) -> None:
        """Remember what `base` is now; it must be so at the end. Every mounted base is watched."""
        if base not in self.bases:
            self.bases[base] = snapshot(str(base), exact=True)

    def mount(self, *bases: Path, layer: Path | None = None, name: str = "mnt", start: bool = True) -> Mount:
        """Mount `bases` (the topmost first) with a kept layer."""
        for base in bases:
            self.watch(base)
        point = self.place / name
        point.mkdir(exist_ok=True)
        mount = Mount(
            base=":".join(map(str, bases)),
            point=point,
            layer=layer or self.place / f"{name}-layer",
            engine=self.engine,
            log=self.place / f"{name}.log",
        )
        self.mounts.append(mount)
        if start:
            mount.start()
        return mount

    def mounted(self, description: Description) -> Mount:
        return self.mount(self.base(description))

    def compare(self, description: Description, *operations: Operations) -> Mount:
        """Run `operations` on a mount of the described base and on a copy of it; compare both, and again remounted."""
        mount = self.compare_stages(description, [operations])
        before = snapshot(mount.path)
        mount.remount()
        lines = differences(before, snapshot(mount.path))
        assert not lines, "before the remount -> after it\n" + "\n".join(lines)
        return mount

    def compare_stages(
        self, description: Description, stages: Sequence[Sequence[Operations]], remount: bool = False
    ) -> Mount:
        """Compare after every stage; `remount` mounts the kept layer anew between the stages."""
        base = self.base(description)
        plain = self.place / "plain"
        subprocess.run(["cp", "-a", str(base), str(plain)], check=True)
        mount = self.mount(base)
        now = time.time_ns() - CLOCK_TICK_NS
        for number, operations in enumerate(stages):
            if remount and number:
                mount.remount()
            compare(str(plain), mount.path, *operations, now=now)
        return mount

    def close(self) -> None:
        problems: list[str] = []
        for mount in reversed(self.mounts):
            try:
                mount.end()
            except AssertionError as error:
                problems.append(str(error))
        for base, before in self.bases.items():
            changed = differences(before, snapshot(str(base), exact=True))
            if changed:
                problems.append(f"the base {base.name} changed:\n" + "\n".join(changed))
        assert not problems, "\n".join(problems)
