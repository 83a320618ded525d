import socket

import pytest

from gateway.demo.tour.ports import PortTaken, check_free


def test_a_taken_port_is_named_with_the_option_that_helps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} on 127\.0\.0\.1 is taken.* --admin-port 0 "):
            check_free("127.0.0.1", port, "--admin-port")
    check_free("127.0.0.1", port, "--admin-port")


def test_other_troubles_are_left_to_who_listens_in_earnest() -> None:
    check_free("127.0.0.1", 0, "--port")
    check_free("192.0.2.1", 0, "--port")
