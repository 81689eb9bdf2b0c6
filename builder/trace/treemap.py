"""A treemap: rectangles with areas as given that fill a rectangle, each as near to a square as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Rectangle(NamedTuple):
    x: float
    y: float
    width: float
    height: float

    def inside(self, *, margin: float, top: float) -> Rectangle:
        """What is left of it within a margin, and a heading at the top."""
        width, height = self.width - 2 * margin, self.height - margin - top
        return Rectangle(self.x + margin, self.y + top, max(width, 0.0), max(height, 0.0))


def squarified(weights: Sequence[float], place: Rectangle) -> list[Rectangle]:
    """A rectangle for each weight, which are positive and come the largest first (Bruls, Huizing, van Wijk)."""
    made: list[Rectangle] = []
    left = place
    at = 0
    while at < len(weights):
        scale = left.width * left.height / sum(weights[at:])
        shorter = min(left.width, left.height)
        row = [weights[at] * scale]
        while at + len(row) < len(weights):
            longer = [*row, weights[at + len(row)] * scale]
            if _worst(longer, shorter) > _worst(row, shorter):
                break
            row = longer
        at += len(row)
        placed, left = _along_the_shorter_side(row, left)
        made += placed
    return made


def _worst(areas: Sequence[float], side: float) -> float:
    """How far from a square the least square of a row is."""
    total = sum(areas)
    if not total or not side:
        return float("inf")
    return max(side**2 * max(areas) / total**2, total**2 / (side**2 * min(areas)))


def _along_the_shorter_side(areas: Sequence[float], place: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    total = sum(areas)
    made: list[Rectangle] = []
    if place.width >= place.height:
        thickness = total / place.height if place.height else 0.0
        y = place.y
        for area in areas:
            length = area / thickness if thickness else 0.0
            made.append(Rectangle(place.x, y, thickness, length))
            y += length
        return made, Rectangle(place.x + thickness, place.y, max(place.width - thickness, 0.0), place.height)
    thickness = total / place.width
    x = place.x
    for area in areas:
        length = area / thickness if thickness else 0.0
        made.append(Rectangle(x, place.y, length, thickness))
        x += length
    return made, Rectangle(place.x, place.y + thickness, place.width, max(place.height - thickness, 0.0))
