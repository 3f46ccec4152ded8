"""Where an artifact stands between its teacher and its students, as a drawing. Pure: boxes in, coordinates out."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 44, 46, 14
TEXT_LENGTH = 26


@dataclass(frozen=True, kw_only=True)
class Box:
    """One thing in the line: what it is, what it is called, where it is shown (empty: nowhere)."""

    key: str
    kind: str
    label: str
    url: str = ""
    here: bool = False


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A box with the corner it is drawn at."""

    box: Box
    x: int
    y: int

    @property
    def text(self) -> str:
        """The label as far as it fits."""
        label = self.box.label
        return label if len(label) <= TEXT_LENGTH else f"{label[: TEXT_LENGTH - 1]}…"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Boxes and the paths between them, in a view of `width` × `height`."""

    boxes: tuple[Placed, ...]
    paths: tuple[str, ...]
    width: int
    height: int


def draw(columns: Sequence[Sequence[Box]], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Columns from left to right, each in the middle of the height; an edge leads from one key to another."""
    filled = [column for column in columns if column]
    tallest = max((len(column) for column in filled), default=0)
    height = tallest * (HEIGHT + GAP_Y) + GAP_Y
    placed: dict[str, Placed] = {}
    for place, column in enumerate(filled):
        top = (height - len(column) * (HEIGHT + GAP_Y) + GAP_Y) // 2
        for row, box in enumerate(column):
            x, y = GAP_Y + place * (WIDTH + GAP_X), top + row * (HEIGHT + GAP_Y)
            placed[box.key] = Placed(box=box, x=x, y=y)
    paths = [_path(placed[start], placed[end]) for start, end in edges if start in placed and end in placed]
    width = 2 * GAP_Y + len(filled) * (WIDTH + GAP_X) - GAP_X if filled else 0
    return Drawing(boxes=tuple(placed.values()), paths=tuple(paths), width=width, height=height)


def _path(start: Placed, end: Placed) -> str:
    x1, y1 = start.x + WIDTH, start.y + HEIGHT // 2
    x2, y2 = end.x, end.y + HEIGHT // 2
    middle = (x1 + x2) // 2
    return f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"
