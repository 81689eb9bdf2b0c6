"""A layer open for writing: locked, marked as in use, and put away clean at the end."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cowfs import linux
from cowfs.layer.directory import Upper, discard, ended_cleanly, make_kept, open_bases, open_upper, remove_tree
from cowfs.layer.lock import lock_layer, share_lock
from cowfs.layer.metadata import LayerError, LayerInfo, Namespace, State, Whiteouts, identify_bases, write_metadata
from cowfs.union.complete import complete_layer, link_all_names, recount_names
from cowfs.union.copyup import copy_root
from cowfs.union.freeze import freeze, restore_names
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.quota import Quota
from cowfs.union.tree import Tree
from cowfs.union.variation import NO_VARIATION, Variation
from cowfs.union.whiteout import Marks

_log = logging.getLogger("cowfs")


class OpenLayer:
    def __init__(
        self,
        bases: list[Path],
        make_place: Callable[[], Upper],
        *,
        user_marks: bool = False,
        durable: bool = False,
        quota: tuple[int | None, int | None] | None = None,
        variation: Variation = NO_VARIATION,
    ) -> None:
        """`quota`: bytes and inodes. LayerError."""
        self.bases = bases
        self._user_marks = user_marks
        self._durable = durable
        self._quota = quota
        with ExitStack() as undo:
            opened = open_bases(bases)
            self.place = place = make_place()
            self._locks = [lock_layer(place.upper, exclusive=True)]
            undo.callback(self._unlock)
            undo.callback(discard, place)
            self._upper, self._marks = open_upper(place, user_marks=user_marks)
            self.tree = Tree(opened, self._upper, self._marks, durable=durable, variation=variation)
            undo.callback(self.tree.close)
            if place.fresh:
                copy_root(self.tree)
            clean = ended_cleanly(place)
            self._identities = identify_bases(place.directory, bases)
            self._record(State.MOUNTED)
            undo.callback(self._record, State.CLEAN)
            if not clean:
                recount_names(self.tree)
            undo.callback(self._complete)
            self._limit()
            self._end = undo.pop_all()

    def close(self) -> None:
        self._end.close()

    def freeze(self, directory: Path) -> None:
        """Move the layer to `directory` as it is, locked against changes, and go on in a new one in its place.

        LayerError, and nothing has changed. No copy-up may run.
        """
        place = self.place.directory
        if place is None:
            raise LayerError("The mount has an upper directory and no layer directory: only a layer can be frozen.")
        if os.path.lexists(directory):
            raise LayerError(f"{directory} exists already: give a name that is free.")
        restore_names(self.tree)
        link_all_names(self.tree)
        following = place.with_name(f".{place.name}.next")
        with ExitStack() as undo:
            made = make_kept(following)
            undo.callback(remove_tree, following)
            lock = lock_layer(made.upper, exclusive=True)
            undo.callback(os.close, lock)
            upper, marks = open_upper(made, user_marks=self._user_marks)
            undo.callback(upper.close)
            _rename(place, directory)
            undo.callback(_rename, directory, place)
            links = os.fsencode(directory / "work" / "links")
            by_attribute = self._upper.attribute_whiteouts
            frozen = Layer(os.fsencode(directory / "upper"), len(self.bases), links, attribute_whiteouts=by_attribute)
            undo.callback(frozen.close)
            _rename(following, place)
            undo.pop_all()
        self._go_on(directory, frozen, upper, marks, lock)

    def _go_on(self, directory: Path, frozen: Layer, upper: WritableLayer, marks: Marks, lock: int) -> None:
        freeze(self.tree, frozen, upper)
        self.place = replace(self.place, directory=directory)
        self._record(State.CLEAN)
        share_lock(self._locks[-1])
        self._locks.append(lock)
        self.place = replace(self.place, directory=self.place.upper.parent, fresh=True)
        self.bases = [directory, *self.bases]
        self._upper, self._marks = upper, marks
        self._identities = identify_bases(self.place.directory, self.bases)
        copy_root(self.tree)
        self._record(State.MOUNTED)
        self._limit()

    def _limit(self) -> None:
        if self._quota is not None:
            self.tree.limit(Quota([self._upper.root_fd, self._upper.work_fd], *self._quota))

    def _unlock(self) -> None:
        for lock in self._locks:
            os.close(lock)

    def _record(self, state: State) -> None:
        if self.place.directory is None:
            return
        whiteouts = Whiteouts.ATTRIBUTE if self._upper.attribute_whiteouts else Whiteouts.DEVICE
        marks = Namespace(self._marks.namespace.decode())
        info = LayerInfo(self._identities, marks, whiteouts, state)
        write_metadata(self.place.directory, info, durable=self._durable)

    def _complete(self) -> None:
        self.tree.limit(None)  # putting the layer away must not fail
        if self.place.temporary:
            return
        try:
            complete_layer(self.tree)
        except OSError as error:  # cowfs reads it all the same
            _log.error("the layer's hard links could not be made complete for kernel overlayfs: %s", error.strerror)


def _rename(old: Path, new: Path) -> None:
    try:
        linux.rename(linux.AT_FDCWD, os.fsencode(old), linux.AT_FDCWD, os.fsencode(new), linux.RENAME_NOREPLACE)
    except OSError as error:
        reason = "that is another file system" if error.errno == errno.EXDEV else error.strerror
        raise LayerError(f"Cannot move the layer {old} to {new}: {reason}.") from error
