"""Planned moves lead somewhere, and not in a circle."""

from __future__ import annotations

from tests.unit.config.loading import said, warned

HEAD = "upstreams: {a: {base_url: 'https://a/v1', owns: [acme], models: [m, n]}}\naliases: "


def at(aliases: str) -> list[str]:
    return [line.removeprefix("f:2: aliases.") for line in said(HEAD + aliases)]


def test_an_unknown_successor() -> None:
    [line] = at("{s: {model: m, sunset: {switch_to: support2}}, support-v2: {model: n}}")
    assert line == (
        's.sunset.switch_to: "support2" is no alias, and no upstream serves a model of this id; '
        'did you mean "support-v2"? known: s, support-v2'
    )
    assert at("{s: {model: m, sunset: {switch_to: 'ft:gpt-4o:rival::x'}}}")[0].startswith(
        's.sunset.switch_to: "ft:gpt-4o:rival::x" is no alias'
    )


def test_aliases_and_models_that_somebody_serves() -> None:
    assert at("{s: {model: m, sunset: {switch_to: t}}, t: {model: n}}") == []
    assert at("{s: {model: m, sunset: {switch_to: n}}}") == []
    assert at("{s: {model: m, sunset: {switch_to: 'ft:gpt-4o:acme::x', days_before: 0}}}") == []
    assert at("{s: {model: m, fallbacks: [t], sunset: {switch_to: t}}, t: {model: n}}") == []


def test_the_model_itself_and_its_base_are_no_successors() -> None:
    assert at("{s: {model: m, sunset: {switch_to: m}}}") == [
        "s.sunset.switch_to: this is the model that ends: name the one that takes over"
    ]
    assert at("{s: {model: 'ft:gpt-4o:acme::x', sunset: {switch_to: base}}}") == [
        "s.sunset.switch_to: the base of an ft: id ends on the same day: name an alias or another model"
    ]


def circle(names: str) -> str:
    return f"this planned move and what follows it go in a circle: {names}"


def test_circles_of_moves() -> None:
    assert at("{s: {model: m, sunset: {switch_to: s}}}") == [f"s.sunset.switch_to: {circle('s -> s')}"]
    assert at("{s: {model: m, sunset: {switch_to: t}}, t: {model: n, sunset: {switch_to: s}}}") == [
        f"s.sunset.switch_to: {circle('s -> t -> s')}"
    ]


def test_a_move_into_fallbacks_that_lead_back_is_a_circle_too() -> None:
    assert at("{s: {model: m, sunset: {switch_to: t}}, t: {model: n, fallbacks: [s]}}") == [
        f"s.sunset.switch_to: {circle('s -> t -> s')}"
    ]
    x, t = "x: {model: m, fallbacks: [s]}", "t: {model: n, fallbacks: [x]}"
    assert at(f"{{{x}, s: {{model: m, sunset: {{switch_to: t}}}}, {t}}}") == [
        f"x.fallbacks[0]: {circle('x -> s -> t -> x')}"
    ]


def test_days_are_not_negative() -> None:
    [line] = at("{s: {model: m, sunset: {switch_to: n, days_before: -1}}}")
    assert "must be at least 0" in line


def test_warnings() -> None:
    disabled = HEAD.replace("{a:", "{b: {base_url: 'https://b/v1', api_keys: [''], models: [x]}, a:")
    assert warned(disabled + "{s: {model: m, sunset: {switch_to: x}}}")[1:] == [
        "f:2: aliases.s.sunset.switch_to: no enabled upstream serves it: the alias will not be moved"
    ]
    any_id = HEAD.replace(", models: [m, n]", "")
    text = "{s: {model: m, sunset: {switch_to: suport-v2}}, support-v2: {model: n}}"
    [line] = warned(any_id + text)
    assert line == (
        'f:2: aliases.s.sunset.switch_to: "suport-v2" is no alias and is taken for a model id; '
        'did you mean "support-v2"? known: s, support-v2'
    )
    assert warned(any_id + "{s: {model: m, sunset: {switch_to: gpt-6-luna}}}") == []
