"""JupyterLab on this machine's own loopback and a real Chromium before it, for test_browser."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
# no sandbox where the tests run as root; nothing but loopback and files is opened
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--force-color-profile=srgb",
    ),
]
SETTINGS = {
    # all cells stand in the page, not only those in view
    "notebook-extension/tracker.jupyterlab-settings": '{"windowingMode": "none"}',
    "apputils-extension/notification.jupyterlab-settings": '{"fetchNews": "false"}',
}


def required() -> bool:
    """Whether these tests have to run, as .ci/run says by LMKIT_BROWSER=required."""
    return os.environ.get("LMKIT_BROWSER") == "required"


def do_without(reason: str) -> NoReturn:
    """Skip the test; fail it where the browser is `required`."""
    if required():
        pytest.fail(f"LMKIT_BROWSER=required: {reason}")
    pytest.skip(reason)


def lacking() -> str:
    """Why the browser tests cannot run here; '' = they can."""
    if CHROMIUM is None:
        return "browser tests skipped: expected Chromium, got none; apt-get install chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "browser tests skipped: expected playwright, got none; pip install -e '.[dev]'"
    return ""


class Lab:
    """A running JupyterLab. url: with its token; folder: that it serves."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder, self.url, self.token = folder, url, token

    def page_of(self, notebook: str) -> str:
        """Address of a notebook alone, without the other tabs."""
        return f"{self.url}/lab/workspaces/auto-{notebook}/tree/{notebook}.ipynb?token={self.token}"


@contextmanager
def lab(folder: Path, home: Path) -> Iterator[Lab]:
    """JupyterLab serving a folder; stopped at the end, with its kernels.

    Args:
        home: for its settings and its log, so that the user's own do not count.
    """
    settings = home / "user-settings" / "@jupyterlab"
    for name, text in SETTINGS.items():
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--port={port}", "--ip=127.0.0.1", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"),
        "--LabApp.expose_app_in_browser=True",
    ]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | own)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/api/status?token={token}", server, home / "lab.log")
            yield Lab(folder, url, token)
        finally:
            server.terminate()  # it shuts its kernels down
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait(url: str, server: subprocess.Popen, log: Path, patience_s: float = 120) -> None:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
