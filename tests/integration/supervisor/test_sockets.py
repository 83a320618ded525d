import socket

import pytest

from gateway.supervisor.sockets import CannotListen, listen, url
from gateway.supervisor.spec import Address


def test_port_0_is_chosen_by_the_kernel_and_told() -> None:
    with listen(Address("127.0.0.1", 0), "server") as listener:
        port = listener.getsockname()[1]
        assert (port > 0, url(listener)) == (True, f"http://127.0.0.1:{port}")
        assert not listener.getblocking()
        socket.create_connection(("127.0.0.1", port)).close()  # queued: nobody accepts


def test_an_ipv6_address_stands_in_brackets() -> None:
    with listen(Address("::1", 0), "admin") as listener:
        assert url(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_the_ipv6_wildcard_takes_ipv4_too() -> None:
    with listen(Address("::", 0), "server") as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


def test_a_name_is_looked_up() -> None:
    with listen(Address("localhost", 0), "server") as listener:
        assert listener.getsockname()[0] in ("127.0.0.1", "::1")


def test_a_port_can_be_bound_again_at_once() -> None:
    with listen(Address("127.0.0.1", 0), "server") as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.setblocking(True)
            listener.accept()[0].close()  # closed by the server's side first: TIME_WAIT stays here
    listen(Address("127.0.0.1", port), "server").close()


def test_a_taken_port_is_refused_with_its_setting() -> None:
    with listen(Address("127.0.0.1", 0), "server") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            CannotListen, match=rf"cannot listen on 127.0.0.1:{port} \(admin\): Address already"
        ):
            listen(Address("127.0.0.1", port), "admin")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(CannotListen, match=rf"cannot listen on {host}:8080 \(server\): \S+"):
        listen(Address(host, 8080), "server")
