"""Real examples of a text or file, damaged at random and on purpose: what a parser meets that reads others' writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

# What broke parsers before: ends of strings and lines, escapes of terminals, numbers, nesting, paths.
TOKENS = (
    *(b"\0", b"\n", b"\r\n", b"\n\n", b"\x0b", b"\x85", b"\xe2\x80\xa8", b"\x1b[2J\x1b]0;x\x07", b"\xff\xfe"),
    *(b"", b" ", b"\t", b":", b",", b"|", b"=", b"-", b'"', b"'", b"\\", b"#", b"[", b"]", b"{", b"}", b"(", b"<!"),
    *(b"0", b"-1", b"9" * 30, b"9" * 5000, b"1e999999999", b"NaN", b"Infinity", b"0x10", b"1_0"),
    *(b"\xd9\xa1", b"\xc2\xb2", b"\xed\xb2\x80"),
    *(b"null", b"true", b"[]", b"{}", b"[" * 5000, b'{"a":' * 1000, b"..", b"../../x", b"/etc/passwd", b"a" * 5000),
    *(b"\\u001b[2J", b"\\udcff\\ud800", b"\\u0000"),
)


def _cut(text: bytes, at: int, other: int, _token: bytes) -> bytes:
    return text[: min(at, other)] + text[max(at, other) :]


def _insert(text: bytes, at: int, _other: int, token: bytes) -> bytes:
    return text[:at] + token + text[at:]


def _overwrite(text: bytes, at: int, _other: int, token: bytes) -> bytes:
    return text[:at] + token + text[at + len(token) :]


def _truncate(text: bytes, at: int, _other: int, _token: bytes) -> bytes:
    return text[:at]


def _flip(text: bytes, at: int, other: int, _token: bytes) -> bytes:
    return text[:at] + bytes(each ^ (1 << other % 8) for each in text[at : at + 1]) + text[at + 1 :]


def _line(change: Callable[[list[bytes], int, int, bytes], None]) -> Callable[[bytes, int, int, bytes], bytes]:
    def changed(text: bytes, at: int, other: int, token: bytes) -> bytes:
        lines = text.split(b"\n")
        change(lines, at % len(lines), other, token)
        return b"\n".join(lines)

    return changed


def _word(lines: list[bytes], at: int, other: int, token: bytes) -> None:
    words = lines[at].split(b" ")
    words[other % len(words)] = token
    lines[at] = b" ".join(words)


def _drop_word(lines: list[bytes], at: int, other: int, _token: bytes) -> None:
    words = lines[at].split(b" ")
    del words[other % len(words)]
    lines[at] = b" ".join(words)


_DAMAGES: Sequence[Callable[[bytes, int, int, bytes], bytes]] = (
    *(_cut, _insert, _overwrite, _truncate, _flip),
    _line(_word),
    _line(_drop_word),
    _line(lambda lines, at, other, _token: lines.insert(other % len(lines), lines[at])),
    _line(lambda lines, at, _other, token: lines.insert(at, token)),
)


@st.composite
def mutated(draw: st.DrawFn, *examples: bytes) -> bytes:
    """One of the examples, with up to four damages."""
    text = draw(st.sampled_from(examples))
    for _ in range(draw(st.integers(1, 4))):
        damage = draw(st.sampled_from(_DAMAGES))
        position = st.integers(0, max(len(text) - 1, 0))
        text = damage(text, draw(position), draw(position), draw(st.sampled_from(TOKENS)))
    return text
