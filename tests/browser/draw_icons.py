"""Draws the app's icons as PNG from the drawing of the bell: ``python -m tests.browser.draw_icons``."""

import base64
import tempfile
from pathlib import Path

import tocsin_hub
from tests.integration.browser import chromium

FOLDER = Path(tocsin_hub.__file__).parent / "static" / "icons"
_BELL = (
    '<path d="M16 5v2M7.5 22.5h17M9.5 22.5c.8-2 1.3-4.4 1.3-8.1C10.8 10 12.8 7 16 7s5.2 3 5.2 7.4'
    'c0 3.7.5 6.1 1.3 8.1M13.8 26.2h4.4" fill="none" stroke="#fff" stroke-width="{width}" '
    'stroke-linecap="round" stroke-linejoin="round"/>'
)
_ROUND = '<rect width="32" height="32" rx="8" fill="#0b5a6e"/>'
_FULL = '<rect width="32" height="32" fill="#0b5a6e"/>'
_SMALLER = '<g transform="translate(4.8 4.8) scale(.7)">{bell}</g>'
"""A phone may cut a maskable icon down to a circle of 80 %."""
ICONS = {
    "any-192": (192, _ROUND + _BELL.format(width=2.2)),
    "any-512": (512, _ROUND + _BELL.format(width=2.2)),
    "maskable-512": (512, _FULL + _SMALLER.format(bell=_BELL.format(width=2.4))),
    "badge-96": (96, _BELL.format(width=2.8)),
}


def main() -> None:
    """Write every icon into the folder of the hub's static files."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as driver:
        clear = {"color": {"r": 0, "g": 0, "b": 0, "a": 0}}
        driver.execute_cdp_cmd("Emulation.setDefaultBackgroundColorOverride", clear)
        for name, (size, drawing) in ICONS.items():
            svg = (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="{size}">{drawing}</svg>'
            )
            page = f"<body style='margin:0;line-height:0'>{svg}"
            driver.get("data:text/html;base64," + base64.b64encode(page.encode()).decode())
            clip = {"x": 0, "y": 0, "width": size, "height": size, "scale": 1}
            shot = driver.execute_cdp_cmd(
                "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True, "format": "png"}
            )
            (FOLDER / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
