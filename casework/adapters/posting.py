"""Posting to systems of others, by one policy: no redirects, no proxies of the environment, bounded time and answers.

Addresses of private networks are refused unless they are meant: a name that leads into our own network would let
whoever owns it reach what stands there. The address that was looked at is the one that is connected to, so that a name
server that answers differently the second time changes nothing; the certificate is checked against the name.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence

import httpx

from casework.errors import PostError

# An answer's body is read only to keep the connection, and no further than this.
_MOST_ANSWER_BYTES = 16_384
PRIVATE_ADDRESS = "private address"
_EMBEDDED_IPV4 = ipaddress.ip_network("64:ff9b::/96")

# From a host's name and a port to its addresses; raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver.

    Raises:
        OSError: it knows no such host.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(address: str) -> bool:
    """Whether an address is one of the internet at large, what it wraps of IPv4 included."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour
        if wrapped is None and found in _EMBEDDED_IPV4:
            wrapped = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return found.is_global and not found.is_multicast


class Poster:
    """Posts to one place; it keeps connections, so one of another place needs a poster of its own."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        may_be_private: bool,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        """Connect on first use.

        Args:
            url: http(s)://...
            timeout_s: for all of one post, its answer included.
            may_be_private: whether its address may be one of a private network.
            transport: what sends; HTTP over TCP, with the system's certificates, if not given.
            resolve: finds addresses.
        """
        self._url = httpx.URL(url)
        self._timeout_s = timeout_s
        self._may_be_private = may_be_private
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            transport=transport,
            verify=ssl.create_default_context(),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Post and return the status of the answer; what else it says is read, bounded, and dropped.

        Raises:
            PostError: no answer came in time, or the address is refused.
        """
        status: int | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self.address()
                response = await self._client.send(self._request(address, body, headers), stream=True)
                status = response.status_code
                await _read(response)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            # The status is the answer, however slow or broken what follows it is.
            if status is None:
                raise PostError(type(error).__name__) from error
        return status

    async def address(self) -> str:
        """The address to connect to.

        Raises:
            PostError: one of the host's addresses is not public, and may not be private.
            OSError: there is no such host.
        """
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        found = await self._resolve(self._url.host, port)
        if not self._may_be_private and not all(map(is_public, found)):
            raise PostError(PRIVATE_ADDRESS)
        return found[0]

    def _request(self, address: str, body: bytes, headers: Mapping[str, str]) -> httpx.Request:
        """A request to the address, for the host."""
        host = self._url.host
        return self._client.build_request(
            "POST",
            self._url.copy_with(host=address),
            content=body,
            headers={**headers, "host": self._url.netloc.decode("ascii")},
            extensions={"sni_hostname": host},
        )


async def _read(response: httpx.Response) -> None:
    """Read an answer's body as far as we do."""
    async with contextlib.aclosing(response):
        read = 0
        async for part in response.aiter_raw():
            read += len(part)
            if read > _MOST_ANSWER_BYTES:
                return
