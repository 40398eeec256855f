"""HTML built from tags, so that every text is escaped by construction; and thumbnails."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

from PIL import Image, ImageOps

from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.rgb import to_rgb
from mobilemod.results.style import STYLE


class Html(str):
    """Markup that is already escaped. Only `tag` and `join` make it."""

    __slots__ = ()


def escape(value: object) -> Html:
    """`value` as text, safe in content and in quoted attributes; `Html` stays as it is."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(*children: object) -> Html:
    """`children` one after the other, each escaped unless it is `Html`; None is left out."""
    return Html("".join(escape(c) for c in children if c is not None))


SHADE = 0.35  # text on it stays legible, light and dark
_VOID = {"img", "meta", "br"}


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. `class_` stands for class, other underscores for hyphens, None: no attribute."""
    rendered = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{rendered}>")
    return Html(f"<{name}{rendered}>{join(*children)}</{name}>")


def document(title: str, style: str, *parts: Html | None, pictures: bool = False) -> str:
    """A whole page, one file that needs nothing else: no script, no font, nothing fetched.

    style: beside `STYLE`. pictures: it holds some, as data.
    """
    images = "img-src data:; " if pictures else ""
    policy = f"default-src 'none'; {images}style-src 'unsafe-inline'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", title),
        tag("style", Html(STYLE + style)),
    )
    body = tag("body", tag("main", *parts))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def breakable(name: str) -> Html:
    """A name that breaks after its dots and underscores, and is copied without the breaks."""
    return Html(escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def named(prediction: dict) -> Html:
    """A prediction's name with the dot of its role's colour."""
    return join(tag("span", class_=f"dot {prediction['role']}"), prediction["name"])


def table(
    head: list[object], rows: list[list[object]], class_: str = "", words: str = "table"
) -> Html:
    """A table that scrolls sideways on its own, its first column staying where it is.

    A cell may be a ready td or th. words: what it is of, for those who don't see it.
    """

    def cell(value: object, i: int) -> Html:
        if isinstance(value, Html) and value.startswith(("<td", "<th")):
            return value
        return tag("th", value, scope="row") if i == 0 else tag("td", value)

    # A heading stands where what is below it does.
    texts = {i for row in rows for i, v in enumerate(row) if str(v).startswith('<td class="text"')}
    heads = (
        tag("th", h, scope="col", class_="text" if i in texts else None) if h else tag("td")
        for i, h in enumerate(head)
    )
    header = tag("tr", *heads)
    body = [tag("tr", *(cell(v, i) for i, v in enumerate(row))) for row in rows]
    inner = tag("table", tag("thead", header), tag("tbody", *body), class_=class_ or None)
    # Focusable, so that a keyboard can scroll it too.
    return tag("div", inner, class_="scroll", tabindex="0", role="group", aria_label=words)


def shaded(
    text: object, colour: str, strength: float, note: object = None, title: str | None = None
) -> Html:
    """A cell on a ground of `colour` ("", "bad" or "good"), the stronger the nearer to 1.

    note: below its text.
    """
    shade = SHADE * min(1.0, max(0.0, strength))
    name = f"--heat-{colour}" if colour else "--heat"
    style = f"background: rgba(var({name}), {shade:.2f})" if shade >= 0.005 else None
    small = None if note is None else tag("small", note)
    return tag("td", text, small, style=style, title=title)


def thumbnail(path: Path, size: int = 160, seen: Preprocess | None = None) -> str | None:
    """A data URI of `path`'s centre, `size` pixels square, as JPEG; None where it can't be read.

    seen: of what a network sees of it, in the proportions of its input.
    """
    try:
        if seen is None:
            small = read_image(path, lambda image: _fitted(image, size), loaded=False)
        else:
            small = Image.fromarray(read_image(path, seen.smaller(size).pixels))
    except DamagedImage:
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _fitted(image: Image.Image, size: int) -> Image.Image:
    image.draft("RGB", (2 * size, 2 * size))  # decodes a large JPEG at a fraction of it
    return ImageOps.fit(to_rgb(image), (size, size), Image.Resampling.LANCZOS)
