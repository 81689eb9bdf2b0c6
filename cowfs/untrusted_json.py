"""JSON that anybody may have written."""

from __future__ import annotations

import json
import re
from typing import Any

_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DEEPEST = 20


def parse_json(content: bytes) -> Any:
    """What it says. Its parser goes as deep as Python's recursion limit, not as the stack is.

    ValueError, also for what is nested deeper than anything of ours.
    """
    depth = 0
    for byte in _JSON_STRING.sub(b"", content):
        depth += (byte in b"[{") - (byte in b"]}")
        if depth > _DEEPEST:
            raise ValueError("nested too deep")
    return json.loads(content)
