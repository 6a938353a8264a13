"""Chromium without a window for tests: Debian's, as it is installed here; nothing is downloaded."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120
"""Seconds until something must have appeared on a page: the machine may be busy."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
DROP = """
const [place, files] = arguments, transfer = new DataTransfer();
for (const [name, content] of files)
  transfer.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name));
const target = document.querySelector(place);
for (const kind of ["dragenter", "dragover", "drop"])
  target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


class Browser:
    """One window, with the few things that tests do in it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        self.driver.get(address)

    def one(self, selector: str) -> Any:
        """The first element, once it is there and visible."""
        from selenium.webdriver.common.by import By

        def visible(driver: Any) -> Any:
            return next((one for one in driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()), None)

        return self.until(lambda: visible(self.driver), selector)

    def click(self, selector: str) -> None:
        """Click the first element as soon as that is possible: a page may still be laid out."""
        from selenium.common.exceptions import WebDriverException

        def clicked() -> bool:
            try:
                self.one(selector).click()
            except WebDriverException:
                return False
            return True

        self.until(clicked, f"a click on {selector}")

    def all(self, selector: str) -> list[Any]:
        """The elements that are there now and visible."""
        from selenium.webdriver.common.by import By

        return [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """What `condition` gives as soon as that is true."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.driver, PATIENCE, 0.05, [StaleElementReferenceException])
        return waiting.until(lambda driver: condition(), what)

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def drop(self, place: str, *files: Path) -> None:
        """Drop files on an element, as a person drags them from a folder."""
        contents = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
        self.script(DROP, place, contents)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        """The id of the element that has the focus, else its tag."""
        return str(self.script("return document.activeElement.id || document.activeElement.tagName"))

    @contextmanager
    def looking(self, width: int, height: int, dark: bool = False) -> Iterator[None]:
        """A screen of this size, dark where asked for."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def picture(self) -> bytes:
        """What is on the screen, as PNG."""
        return bytes(self.driver.get_screenshot_as_png())

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def requested(self) -> list[str]:
        """The addresses that the browser asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the page's policy forbade, since the last call."""
        refused = "Failed to load resource"  # an answer of status 400, which the page shows
        entries = self.driver.get_log("browser")
        return [one["message"] for one in entries if one["level"] == "SEVERE" and refused not in one["message"]]


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium through Selenium; skips by name where one of them is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (matnet[browser])")
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which(DRIVER)
    if found is None or driver is None:
        pytest.skip("Chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = found
    for flag in FLAGS:
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which root cannot have
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()
