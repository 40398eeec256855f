"""The confusion matrix on a validation's page; of many classes the most frequent confusions."""

from __future__ import annotations

from mobilemod.results.markup import Html, shaded, table, tag
from mobilemod.results.parts import section

MAX_CLASSES = 20  # of a matrix
MAX_PAIRS = 20  # listed of more classes
TITLE = "Which classes are taken for which"


def confusion(record: dict) -> Html | None:
    """Nothing where the record doesn't tell, or nothing is confused."""
    models, pairs = record["predictions"], record.get("confusion")
    shown = [i for role in ("int8", "reference") for i, p in enumerate(models) if p["role"] == role]
    if not pairs or not shown:
        return None
    if len(record["per_class"]) > MAX_CLASSES:
        return _listed(record, shown)
    # Models that confuse the same share a matrix.
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in shown:
        groups.setdefault(tuple(pair["images"][i] for pair in pairs), []).append(i)
    found = []
    for of in groups.values():
        names = ", ".join(models[i]["name"] for i in of)
        matrix = _matrix(record, of[0], names)
        opened = "open" if not found else None
        found.append(tag("details", tag("summary", names), matrix, open=opened))
    note = (
        "Images by their class (rows) and the class answered (columns, numbered as the rows); "
        "other: classes of which no image was measured."
    )
    return section(TITLE, note, *found)


def _matrix(record: dict, model: int, names: str) -> Html:
    classes = record["per_class"]
    column = {row["class"]: n for n, row in enumerate(classes)}
    counts = [[0] * (len(classes) + 1) for _ in classes]
    for n, row in enumerate(classes):
        counts[n][n] = round(row["images"] * row["top1_percent"][model] / 100)
    for pair in record["confusion"]:
        at = column.get(pair["answer"], len(classes))
        counts[column[pair["target"]]][at] += pair["images"][model]
    heads = [*(row["label"] for row in classes), "other"]
    rows: list[list[object]] = []
    for n, (row, found) in enumerate(zip(classes, counts, strict=True)):
        cells = [
            _cell(count, row["images"], at == n, f"{row['label']}, answered {heads[at]}")
            for at, count in enumerate(found)
        ]
        rows.append([f"{n + 1} {row['label']}", *cells])
    numbers = [*range(1, len(classes) + 1), "other"]
    return table(["class", *numbers], rows, "matrix", f"confusion of {names}")


def _cell(count: int, images: int, right: bool, words: str) -> Html:
    if not count:
        return tag("td", "·", class_="self")
    strength, title = 0.2 + 0.8 * count / images, f"{words}: {count} of {images}"
    return shaded(f"{count:,}", "good" if right else "bad", strength, title=title)


def _listed(record: dict, shown: list[int]) -> Html | None:
    labels, models = record["data"]["labels"], record["predictions"]
    pairs = [p for p in record["confusion"] if any(p["images"][i] for i in shown)]
    rows: list[list[object]] = [
        [
            labels[p["target"]],
            tag("td", labels[p["answer"]] if p["answer"] >= 0 else "not finite", class_="text"),
            *(p["images"][i] for i in shown),
        ]
        for p in pairs[:MAX_PAIRS]
    ]
    head = ["class", "answered", *(models[i]["name"] for i in shown)]
    note = f"The most frequent confusions of {len(record['per_class']):,} classes, in images."
    return section(TITLE, note, table(head, rows, "wide", "confusions"))
