"""What the doubles say, in every format: one answer, one call of a tool, one set of counts.

The model's name carries the scenario: `<anything>-busy` is rate limited, and so on; see `SCENARIOS`.
"""

WORDS = ("Four", " words", " from", " afar")
TEXT = "".join(WORDS)
TOOL = "look_up"
ARGUMENTS = {"order": "A-17"}
PROMPT_TOKENS = 31
CACHED_TOKENS = 8
CACHE_WRITE_TOKENS = 5
COMPLETION_TOKENS = 12
WAIT_S = 40
KEY = "sk-conformance-0123456789"

SCENARIOS = {
    "answer": "answers, and calls the tool where one is offered",
    "odd": "the same in the oddest frames that the format allows",
    "busy": f"429, to be tried again in {WAIT_S} s",
    "denied": "401",
    "unknown": "404: no such model",
    "long": "400: more than its context holds",
    "broken": "500",
    "hangs": "streams two words, then nothing until the caller has left",
    "silent": "accepts the call and says nothing until the caller has left",
    "cut": "streams two words and breaks the connection",
    "short": "streams two words and ends in good order, without a finish",
    "fails": "streams two words, then reports an error",
}


def scenario_of(model: str) -> str:
    """The scenario in a model's name. A name without one is a mistake of the suite."""
    scenario = model.rpartition("-")[2]
    if scenario not in SCENARIOS:
        raise AssertionError(f"no scenario in {model!r}")
    return scenario
