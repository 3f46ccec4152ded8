"""Makes the screenshots the README shows, from a server that runs: `make run`, then `python bench/screenshots.py`.

Only public pages are taken, so no account is needed. Wants playwright (requirements-dev.txt) and a Chromium.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
WIDTH, HEIGHT = 1280, 1000
# file name → address, and what must be drawn before the picture is taken
PAGES = {"study": ("/studies/arxiv-2605-13981/", "#chart-frontier .scatterlayer .points path")}


def main() -> None:
    """One PNG for each page, in light colours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running server")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    options = parser.parse_args()
    if not options.chromium:
        parser.error("no Chromium found; install Debian's chromium, or name one with --chromium")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--headless=new", "--no-sandbox", "--disable-gpu"]
        )
        for name, (address, drawn) in PAGES.items():
            print(take(browser, f"{options.url}{address}", drawn, FOLDER / f"{name}.png"))
        browser.close()


def take(browser: Browser, url: str, drawn: str, target: Path) -> str:
    """Take one page once what it draws is there; the path and size of the picture."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
    page.goto(url)
    page.wait_for_selector(drawn)
    page.screenshot(path=target)
    page.close()
    return f"{target.relative_to(FOLDER.parent.parent)}  {target.stat().st_size / 1000:.0f} kB"


if __name__ == "__main__":
    main()
