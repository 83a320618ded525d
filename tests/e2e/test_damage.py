"""A small edition of `dev.py chaos mutate`: damaged bodies and damaged streams break nothing."""

from tests.chaos import mutate


async def test_damage_breaks_nothing() -> None:
    figures = await mutate.run(mutate.Settings(bodies=500, streams=500, seed=2, at_once=8))

    bodies, streams = figures["bodies"], figures["streams"]
    assert bodies["wrong"] == streams["wrong"] == []
    assert {"200", "400"} <= set(bodies["statuses"])
    assert streams["ends"]["done"] > 100
    assert streams["ends"]["error"] > 20
    assert streams["moved_on"] > 50
    # Looser than by hand, where nothing else runs: here other tests may have the processor.
    assert max(bodies["longest_s"], streams["longest_s"]) < 5
    assert figures["open_reservations"] == figures["workers_restarted"] == 0
