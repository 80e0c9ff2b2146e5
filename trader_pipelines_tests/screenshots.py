"""The README's pictures, taken of the running UI over what `trader demo` left."""

import sys
from pathlib import Path

from trader_pipelines.platform import Platform
from trader_pipelines_tests.browser import chromium, page, web_ui

OUT = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    home = Platform().settings.home.resolve()
    if not (home / "dagster").is_dir():
        sys.exit(f"there is no demo in {home}: run `make demo` first")
    executable = chromium()
    if executable is None:
        sys.exit("no Chromium here: install the package chromium")
    OUT.mkdir(exist_ok=True)
    with web_ui(home, {"TRADER_HOME": str(home)}) as address, page(executable) as tab:
        tab.set_viewport_size({"width": 2300, "height": 700})
        tab.goto(
            f"{address}/assets/synthetic/signals?view=lineage&lineageScope=upstream&lineageDepth=9"
        )
        tab.get_by_text("hot_ticks").first.wait_for(timeout=60_000)
        tab.wait_for_timeout(3_000)
        tab.screenshot(path=str(OUT / "graph.png"))
        tab.set_viewport_size({"width": 1500, "height": 900})
        for asset, picture in (
            ("signals", "probabilities"),
            ("bars", "price and volume"),
            ("candidate_model", "calibration"),
        ):
            tab.goto(f"{address}/assets/synthetic/{asset}?view=events")
            tab.get_by_text(picture, exact=True).first.wait_for(timeout=60_000)
            tab.wait_for_timeout(1_000)
            if asset == "signals":
                tab.screenshot(path=str(OUT / f"{asset}.png"))
            tab.get_by_text("[Show Markdown]").last.click()
            tab.locator("img[alt=picture]").wait_for(timeout=30_000)
            tab.wait_for_timeout(500)
            tab.screenshot(path=str(OUT / f"{asset}_picture.png"))
    print("\n".join(sorted(path.name for path in OUT.glob("*.png"))))


if __name__ == "__main__":
    main()
