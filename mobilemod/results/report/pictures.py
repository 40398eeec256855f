"""The pictures of a validation's page, kept beside it so that it can be made again."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import write_json
from mobilemod.results.markup import thumbnail
from mobilemod.sealed import read_sealed, sealed
from mobilemod.tasks.task import Thumb

SCHEMA = "mobilemod/pictures/1"
PICTURES_FILE = "pictures.json"
_URI = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+")


@dataclass
class Pictures:
    """Thumbnails of the images that a page asks for, made once each.

    paths: of a record's images, in its order. seen: what the network sees of them, where that is to
    be shown. made: by index, None for an image that can't be read.
    """

    paths: list[Path]
    seen: Preprocess | None = None
    made: dict[int, str | None] = field(default_factory=dict)

    def __call__(self, index: int) -> str | None:
        """The data URI of an image."""
        if index not in self.made:
            self.made[index] = thumbnail(self.paths[index], seen=self.seen)
        return self.made[index]

    def write(self, folder: Path) -> None:
        """Keep what was made in `folder`."""
        made = {str(index): uri for index, uri in sorted(self.made.items()) if uri is not None}
        write_json(folder / PICTURES_FILE, sealed({"schema": SCHEMA, "pictures": made}))


def read_pictures(folder: Path) -> Thumb:
    """The pictures that `write` kept in a folder; none where it has none, or a damaged file."""
    path = folder / PICTURES_FILE
    if not path.is_file():
        return lambda index: None
    try:
        kept = read_sealed(path, "pictures are left out; validate again").get("pictures")
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        kept = None
    found = kept if isinstance(kept, dict) else {}
    good = {k: v for k, v in found.items() if isinstance(v, str) and _URI.fullmatch(v)}
    return lambda index: good.get(str(index))
