"""A fresh application for each test, and a browser in front of it for those that want one."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from api.roles import Role
from casework.adapters.memory_notices import MemoryNotices
from casework.history import History
from casework.links import Links
from tests.api.chromium import Browser, browser_program, running_browser
from tests.api.support import CODE_KEY, SECRETS, Memory, World, world


@pytest.fixture(name="world")
def fixture_world() -> World:
    """An application on an empty desk."""
    return world()


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    """A free port of loopback, taken before anything is served from it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, listener.getsockname()[1]


@contextmanager
def serving(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serve an application until the end."""
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=30)


@contextmanager
def serving_desk(history: History) -> Iterator[tuple[World, str]]:
    """An application with everything a desk has, on a free port of loopback, and the console's address."""
    made = world(history=history, notices=MemoryNotices(), links=Links(CODE_KEY))
    with listening() as (listener, port), serving(made.client.app, listener):
        yield made, f"http://localhost:{port}/console"


@pytest.fixture(name="served")
def fixture_served() -> Iterator[tuple[World, str]]:
    """An application that remembers no closed cases."""
    with serving_desk(Memory()) as found:
        yield found


@pytest.fixture(name="scripted")
def fixture_scripted() -> Iterator[Browser]:
    """A fresh browser."""
    program = browser_program()
    if program is None:
        pytest.skip("no Chromium is installed")
    # Not pytest's own folder: the browser's last processes may still write while it is removed.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running_browser(program, Path(folder)) as browser,
    ):
        yield browser


@pytest.fixture(name="browser")
def fixture_browser(scripted: Browser) -> Browser:
    """A fresh browser without scripts."""
    return scripted.without_scripts()


def sign_in(browser: Browser, address: str, role: Role = Role.SENIOR_AGENT) -> None:
    """Sign in, as a senior agent unless told otherwise."""
    browser.open(address)
    browser.fill("#api_key", SECRETS[role])
    browser.submit("button.main")
