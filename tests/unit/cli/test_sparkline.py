import pytest

from gateway.cli.sparkline import sparkline


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        ([], ""),
        ([0, 0], "▁▁"),
        ([0, 1, 1000], "▁▂█"),
        ([1, 2, 3, 4, 5, 6, 7], "▂▃▄▅▆▇█"),
        ([-5, 3], "▁█"),
        ([1] * 60, "█" * 30),
        ([1] * 31, "█" * 15 + "▅"),
    ],
)
def test_figures_become_bars(figures: list[int], line: str) -> None:
    assert sparkline(figures) == line


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", None, "no-such-encoding"])
def test_a_terminal_without_block_elements_gets_plain_ones(encoding: str | None) -> None:
    assert sparkline([0, 1, 7], encoding=encoding) == "_.#"
