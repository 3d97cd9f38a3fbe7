"""Describes a format of quantised matrices, and checks a matrix's tensors against it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.affine.values import WORD, Values
from dynexit.model.config import Section
from dynexit.plain import Within, shown

WORDS, SCALES = ("I32",), ("F16", "BF16", "F32")  # types, as safetensors calls them
BITS = (4, 8)
PER_ROW = -1  # a group size: all inputs of an output share a scale
GroupSize = Annotated[int, Within(PER_ROW, 2**30)]


class Header(NamedTuple):
    """What a file says of a tensor."""

    file: Path
    shape: tuple[int, ...]
    type: str


class Piece(NamedTuple):
    """What a tensor of a quantised matrix must be."""

    shape: tuple[int, ...]
    types: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True)
class Scheme:
    """How weights are quantised.

    Attributes:
        group_size: inputs that share a scale and a zero point.
        symmetric: all zero points are in the middle.
        ordered: groups may have inputs from anywhere, and a tensor says which.
    """

    bits: int
    group_size: int
    symmetric: bool
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise DynexitError(
                f"config.json: weights of {shown(self.bits)} bits are not supported: use 4 or 8."
            )
        if not self.group_size:
            raise DynexitError("config.json: group_size is 0: it must be above 0, or -1.")

    @property
    def most(self) -> int:
        """The largest value."""
        return (1 << self.bits) - 1

    @property
    def middle(self) -> int:
        """The zero point of symmetric quantisation."""
        return 1 << (self.bits - 1)

    def groups(self, inputs: int) -> int:
        """Groups of a row."""
        return 1 if self.group_size == PER_ROW else inputs // self.group_size

    def words(self, count: int) -> int:
        """Words that so many values fill."""
        return -(-count * self.bits // WORD)

    def __str__(self) -> str:
        groups = "by row" if self.group_size == PER_ROW else f"g{self.group_size}"
        return f"{self.bits}-bit {groups}"


@dataclass(frozen=True)
class Module:
    """A module's tensors by the ends of their names: what files say of them, and their reader."""

    name: str
    headers: Mapping[str, Header]
    read: Callable[[str], Tensor]

    def told(self, end: str, dimensions: int, *types: str) -> tuple[int, ...]:
        """The shape of a tensor, which must be there, and of so many dimensions and of a type."""
        header = self.headers.get(end)
        if header is None or len(header.shape) != dimensions or header.type not in types:
            what = "is missing" if header is None else f"is {header.type} {header.shape}"
            raise DynexitError(
                f"tensor '{self.name}.{end}' {what}: it must be {' or '.join(types)} in "
                f"{dimensions} dimensions."
            )
        return header.shape


@dataclass(frozen=True)
class Layout(ABC):
    """A format.

    Attributes:
        schemes: that the configuration names; a matrix's tensors say which of them is its own.
        plain: modules that the configuration leaves as they are, by names or parts of them.
    """

    schemes: tuple[Scheme, ...]
    plain: tuple[str, ...] = ()

    name: ClassVar[str]
    mark: ClassVar[str]  # the tensor that every quantised matrix has
    order: ClassVar[str]  # the one that says which group an input is in

    @abstractmethod
    def shape(self, module: Module, scheme: Scheme) -> tuple[int, int]:
        """Outputs and inputs, as its tensors say."""

    @abstractmethod
    def pieces(self, scheme: Scheme, outputs: int, inputs: int) -> dict[str, Piece]:
        """The tensors of a matrix, by the ends of their names."""

    @abstractmethod
    def unpack(self, module: Module, scheme: Scheme, outputs: int, inputs: int) -> Values:
        """A matrix out of its tensors."""

    def fitted(self, module: Module) -> tuple[Scheme, tuple[int, int]]:
        """Which scheme a matrix has, and how many outputs and inputs.

        Raises:
            DynexitError: its tensors bear none out.
        """
        if self.leaves(module.name):
            raise DynexitError(
                f"config.json says that {module.name} is not quantised, but its tensors are."
            )
        problems = []
        for scheme in self.schemes:
            shape = self.shape(module, scheme)
            if not (problem := self._problem(module, scheme, *shape)):
                return scheme, shape
            problems.append(problem)
        raise DynexitError(problems[0])

    def leaves(self, module: str) -> bool:
        """Whether the configuration says that a module is not quantised."""
        return any(f".{name}." in f".{module}." for name in self.plain)

    def values(self, module: Module) -> Values:
        """A matrix, whose zero points and order of inputs are as its scheme says.

        Raises:
            DynexitError: they are not, or as `fitted`.
        """
        scheme, (outputs, inputs) = self.fitted(module)
        if self.order in module.headers:
            groups = torch.arange(inputs) // (inputs // scheme.groups(inputs))
            if not torch.equal(module.read(self.order).long(), groups):
                raise DynexitError(
                    f"{module.name} groups its inputs by activation order (desc_act, actorder), "
                    "which is not supported: use a checkpoint quantised without it."
                )
        values = self.unpack(module, scheme, outputs, inputs)
        if scheme.symmetric and not (values.zeros == scheme.middle).all():
            raise DynexitError(
                f"{module.name} is symmetric by config.json, but has zero points other than "
                f"{scheme.middle}."
            )
        return values

    def _problem(self, module: Module, scheme: Scheme, outputs: int, inputs: int) -> str | None:
        """Why a matrix's tensors are not of a scheme."""
        if scheme.group_size != PER_ROW and inputs % scheme.group_size:
            return (
                f"{module.name} has {inputs} inputs, which are no whole groups of "
                f"{scheme.group_size}."
            )
        wanted = self.pieces(scheme, outputs, inputs)
        wanted |= {"bias": Piece((outputs,), SCALES, optional=True)}
        return next(self._problems(module, scheme, wanted), None)

    def _problems(
        self, module: Module, scheme: Scheme, wanted: Mapping[str, Piece]
    ) -> Iterator[str]:
        for end in sorted(module.headers.keys() - wanted.keys()):
            yield f"tensor '{module.name}.{end}' is none of {self.name} {scheme}."
        for end, piece in wanted.items():
            tensor = f"tensor '{module.name}.{end}'"
            if end not in module.headers:
                if not piece.optional:
                    yield f"{tensor} is missing, which {self.name} {scheme} has."
                continue
            _, shape, kind = module.headers[end]
            if shape != piece.shape or kind not in piece.types:
                yield (
                    f"{tensor} is {kind} {shape}, but {self.name} {scheme} asks for "
                    f"{' or '.join(piece.types)} {piece.shape}."
                )


def refuse(settings: Section, **allowed: tuple[object, ...]) -> None:
    """Refuse settings that are there with another value than those that run."""
    for key, values in allowed.items():
        value = settings.get(key)
        found = value.lower() if isinstance(value, str) else value
        if found and found not in values:
            known = " or ".join(map(repr, values)) if values else "none"
            raise DynexitError(
                f"config.json: {key} is {shown(value)}, which is not supported: it must be {known}."
            )
