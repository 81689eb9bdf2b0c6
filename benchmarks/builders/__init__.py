"""The programs that build a package from its .dsc, which are measured side by side as users type them."""

from __future__ import annotations

from benchmarks.builders.cowbuild import Cowbuild, CowbuildSbuild
from benchmarks.builders.interface import Builder
from benchmarks.builders.pbuilder import CowbuildCowbuilder, Cowbuilder, Pbuilder
from benchmarks.builders.sbuild import SbuildSchroot, SbuildUnshare

BUILDERS: dict[str, Builder] = {
    builder.name: builder
    for builder in (
        Cowbuild("cowbuild", again=False, ring=True),
        Cowbuild("cowbuild-again", again=True, ring=True),
        Cowbuild("cowbuild-device", again=False, ring=False),
        Cowbuild("cowbuild-device-again", again=True, ring=False),
        CowbuildSbuild("cowbuild-sbuild", again=False, ring=True),
        CowbuildSbuild("cowbuild-sbuild-again", again=True, ring=True),
        SbuildUnshare(),
        SbuildSchroot(),
        Pbuilder(),
        Cowbuilder(),
        CowbuildCowbuilder(),
    )
}
