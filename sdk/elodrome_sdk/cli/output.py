"""Tables and cards for people; every text from the install is printed as it is, never as markup."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elodrome_sdk.cli.command import Cli
    from elodrome_sdk.client import Json

Item = dict[str, Any]

STATE_STYLES = {
    "RUNNING": "cyan",
    "ACTIVE": "cyan",
    "PENDING": "dim",
    "COMPLETED": "green",
    "ENDED": "green",
    "PASSED": "green",
    "CERTIFIED": "green",
    "REFUTED": "red",
    "stable": "green",
    "FAILED": "red",
    "BUILD_FAILED": "red",
    "VOID": "yellow",
    "CORRUPT": "red",
    "ABANDONED": "yellow",
    "PAUSED": "yellow",
    "INTERRUPTED": "yellow",
}


def show_list(cli: Cli, page: Item, columns: Mapping[str, str]) -> None:
    """Print one page of a list; `columns` maps a title to the dotted path of its value."""
    if cli.as_json:
        cli.print_json(page)
        return
    show_table(cli, page["items"], columns)
    if page.get("next_page_token"):
        shown, total = len(page["items"]), page.get("total", 0)
        cli.err.print(f"{shown} of {total}; the next page: --page {page['next_page_token']}")


def show_table(cli: Cli, items: Sequence[Item], columns: Mapping[str, str]) -> None:
    """Print items as rows."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in columns:
        table.add_column(title, no_wrap=title == "id", overflow="fold")
    for item in items:
        table.add_row(*(cell(value_at(item, path)) for path in columns.values()))
    cli.out.print(table)


def show_item(cli: Cli, item: Item, fields: Mapping[str, str]) -> None:
    """Print one thing; `fields` as in `show_list`. Empty fields are left out."""
    if cli.as_json:
        cli.print_json(item)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for title, path in fields.items():
        value = value_at(item, path)
        if value not in (None, "", [], {}):
            table.add_row(title, cell(value))
    cli.out.print(table)


def value_at(item: Item, path: str) -> Json:
    """Return the value at a dotted path, or None."""
    value: Json = item
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def cell(value: Json) -> Text:
    """Write a value for people."""
    if isinstance(value, str):
        return Text(ago(value) or value, style=STATE_STYLES.get(value, ""))
    if isinstance(value, float):
        return Text(number(value))
    if isinstance(value, dict):
        return Text(", ".join(f"{name} {cell(one)}" for name, one in sorted(value.items())))
    if isinstance(value, list):
        return Text(", ".join(str(cell(one)) for one in value))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text("" if value is None else str(value))


def number(value: float) -> str:
    """Write a number with as many digits as tell something."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"  # noqa: PLR2004


def duration(seconds: float | None) -> str:
    """Write a time span, such as 1 h 05 min; empty when unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def ago(text: str) -> str:
    """Write a time of the API as "5 min 03 s ago"; empty when the text is not a time."""
    if not (text.endswith("Z") and text[:4].isdigit() and "T" in text):
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return f"{duration(max(0.0, (datetime.now(UTC) - moment).total_seconds()))} ago"
