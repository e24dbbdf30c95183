"""Posting to systems of others: nowhere that is not meant, never for long, and whatever the answer is."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from casework.adapters.posting import PRIVATE_ADDRESS, Poster, is_public
from casework.errors import PostError
from tests.services.process import LOOPBACK
from tests.services.webhook_receiver import (
    ENDLESS_BODY,
    HANG,
    NO_HTTP,
    RESET,
    SLOW_BODY,
    Receiver,
    Reply,
    receiving,
)


async def post(receiver: Receiver, *, timeout_s: float = 20.0, url: str | None = None) -> int:
    poster = Poster(url or receiver.url, timeout_s, may_be_private=True)
    try:
        return await poster.post(b"{}", {"webhook-id": "event-1"})
    finally:
        await poster.close()


def answered(reply: Reply, **options: float) -> int:
    async def play() -> int:
        async with receiving(Receiver(lambda _received: reply)) as receiver:
            return await post(receiver, **options)  # type: ignore[arg-type]

    return asyncio.run(play())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.1.2.3", "224.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_an_address_of_our_own_network_is_not_public(address: str) -> None:
    """However it is written, wrapped addresses of IPv4 included."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Nothing is refused that can be meant."""
    assert is_public(address)


@pytest.mark.parametrize("found", [("10.0.0.8",), ("93.184.216.34", "169.254.169.254")])
def test_a_name_that_leads_into_our_network_is_not_asked(found: Sequence[str]) -> None:
    """One private address among several is enough, and nothing is sent."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return found

    async def play() -> None:
        poster = Poster("https://bank.example/hooks", 5.0, may_be_private=False, resolve=resolve)
        try:
            await poster.post(b"{}", {})
        finally:
            await poster.close()

    with pytest.raises(PostError, match=PRIVATE_ADDRESS):
        asyncio.run(play())


def test_the_address_that_was_looked_at_is_connected_to() -> None:
    """A name server that changes its mind between looking and connecting changes nothing; the host is told its name."""

    async def play() -> Receiver:
        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return [LOOPBACK]

        async with receiving(Receiver()) as receiver:
            url = f"http://no-such-host.invalid:{receiver.port}/hooks?key=1"
            poster = Poster(url, 20.0, may_be_private=True, resolve=resolve)
            assert await poster.post(b'{"a":1}', {"webhook-id": "event-1"}) == 204
            await poster.close()
        return receiver

    (received,) = asyncio.run(play()).received
    assert received.headers["host"].startswith("no-such-host.invalid:")
    assert (received.path, received.body, received.webhook_id) == ("/hooks?key=1", b'{"a":1}', "event-1")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("name", "is_right"), [("bank.test", True), ("thief.test", False)])
def test_the_certificate_is_checked_against_the_name(
    name: str, *, is_right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although an address is connected to, a certificate of another name is refused."""
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name} "
        f"-keyout {tmp_path}/key.pem -out {tmp_path}/cert.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return [LOOPBACK]

    async def play() -> int:
        async with receiving(Receiver(), tls) as receiver:
            url = f"https://bank.test:{receiver.port}/hooks"
            poster = Poster(url, 20.0, may_be_private=True, resolve=resolve)
            try:
                return await poster.post(b"{}", {})
            finally:
                await poster.close()

    if is_right:
        assert asyncio.run(play()) == 204
    else:
        with pytest.raises(PostError, match="ConnectError"):
            asyncio.run(play())


def test_a_redirect_is_an_answer() -> None:
    """Nobody follows it."""
    assert answered(307) == 307


@pytest.mark.parametrize("reply", [RESET, NO_HTTP])
def test_no_answer_is_told_by_its_kind(reply: str) -> None:
    """A connection that breaks, and what is no HTTP."""
    with pytest.raises(PostError, match="Error"):
        answered(reply)


def test_nobody_there_is_told() -> None:
    """A port where nobody listens, and a host that nobody knows."""
    for url in ("http://127.0.0.1:1/", "http://no-such-host.invalid/"):
        with pytest.raises(PostError, match=r"gaierror|ConnectError"):
            asyncio.run(post(Receiver(), url=url))


def test_one_who_hangs_is_not_waited_for() -> None:
    """The time of a post is bounded as a whole."""
    with pytest.raises(PostError, match="Timeout"):
        answered(HANG, timeout_s=0.3)


def test_a_slow_body_does_not_undo_the_status() -> None:
    """The receiver has said that it has it; what else it says is of no interest."""
    assert answered(SLOW_BODY, timeout_s=0.5) == 200


def test_an_endless_body_is_not_read() -> None:
    """A receiver cannot fill our memory."""

    async def play() -> Receiver:
        async with receiving(Receiver(lambda _received: ENDLESS_BODY)) as receiver:
            assert await post(receiver) == 200
        return receiver

    # What the buffers of two sockets take, and no more.
    assert asyncio.run(play()).sent_bytes < 50_000_000
