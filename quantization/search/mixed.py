"""Mixed precision: which modules to leave float, so that most is won for the least cost.

Greedy: the module whose return to float lowers the divergence from the float network most for
what it costs comes first, and all is measured again after each choice, because gains don't add
up. Measured lazily (Minoux 1978): a gain rarely grows as others are taken, so only the most
promising are measured again, until the best of them beats what the rest promised before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from quantization.search.flow import Flow, within
from quantization.sensitivity.effects import Effect

WIDTH = 8  # modules measured again at once
SLACK = 1.02  # a module becomes int8 again where the divergence rises by no more than this

Measure = Callable[[list[frozenset[str]], bool], list[Effect]]
"""Sets of int8 tensors -> what each loses; the flag asks for a quick look, at some images only."""


@dataclass(frozen=True)
class Mix:
    """A program with some modules float.

    modules: in the order in which they were taken. cost: of the whole program, in the unit that
    the search is given. added: the last one, "" for none.
    """

    modules: tuple[str, ...]
    cost: float
    effect: Effect
    added: str = ""

    @property
    def kl(self) -> float:
        """Divergence from the float network, nats; inf where logits aren't finite."""
        return self.effect.kl if math.isfinite(self.effect.kl) else math.inf


@dataclass(frozen=True)
class Share:
    """What one module of a mix brings: SQNR in dB and cost lost if it alone were int8 again."""

    gain_db: float
    cost: float


@dataclass
class Search:
    """The greedy search over one form.

    candidates: modules that may be left float. cost: modules -> cost of the whole program.
    least: costs below this count as this much, so that what is free is ranked by its gain.
    """

    flow: Flow
    candidates: Sequence[str]
    cost: Callable[[Sequence[str]], float]
    least: float
    measure: Measure
    promised: dict[str, float] = field(default_factory=dict)

    def start(self) -> Mix:
        """Everything int8 that the recipe makes int8."""
        (effect,) = self.measure([self.flow.selection(())], False)
        return Mix((), self.cost(()), effect)

    def add(self, mix: Mix) -> Mix | None:
        """`mix` and the module that lowers the divergence most for its cost; None: none does."""
        now = self.flow.selection(mix.modules)
        after = {c: self._with(mix, c) for c in self.candidates}
        open_ = {c: m for c, m in after.items() if self.flow.selection(m) != now}
        if not self.promised:
            self._look(mix, open_)
        waiting = sorted(open_, key=lambda c: (-self.promised[c], c))
        best: Mix | None = None
        while waiting:
            if best is not None and self.promised[best.added] >= self.promised[waiting[0]]:
                break
            some, waiting = waiting[:WIDTH], waiting[WIDTH:]
            effects = self.measure([self.flow.selection(open_[c]) for c in some], False)
            for name, effect in zip(some, effects, strict=True):
                new = Mix(open_[name], self.cost(open_[name]), effect, name)
                self.promised[name] = self._worth(mix, new)
                if best is None or self.promised[name] > self.promised[best.added]:
                    best = new
        return best if best is not None and best.kl < mix.kl else None

    def _with(self, mix: Mix, name: str) -> tuple[str, ...]:
        return (*(m for m in mix.modules if not within(m, [name])), name)

    def _look(self, mix: Mix, open_: dict[str, tuple[str, ...]]) -> None:
        """What each module promises, from a quick look at all of them."""
        kept = [self.flow.selection(m) for m in (mix.modules, *open_.values())]
        base, *effects = self.measure(kept, True)
        start = Mix(mix.modules, mix.cost, base)
        for (name, modules), effect in zip(open_.items(), effects, strict=True):
            self.promised[name] = self._worth(start, Mix(modules, self.cost(modules), effect))

    def _worth(self, before: Mix, after: Mix) -> float:
        """Divergence won for the cost; what wins nothing comes last, whatever it costs."""
        if before.kl == after.kl:
            return 0.0
        won = before.kl - after.kl
        return won / max(after.cost - before.cost, self.least) if won > 0 else won

    def prune(self, mix: Mix) -> Mix:
        """`mix` without what turned out unneeded."""
        limit = mix.kl * SLACK
        while len(mix.modules) > 1:
            less = self._less(mix)
            fits = [m for m in less if m.kl <= limit and m.cost <= mix.cost]
            if not fits:
                break
            mix = min(fits, key=lambda m: (m.cost, m.kl, m.modules))
        return mix

    def shares(self, mix: Mix) -> dict[str, Share]:
        """What each module of `mix` brings."""
        return {
            name: Share(gain_db(m.effect, mix.effect), mix.cost - m.cost)
            for name, m in zip(mix.modules, self._less(mix), strict=True)
        }

    def _less(self, mix: Mix) -> list[Mix]:
        """`mix` without each of its modules."""
        options = [tuple(m for m in mix.modules if m != name) for name in mix.modules]
        effects = self.measure([self.flow.selection(o) for o in options], False)
        return [Mix(o, self.cost(o), e) for o, e in zip(options, effects, strict=True)]


def gain_db(before: Effect, now: Effect) -> float:
    """SQNR won, dB; inf from logits that aren't finite, or to equal ones."""
    if now.sqnr_db == before.sqnr_db:
        return 0.0
    return now.sqnr_db - before.sqnr_db if math.isfinite(before.sqnr_db) else math.inf
