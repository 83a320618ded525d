from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.hidden import WINDOW, Hidden

SECRET = "sk-proj-Zx8Qw3Lm5Vn7Bt2R"


def test_pieces_are_hidden_and_the_rest_stays() -> None:
    hidden = Hidden([SECRET, "none"])
    assert (
        hidden.hide(f"Incorrect API key provided: {SECRET}. See x.")
        == "Incorrect API key provided: ***. See x."
    )
    assert hidden.hide(f"[{SECRET[3:12]}]") == "[***]"
    assert hidden.hide(f"{SECRET}{SECRET} none") == "****** none"
    assert hidden.hide(f"{SECRET[:7]} is too little to tell") == f"{SECRET[:7]} is too little to tell"
    assert hidden.hide("req_07f3a9") == "req_07f3a9"


def test_without_secrets_nothing_is_hidden() -> None:
    assert Hidden(["", ""]).hide("anything") == "anything"


@given(
    st.sampled_from([SECRET, "ключ-Zx8Qw3Lm5\N{KEY}Vn7\ud800R"]),
    st.text(max_size=30),
    st.integers(0, 16),
    st.integers(WINDOW, 40),
    st.text(max_size=30),
)
def test_no_window_of_a_secret_is_left(secret: str, before: str, start: int, length: int, after: str) -> None:
    piece = secret[start : start + length]
    shown = Hidden([secret]).hide(before + piece + after)
    windows = {secret[at : at + WINDOW] for at in range(len(secret) - WINDOW + 1)}
    assert not any(window in shown for window in windows)


@given(st.text(alphabet="aB", max_size=60))
def test_secrets_that_overlap_and_repeat(text: str) -> None:
    secrets = ["aaaaaaaaaa", "aBaBaBaBaB"]
    shown = Hidden(secrets).hide(text)
    assert not any(each[at : at + WINDOW] in shown for each in secrets for at in range(3))
