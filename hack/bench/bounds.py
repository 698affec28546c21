"""What a part of the bench must reach: a figure past its bound ends it with 1."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """A figure with the least or the most that it may be."""

    what: str
    figure: float
    least: float | None = None
    most: float | None = None

    @property
    def holds(self) -> bool:
        """A figure that is no number holds nothing."""
        least, most = self.least, self.most
        return (least is None or self.figure >= least) and (most is None or self.figure <= most)

    def __str__(self) -> str:
        sides = (("at least", self.least), ("at most", self.most))
        asked = " and ".join(f"{word} {side:g}" for word, side in sides if side is not None)
        return f"{self.what}: {self.figure:.4g}, {asked} is asked for"


def judged(*bounds: Bound) -> int:
    """The exit code; what is past its bound is printed."""
    broken = [bound for bound in bounds if not bound.holds]
    for bound in broken:
        print(f"PAST ITS BOUND: {bound}", flush=True)
    return int(bool(broken))
