"""The page of `matnet demo` and that of `matnet show --html` in a real browser: Chromium without a window."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from matnet.demo.limits import DemoLimits
from matnet.display.page import network_page
from matnet.display.table import network_table
from matnet.show import main as show
from matnet.zoo import random_network
from tests.browser import Browser, browser
from tests.demo_page import Served, served

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
DIGITS = ROOT / "models" / "digits-lenet"
SEVEN = DIGITS / "test" / "7" / "0007.png"
MAT = DIGITS / "digits-lenet.mat"
PAIR = (DIGITS / "deploy.prototxt", DIGITS / "digits-lenet.caffemodel")
PHONE = (390, 844)
OWN = ("data:", "blob:", "file:", "about:", "chrome:")


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(window: Browser) -> Iterator[Served]:
    with served(limits=DemoLimits(network=2_000_000)) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(window: Browser, page: Served) -> Iterator[None]:
    """Every address that the browser asks for is the page's own, and no script fails."""
    window.requested(), window.complaints()
    yield
    asked = window.requested()
    assert asked
    assert [address for address in asked if not address.startswith((page.address, *OWN))] == []
    assert window.complaints() == []


def opened(window: Browser, page: Served, *files: Path) -> None:
    """The page with the network in these files."""
    window.open(page.address)
    window.one("body[data-ready]")
    if files:
        window.drop("#drop-network", *files)
        window.until(lambda: window.one("#network-title").text == "digits-lenet", "the network's name")


def answered(window: Browser, image: Path = SEVEN) -> None:
    """The page's answer to an image that is dropped."""
    window.drop("#drop-image", image)
    window.one("#results article .bar")


def keep(update: bool, name: str, window: Browser) -> None:
    """A picture for the documents: written with --update-screenshots, else one of this size must be there."""
    shown = window.picture()
    if update:
        Image.open(io.BytesIO(shown)).convert("RGB").quantize(128).save(IMAGES / name, optimize=True)
    with Image.open(IMAGES / name) as kept, Image.open(io.BytesIO(shown)) as now:
        assert kept.size == now.size


# -- networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [(MAT,), PAIR], ids=["mat", "pair"])
def test_a_dropped_network_is_shown(window: Browser, page: Served, files: tuple[Path, ...]) -> None:
    opened(window, page, *files)
    summary = window.one("#summary").text
    assert files[0].name in summary and "inputs" in summary
    window.one("#tab-layers").click()
    assert "conv2" in window.one("#layers").text
    window.one("#layer-search").send_keys("pool")
    window.until(lambda: len(window.all("#layers tbody tr")) == 2, "the two layers of pooling")
    window.one("#tab-filters").click()
    assert window.until(lambda: window.one("#panel-filters img").get_property("naturalWidth"), "a picture") > 100
    window.one("#tab-doctor").click()
    assert files[0].name in window.one("#findings").text


def test_files_are_chosen_with_the_button_too(window: Browser, page: Served) -> None:
    opened(window, page)
    window.one("#network-files").send_keys("\n".join(map(str, PAIR)))
    window.until(lambda: window.one("#network-title").text == "digits-lenet", "the network's name")
    window.one("#image-files").send_keys(str(SEVEN))
    assert window.one("#results .bar span").text == "7"


def test_a_known_model_is_chosen_by_name(window: Browser, page: Served) -> None:
    opened(window, page)
    window.one("#known option[value=digits-lenet]").click()
    window.until(lambda: window.one("#network-title").text == "digits-lenet", "the network's name")


def test_the_drawing_answers_to_a_click(window: Browser, page: Served) -> None:
    opened(window, page, MAT)
    window.one("#tab-drawing").click()
    window.driver.switch_to.frame(window.one("#panel-drawing iframe"))
    try:
        window.click('.layer[data-name="conv2"]')
        panel = window.one("#panel").text
        assert "conv2" in panel and "3 x 3 x 16 x 32" in panel
    finally:
        window.driver.switch_to.default_content()


def test_a_broken_file_gives_its_sentence(window: Browser, page: Served, tmp_path: Path) -> None:
    opened(window, page, MAT)
    broken = tmp_path / "<b>cut.mat"
    broken.write_bytes(MAT.read_bytes()[:9000])
    window.drop("#drop-network", broken)
    said = window.one("#network-error").text
    assert "cut.mat" in said and "byte" in said and str(tmp_path) not in said
    assert window.one("#broken-findings li").text
    assert window.one("#network-title").text == "digits-lenet"  # what was shown before stays


def test_a_file_that_is_too_large_is_refused_by_the_page(window: Browser, page: Served, tmp_path: Path) -> None:
    opened(window, page)
    large = tmp_path / "large.mat"
    large.write_bytes(bytes(2_100_000))
    window.drop("#drop-network", large)
    assert "large.mat" in window.one("#network-error").text and "2 MB" in window.one("#network-error").text


def test_a_conversion_is_downloaded(window: Browser, page: Served, tmp_path: Path) -> None:
    folder = {"behavior": "allow", "downloadPath": str(tmp_path)}
    window.driver.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    opened(window, page, MAT)
    window.one("#tab-download").click()
    window.one("[data-kind=onnx]").click()
    window.until(lambda: (tmp_path / "digits-lenet.onnx").is_file(), "the downloaded file")


