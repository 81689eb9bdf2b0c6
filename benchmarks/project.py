"""A small C project, always the same, compiled by make: work for a processor with the files that a build makes."""

from __future__ import annotations

from pathlib import Path

UNITS = 40

_UNIT = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "project.h"

static int compare(const void *one, const void *other) {{ return *(const int *)one - *(const int *)other; }}

int work_{number}(int seed) {{
    int values[64];
    char text[256] = "";
    for (int i = 0; i < 64; i++)
        values[i] = (seed * {number} + i * 7919) % 104729;
    qsort(values, 64, sizeof *values, compare);
    snprintf(text, sizeof text, "%d %d", values[0], values[63]);
    return (int)strlen(text) + values[31];
}}
"""

_MAKEFILE = """units := $(wildcard unit*.c)
project: $(units:.c=.o) main.o
\t$(CC) -o $@ $^
%.o: %.c project.h
\t$(CC) -O2 -Wall -MMD -c -o $@ $<
"""


def write(directory: Path) -> None:
    directory.mkdir(parents=True)
    numbers = range(UNITS)
    (directory / "project.h").write_text("".join(f"int work_{number}(int seed);\n" for number in numbers))
    for number in numbers:
        (directory / f"unit{number:02}.c").write_text(_UNIT.format(number=number))
    calls = " + ".join(f"work_{number}(3)" for number in numbers)
    main = f'#include <stdio.h>\n#include "project.h"\nint main(void) {{ printf("%d\\n", {calls}); return 0; }}\n'
    (directory / "main.c").write_text(main)
    (directory / "Makefile").write_text(_MAKEFILE)
