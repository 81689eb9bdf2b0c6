"""The ring itself: requests go out, completions come in, round and round."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from cowfs import linux
from cowfs.fuse.direct.uring import IORING_OP_READ, IORING_OP_URING_CMD, Ring, entry

NO_OPERATION = 0
"""IORING_OP_NOP"""


@pytest.fixture
def ring() -> Iterator[Ring]:
    try:
        made = Ring(4)
    except OSError as error:
        pytest.skip(f"no io_uring with what FUSE needs of it (Linux 6.6): {error.strerror}")
    yield made
    made.close()


def test_what_is_queued_is_handed_over_at_once_and_comes_back_by_its_tag(ring: Ring) -> None:
    for tag in (7, 1 << 63, 9):
        ring.queue(entry(NO_OPERATION, -1, tag))
    assert ring.enter(3) == [(7, 0), (1 << 63, 0), (9, 0)]
    assert ring.enter(0) == []


def test_it_goes_round(ring: Ring) -> None:
    for tag in range(1000):
        ring.queue(entry(NO_OPERATION, -1, tag))
        assert ring.enter(1) == [(tag, 0)]


def test_waiting_ends_when_another_thread_does_something(ring: Ring) -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    event = os.eventfd(0)
    ring.queue(entry(IORING_OP_READ, event, 1, address=linux.address_of(memory), length=8))
    waker = threading.Timer(0.05, os.eventfd_write, (event, 42))
    waker.start()
    assert ring.enter(1) == [(1, 8)]
    assert struct.unpack_from("=Q", memory) == (42,)
    waker.join()
    os.close(event)


def test_nothing_of_an_entry_is_left_for_the_next_in_its_place(ring: Ring) -> None:
    """The data of a command lie where a read has attributes: with those of before it would be EINVAL."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    reading, writing = os.pipe()
    for _ in range(4):
        ring.queue(entry(IORING_OP_URING_CMD, reading, 1, command=1, data=b"\xff" * 80))
        assert ring.enter(1)[0][1] < 0
    for _ in range(4):
        os.write(writing, b"content")
        ring.queue(entry(IORING_OP_READ, reading, 2, address=linux.address_of(memory), length=7))
        assert ring.enter(1) == [(2, 7)]
    os.close(reading)
    os.close(writing)


def test_a_failure_is_a_negative_errno(ring: Ring) -> None:
    ring.queue(entry(IORING_OP_READ, 99_999, 5, length=1))
    assert ring.enter(1) == [(5, -errno.EBADF)]


def test_a_ring_of_another_thread_is_refused(ring: Ring) -> None:
    """Not as a matter of taste: without barriers its memory must not be shared."""
    errors: list[OSError] = []

    def enter() -> None:
        try:
            ring.enter(0)
        except OSError as error:
            errors.append(error)

    other = threading.Thread(target=enter)
    other.start()
    other.join()
    assert [error.errno for error in errors] == [errno.EEXIST]
