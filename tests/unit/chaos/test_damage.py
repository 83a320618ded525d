"""Damage is the same for a seed and a number, and mostly damage."""

from tests.chaos.mutate_kit.bodies import damaged_body
from tests.chaos.mutate_kit.streams import damaged_answer, sound_answer

MANY = 300


def test_a_seed_and_a_number_say_all_of_it() -> None:
    bodies = [damaged_body(1, number) for number in range(MANY)]
    streams = [damaged_answer(1, number) for number in range(MANY)]

    assert bodies == [damaged_body(1, number) for number in range(MANY)]
    assert streams == [damaged_answer(1, number) for number in range(MANY)]
    assert bodies != [damaged_body(2, number) for number in range(MANY)]
    assert streams != [damaged_answer(2, number) for number in range(MANY)]


def test_hardly_two_are_alike() -> None:
    assert len({damaged_body(1, number) for number in range(MANY)}) > MANY * 0.8
    assert len({damaged_answer(1, number) for number in range(MANY)}) > MANY * 0.9


def test_what_could_leave_a_gateway_waiting_ends_its_connection() -> None:
    whole = sound_answer().pieces[-1]

    for number in range(MANY):
        answer = damaged_answer(1, number)
        assert answer.ending != "keep" or answer.pieces[-1] == whole
