"""The graph that a network is rewritten in: nodes in order, each an op on those before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(eq=False)
class Node:
    """One op and its result.

    op: None for the network's input. shape: of the result, the batch of the captured program in
    it. path: the module of the network that it comes from. role: what the result is, "" where
    that is told from the op later. dtype: of the result, while the graph is made.
    """

    op: nn.Module | None
    inputs: list[Node] = field(repr=False)
    shape: tuple[int, ...]
    path: str = ""
    role: str = ""
    tensor: str = ""
    module: str = ""
    source: Node | None = field(default=None, repr=False)
    ends: bool = False
    dtype: torch.dtype = torch.float32


@dataclass
class Graph:
    """nodes: in an order in which they can run; output: the one whose result is the network's."""

    nodes: list[Node] = field(default_factory=list)
    output: Node | None = None

    @property
    def input(self) -> Node:
        """The network's input."""
        return self.nodes[0]

    def users(self) -> dict[Node, list[Node]]:
        """Node -> those that read it, once for each time."""
        found: dict[Node, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for source in node.inputs:
                found[source].append(node)
        return found

    def replace(self, old: Node, new: Node) -> None:
        """Let all that read `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if n is old else n for n in node.inputs]
        if self.output is old:
            self.output = new

    def drop(self, node: Node, instead: Node) -> None:
        """Without a node: what read it reads `instead`."""
        self.replace(node, instead)
        self.nodes.remove(node)

    def put_behind(self, node: Node, new: Node) -> None:
        """Let all that read `node` read `new`, which reads it."""
        self.replace(node, new)
        self.insert(new, after=node)

    def insert(self, node: Node, *, after: Node | None = None, before: Node | None = None) -> Node:
        """Put a node beside another."""
        beside = before or after
        assert beside is not None
        place = self.nodes.index(beside) + (before is None)
        self.nodes.insert(place, node)
        return node

    def prune(self) -> None:
        """Drop what nothing reads."""
        needed, pending = {self.input}, [self.output]
        while pending:
            node = pending.pop()
            if node is not None and node not in needed:
                needed.add(node)
                pending.extend(node.inputs)
        self.nodes = [n for n in self.nodes if n in needed]

    def of(self, kind: type | tuple[type, ...]) -> Iterator[Node]:
        """The nodes whose op is of a kind, in order."""
        return (n for n in list(self.nodes) if isinstance(n.op, kind))

    def run(self, x: Tensor, see: Callable[[Node, Tensor], None] | None = None) -> Tensor:
        """The network's output for `x`; `see` is shown every result."""
        values = {self.input: x}
        for node in self.nodes[1:]:
            assert node.op is not None
            values[node] = node.op(*(values[n] for n in node.inputs))
            if see is not None:
                see(node, values[node])
        assert self.output is not None
        return values[self.output]
