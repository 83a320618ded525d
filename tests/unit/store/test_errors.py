import pytest

from gateway.store.errors import StoreReplyError


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("NOSCRIPT", "NOSCRIPT"),
        ("", ""),
    ],
)
def test_the_code_is_the_first_word(message, code):
    error = StoreReplyError(message)
    assert error.code == code
    assert str(error) == message
