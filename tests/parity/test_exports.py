"""Every byte of the exported files is the recorded one."""

from __future__ import annotations

import json

import pytest

from tests.exports import CASES, RECORDED, digests, export_command

# On another kind of processor a sum may round otherwise, so that CI leaves them out.
pytestmark = [pytest.mark.slow, pytest.mark.long]
RECORDS = json.loads(RECORDED.read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_files_are_the_recorded_ones(export, tmp_path, case):
    export(tmp_path / "bundle", *export_command(case, tmp_path)[1:-2])
    assert digests(tmp_path / "bundle") == RECORDS[case.name]
