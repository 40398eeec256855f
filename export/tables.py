"""The parameter tables of a bundle, a file for each mobile form; reading them needs no torch."""

from __future__ import annotations

from mobilemod.errors import UserError
from mobilemod.manifest import Bundle
from mobilemod.targets import TARGETS
from quantization.params import ParameterTable


def load_table(bundle: Bundle, form: str) -> ParameterTable:
    """A bundle's parameter table of a form; `UserError` where it has none or a damaged one."""
    path = bundle.file(table_file(form))
    try:
        return ParameterTable.load(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); export again") from None


def table_file(form: str) -> str:
    """Where the table of a form lies in a bundle."""
    return f"parameters-{form}.json"


def table_forms(bundle: Bundle) -> list[str]:
    """The forms that a bundle has a table of, in the order of the targets."""
    forms = dict.fromkeys(t.form for t in TARGETS.values())
    return [form for form in forms if table_file(form) in bundle.hashes]


def load_tables(bundle: Bundle) -> list[ParameterTable]:
    """All tables that a bundle has."""
    return [load_table(bundle, form) for form in table_forms(bundle)]
