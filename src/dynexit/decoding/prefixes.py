"""The prefix cache: keys and values of earlier texts, for texts that begin alike.

A tree of blocks of tokens. A text copies the blocks of the longest path from the root that matches
its beginning, so the model need not compute them again. Not responsible for which texts may share:
texts of different salts share nothing.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from torch import Tensor

from dynexit.decoding.prefix_files import Origin, Stored, read_blocks, write_blocks
from dynexit.errors import DynexitError
from dynexit.model.interface import BLOCK, SavedCache

KEY = BLOCK * array("i").itemsize  # bytes of a block's tokens
SALT = hashlib.sha256().digest_size  # which come before the first block's


@dataclass(eq=False)
class Node:
    """A block of a text, after those of its parents. The root has none."""

    parent: "Node | None" = None
    key: bytes = b""
    block: Tensor = field(default_factory=lambda: Tensor())
    children: "dict[bytes, Node]" = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What it is counted as: keys and values, and tokens."""
        return self.block.nbytes + len(self.key)


class PrefixCache:
    """Blocks of one model's texts; the least recently used are evicted. Thread-safe.

    Args:
        limit: bytes of all blocks together, at most.
        block_bytes: bytes of one of the model's blocks.
        origin: the origin that `save` writes and `load` checks; None if the model is not from a
            checkpoint.

    Attributes:
        bytes: memory of all blocks and their tokens.
        asked, hits: lookups by texts, and those that found a prefix.
        found: tokens found.
        dropped: blocks evicted.

    Raises:
        DynexitError: not even one block would fit.
    """

    def __init__(
        self, limit: int, block_bytes: int, origin: Callable[[], Origin] | None = None
    ) -> None:
        self.limit, self._block_bytes, self._origin = limit, block_bytes, origin
        if (least := block_bytes + KEY + SALT) > limit:
            raise DynexitError(
                f"a prefix cache of {limit} bytes is too small for one block of this model, "
                f"{least} bytes: give it more memory, or 0 to turn it off."
            )
        self.bytes = self.asked = self.hits = self.found = self.dropped = 0
        self._root = Node()
        # The least recently used come first, and every node before its parent.
        self._nodes: OrderedDict[Node, None] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Blocks that are held."""
        return len(self._nodes)

    def restore(self, cache: SavedCache, tokens: Sequence[int], salt: str = "") -> int:
        """Fill an empty KV cache with the cached prefix of a text that begins with `tokens`.

        Returns:
            The number of positions it then holds.

        Raises:
            DynexitError: there is not enough memory.
        """
        with self._lock:
            path, node = [], self._root
            for key in _keys(tokens, salt):
                if key not in node.children:
                    break
                path.append(node := node.children[key])
            self._use(path)
            if path:
                cache.restore([node.block for node in path])
            self.asked += 1
            self.hits += bool(path)
            self.found += len(path) * BLOCK
        return len(path) * BLOCK

    def keep(self, cache: SavedCache, tokens: Sequence[int], salt: str = "") -> None:
        """Copy a text's committed positions from its KV cache, as far as they fit and are new."""
        with self._lock:
            path: list[Node] = []
            try:
                for index, key in enumerate(_keys(tokens[: cache.length], salt)):
                    parent = path[-1] if path else self._root
                    node = self._child(parent, key)
                    if node is None and self._make_room(key, path):
                        node = self._add(parent, key, cache.save(index))
                    if node is None:
                        break
                    path.append(node)
            finally:
                self._use(path)

    def save(self, path: str | Path) -> None:
        """Write all blocks without a salt to a safetensors file, for `load`.

        Raises:
            DynexitError: the file cannot be written.
        """
        origin = self._told()
        with self._lock:
            nodes = [node for node in reversed(self._nodes) if not _salted(node)]
            number = {node: index for index, node in enumerate(nodes)}
            parents = [number.get(node.parent or node, -1) for node in nodes]
            stored = Stored(parents, [n.key for n in nodes], [n.block for n in nodes])
            write_blocks(Path(path), origin, stored)

    def load(self, path: str | Path) -> int:
        """Add the blocks of a file, evicting the least recently used ones.

        Returns:
            The number of tokens in the file.

        Raises:
            DynexitError: the file is damaged, of another model or runtime, or too large.
        """
        stored = read_blocks(Path(path), self._told(), self._block_bytes, KEY)
        if (needed := len(stored.keys) * (self._block_bytes + KEY)) > self.limit:
            raise DynexitError(
                f"{path} holds {needed} bytes of keys and values, but this cache may hold "
                f"{self.limit}: give it more memory."
            )
        with self._lock:
            nodes: list[Node] = []
            try:
                for after, key, block in zip(*vars(stored).values(), strict=True):
                    parent = self._root if after < 0 else nodes[after]
                    if key not in parent.children:
                        self._make_room(key, nodes)
                    nodes.append(self._child(parent, key) or self._add(parent, key, block))
            finally:
                self._use(nodes)
        return len(nodes) * BLOCK

    def _told(self) -> Origin:
        if self._origin is None:
            raise DynexitError(
                "this model was not loaded from a checkpoint, so its prefix cache cannot be saved "
                "or loaded: a file could not name the model."
            )
        return self._origin()

    def _child(self, parent: Node, key: bytes) -> Node | None:
        """One that is there, used last now."""
        if (node := parent.children.get(key)) is not None:
            self._nodes.move_to_end(node)
        return node

    def _add(self, parent: Node, key: bytes, block: Tensor) -> Node:
        node = parent.children[key] = Node(parent, key, block)
        self.bytes += node.bytes
        self._nodes[node] = None
        return node

    def _make_room(self, key: bytes, used: Sequence[Node]) -> bool:
        """Drop blocks until another one fits; False where only those in `used`, which have been
        used after all others and in this order, are left.
        """
        while self.bytes + self._block_bytes + len(key) > self.limit:
            oldest = next(iter(self._nodes))
            if used and oldest is used[0]:
                return False
            self._drop(oldest)
        return True

    def _drop(self, node: Node) -> None:
        """`node` has no children: they would come before it."""
        assert node.parent is not None
        del self._nodes[node], node.parent.children[node.key]
        self.bytes -= node.bytes
        self.dropped += 1

    def _use(self, nodes: Sequence[Node]) -> None:
        """These were used last; parents come first in `nodes`."""
        for node in reversed(nodes):
            self._nodes.move_to_end(node)


def _keys(tokens: Sequence[int], salt: str) -> Iterator[bytes]:
    """Whole blocks of tokens, as bytes; the first one's after the salt's."""
    whole = array("i", tokens).tobytes()
    before = hashlib.sha256(salt.encode()).digest() if salt else b""
    for at in range(0, len(whole) - KEY + 1, KEY):
        yield (b"" if at else before) + whole[at : at + KEY]


def _salted(node: Node) -> bool:
    while node.parent is not None and node.parent.parent is not None:
        node = node.parent
    return len(node.key) > KEY
