"""Indexes that could not be written, kept in memory: of Maildirs that are read-only, or on a full disk."""

from __future__ import annotations

import threading
from collections import OrderedDict

from popserv.maildrop.index import Index
from popserv.maildrop.maildir_folder import Folder

_Key = tuple[int, int]


class SpareIndexes:
    """Bounded: beyond `most` octets those that were not used for the longest time go. Called from threads."""

    def __init__(self, most: int = 64 * 1024 * 1024) -> None:
        self._most = most
        self._octets = 0
        self._kept: OrderedDict[_Key, Index] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, folder: Folder) -> Index | None:
        """The one of this Maildir."""
        with self._lock:
            index = self._kept.get(folder.identity[0])
            if index is not None:
                self._kept.move_to_end(folder.identity[0])
            return index

    def put(self, folder: Folder, index: Index) -> None:
        """Remember this one, whose octets are in memory."""
        with self._lock:
            self._forget(folder.identity[0])
            self._kept[folder.identity[0]] = index
            self._octets += index.layout.whole
            while self._octets > self._most:
                self._forget(next(iter(self._kept)))

    def drop(self, folder: Folder) -> None:
        with self._lock:
            self._forget(folder.identity[0])

    def _forget(self, key: _Key) -> None:
        index = self._kept.pop(key, None)
        if index is not None:
            self._octets -= index.layout.whole
