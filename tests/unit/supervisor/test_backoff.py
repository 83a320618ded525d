from gateway.supervisor.backoff import Backoff


def test_it_doubles_from_a_tenth_of_a_second_to_five() -> None:
    backoff = Backoff()
    assert [backoff.after(0) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_good_life_is_forgiven() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(9.9)
    assert backoff.after(10) == 0.1
    assert backoff.after(0) == 0.2
