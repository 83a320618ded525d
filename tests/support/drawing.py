"""A drawing as SVG, part by part, of what the pictures in `docs/pictures/` are made."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr


class Drawing:
    """A white sheet. The same calls give the same bytes, so that a picture changes where its figures do."""

    def __init__(self, width: int, height: int, title: str, *, left: int) -> None:
        size = f'width="{width}" height="{height}"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            f'<rect {size} fill="white"/>',
        ]
        self.text(left, 22, title, font_size=14)

    def add(self, tag: str, *, text: str | None = None, **attributes: float | str) -> None:
        """Add an element; `_` in an attribute's name is `-`, fractions have one digit."""
        pairs = "".join(f" {name.replace('_', '-')}={_value(each)}" for name, each in attributes.items())
        self._parts.append(f"<{tag}{pairs}/>" if text is None else f"<{tag}{pairs}>{escape(text)}</{tag}>")

    def text(self, x: float, y: float, text: str, **attributes: float | str) -> None:
        """Add a text that stands on (x, y)."""
        self.add("text", x=x, y=y, text=text, **attributes)

    def svg(self) -> str:
        """The document."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def _value(each: float | str) -> str:
    return quoteattr(f"{each:.1f}" if isinstance(each, float) else str(each))
