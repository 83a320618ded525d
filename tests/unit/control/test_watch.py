from pathlib import Path

from gateway.control.watch import Sightings, fingerprint


def test_a_new_content_counts_once_it_was_seen_twice() -> None:
    sightings = Sightings(known="old")
    assert [sightings.see(seen) for seen in ("old", "new", "new")] == [False, False, True]


def test_a_half_written_file_does_not_count() -> None:
    sightings = Sightings(known="old")
    assert not any(sightings.see(seen) for seen in ("ha", "half", "new"))
    assert sightings.see("new")


def test_a_file_that_is_gone_for_a_moment_is_no_change() -> None:
    sightings = Sightings(known="old")
    assert not any(sightings.see(seen) for seen in (None, "old", None, None, "old", "new", None, "new"))
    assert sightings.see("new")


def test_a_change_that_is_taken_back_is_none() -> None:
    sightings = Sightings(known="old")
    assert not any(sightings.see(seen) for seen in ("new", "old", "new", "old", "old"))


def test_the_fingerprint_goes_through_symlinks_and_by_content(tmp_path: Path) -> None:
    for name, text in (("one", "a"), ("two", "b"), ("three", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text(text)
    link, file = tmp_path / "..data", tmp_path / "gateway.yaml"
    file.symlink_to("..data/gateway.yaml")
    seen = []
    for name in ("one", "two", "three"):
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        seen.append(fingerprint(file))
    assert seen[0] == seen[2] != seen[1]
    link.unlink()
    assert fingerprint(file) is None