# -- images -----------------------------------------------------------------------------------------


def test_a_dropped_image_gets_bars_and_pictures(window: Browser, page: Served) -> None:
    opened(window, page, MAT)
    answered(window)
    rows = [bar.text.split() for bar in window.all("#results .bar")]
    assert len(rows) == 5 and rows[0][0] == "7" and float(rows[0][1]) > 0.9
    for part in ("prepared", "maps"):
        window.one(f"#results .{part} summary").click()
        shown = window.one(f"#results .{part} .picture img")
        assert window.until(lambda shown=shown: shown.get_property("naturalWidth"), "a picture") > 200
    before = window.one("#results .maps img").get_attribute("src")
    window.one("#results .maps option[value=ip1]").click()
    window.until(lambda: window.one("#results .maps img").get_attribute("src") != before, "another layer")


def test_a_file_that_is_no_image_gives_its_sentence(window: Browser, page: Served, tmp_path: Path) -> None:
    opened(window, page, MAT)
    (tmp_path / "text.png").write_text("no image")
    window.drop("#drop-image", tmp_path / "text.png")
    window.until(lambda: "text.png" in window.one("#image-error").text, "a sentence")
    assert not window.all("#results article")


def test_the_camera_gives_an_image(window: Browser, page: Served) -> None:
    opened(window, page, MAT)
    window.one("#camera").click()
    window.until(lambda: window.one("#video").get_property("videoWidth"), "a picture of the camera")
    window.one("#shoot").click()
    assert window.one("#results h3").text == "camera.png"
    assert len(window.all("#results .bar")) == 5
    window.one("#camera-end").click()
    assert not window.all("#video")


# -- people -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_phone(window: Browser, page: Served, dark: bool, tmp_path: Path) -> None:
    with window.looking(*PHONE, dark=dark):
        opened(window, page, MAT)
        answered(window)
        for tab in ("summary", "drawing", "layers", "filters", "doctor", "download"):
            window.one(f"#tab-{tab}").click()
            window.one(f"#panel-{tab}")
            assert window.overflow() == 0, tab
        colour = window.script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, colour.strip("rgb()").split(","))) < 200) is dark


def test_the_keyboard_alone_reaches_everything(window: Browser, page: Served) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(window, page)
    window.press(Keys.TAB)
    assert window.focused() == "known"
    window.press("digits")
    window.until(lambda: window.one("#network-title").text == "digits-lenet", "the network's name")
    window.script("document.getElementById('known').focus()")
    window.press(Keys.TAB)
    assert window.focused() == "network-files"
    window.press(Keys.TAB)
    assert window.focused() == "tab-summary"
    window.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert window.focused() == "tab-layers"
    window.press(Keys.TAB, "relu3")
    window.until(lambda: len(window.all("#layers tbody tr")) == 1, "one layer")
    seen = set()
    for _ in range(12):
        window.press(Keys.TAB)
        seen.add(window.focused())
    assert {"image-files", "camera"} <= seen
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert window.script(outline) != "none"


# -- matnet show --html -------------------------------------------------------------------------------


def test_the_page_of_show_zooms_searches_and_shows_layers(window: Browser, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    assert show(["digits-lenet", "--html", str(tmp_path / "net.html")]) == 0
    window.open((tmp_path / "net.html").as_uri())
    before = window.one("#sheet").get_attribute("style")
    window.one("#larger").click()
    assert window.one("#sheet").get_attribute("style") != before
    window.one("#fit").click()
    assert window.one("#sheet").get_attribute("style") == before
    window.one("#search").send_keys("pool")
    assert window.one("#hits").text.startswith("2 ") and len(window.all(".layer.found")) == 2
    window.press(Keys.ENTER)
    assert window.one("#panel h2").text == "pool1"
    window.one("#fit").click()
    window.click('.layer[data-name="conv2"]')
    panel = window.one("#panel")
    assert panel.text.startswith("conv2") and "3 x 3 x 16 x 32" in panel.text and "pad" in panel.text
    assert len(panel.find_elements("css selector", "svg rect")) > 10  # the histogram of the weights
    with window.looking(*PHONE):
        assert window.overflow() == 0


# -- pictures for the documents ---------------------------------------------------------------------


def test_the_picture_of_the_demo(window: Browser, page: Served, request: pytest.FixtureRequest) -> None:
    with window.looking(1000, 1210):
        opened(window, page, MAT)
        window.one("#tab-filters").click()
        window.one("#panel-filters img")
        answered(window)
        window.script("window.scrollTo(0, 0)")
        keep(request.config.getoption("--update-screenshots"), "demo.png", window)


def test_the_picture_of_the_page_of_show(window: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    net = random_network("imagenet-resnet-50-dag")
    file = tmp_path / "net.html"
    file.write_text(network_page(net, network_table(net)), encoding="utf-8")
    with window.looking(1200, 760):
        window.open(file.as_uri())
        window.one("#search").send_keys("res3a_branch1", Keys.ENTER)
        assert window.one("#panel h2").text == "res3a_branch1"
        window.one("#fit").click()
        keep(request.config.getoption("--update-screenshots"), "page.png", window)
