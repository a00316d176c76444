"""The first screen of a page as a picture, for the README.

    python tests/bench/screenshot.py reports/example.html reports/example.png

It needs Chromium. 1,400 x 1,000 pixels in the light scheme, some 100 KB, 128 colours.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import CHROMIUM, look


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--dark", action="store_true")
    said = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("there is no Chromium here")
    seen = look(said.page, width=said.width, height=said.height, dark=said.dark, picture=said.picture)
    if seen.drawn is None:
        sys.exit(f"{said.page} was not drawn in time")
    picture = Image.open(io.BytesIO(said.picture.read_bytes())).crop((0, 0, said.width, said.height))
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(said.picture, optimize=True)
    print(f"{said.picture}: {said.picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
