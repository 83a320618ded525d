import pytest

from gateway.demo.directive import Directive, find_directive
from gateway.demo.errors import ApiError
from gateway.demo.models import BASE, SUPPORT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("demo:error 429", Directive("error", 429)),
        ("please demo:error 503, thank you", Directive("error", 503)),
        ("demo:error", Directive("error", 500)),
        ("demo:error 200", Directive("error", 500)),
        ("demo:cut", Directive("cut")),
        ("demo:slow", Directive("slow", 10)),
        ("demo:slow 90", Directive("slow", 90)),
        ("demo:slow 999", Directive("slow", 600)),
        ("nodemo:cut", Directive()),
        ("demo:cutter", Directive()),
        ("demo: cut", Directive()),
        ("", Directive()),
    ],
)
def test_directives_are_found_in_the_text(text: str, found: Directive) -> None:
    assert find_directive(text, SUPPORT) == found
    assert find_directive(text, BASE) == Directive()


@pytest.mark.parametrize("text", ["demo:error 500 all", "demo:error all"])
def test_all_strikes_every_model(text: str) -> None:
    assert find_directive(text, BASE) == Directive("error", 500)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 503, 599])
def test_every_error_has_the_four_keys(status: int) -> None:
    with pytest.raises(ApiError) as asked:
        Directive("error", status).check()
    assert asked.value.status == status
    assert set(asked.value.body()["error"]) == {"message", "type", "param", "code"}
