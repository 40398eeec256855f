"""docs/schemas holds what is read and written as JSON Schema, for other programs.

`python -m tests.unit.test_published_schemas` writes the files again.
"""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from mobilemod.harness.run.job_schema import JobSchema
from mobilemod.manifest_schema import Manifest
from mobilemod.results.device.spec import DeviceRecord
from mobilemod.results.spec import ValidationRecord
from tests.commands import ROOT

FOLDER = ROOT / "docs" / "schemas"
SCHEMAS: dict[str, type[BaseModel]] = {
    "manifest": Manifest,
    "validation": ValidationRecord,
    "job": JobSchema,
    "harness-record": DeviceRecord,
}


def text(model: type[BaseModel]) -> str:
    """The JSON Schema (draft 2020-12) of a model."""
    return json.dumps(model.model_json_schema(), indent=1) + "\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_that_of_the_code(name):
    assert (FOLDER / f"{name}.json").read_text("utf-8") == text(SCHEMAS[name])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, model in SCHEMAS.items():
        (FOLDER / f"{name}.json").write_text(text(model), "utf-8")
