"""A headless Chromium that tells what it complained about and what it asked for, and a webserver
for it to look at."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.support.daemon import until

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Debian's Chromium with its driver; skips where there is none, which is a failure in CI."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        reason = "needs chromium and chromedriver (Debian: chromium, chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = Options()
    options.binary_location = browser
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()


@contextmanager
def webserver(home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a Dagster UI on the instance in ``home``; nothing is left of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (home / "webserver.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)),
                *("-m", "trace_clustering_dagster"),
            ],
            cwd=home,
            env={
                **environment,
                "DAGSTER_HOME": str(home),
                "PYTHONPATH": str(REPOSITORY),
                "TRACE_CLUSTERING_AUTOMATION": "off",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/server_info", timeout=5).close()
            return True
        assert process.poll() is None, (home / "webserver.log").read_text()[-2000:]
        return False

    try:
        until(answers)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def shown(browser: webdriver.Chrome, *texts: str) -> bool:
    """Whether all the texts stand on the page, which may be drawn just now."""
    with contextlib.suppress(WebDriverException):
        body = browser.find_element(By.TAG_NAME, "body").text
        return all(text in body for text in texts)
    return False


def open_page(browser: webdriver.Chrome, path: Path, *, theme: str = "light") -> None:
    """Open a file in the theme that the system is to have."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    requests(browser)
    complaints(browser)
    browser.get(path.as_uri())


def requests(browser: webdriver.Chrome) -> list[str]:
    """What the page asked for since it was opened."""
    messages = [json.loads(message)["message"] for message in _log(browser, "performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What is in the console since the page was opened."""
    return _log(browser, "browser")


def _log(browser: Any, kind: str) -> list[str]:
    """The messages since the last look."""
    return [entry["message"] for entry in browser.get_log(kind)]
