"""What a report of many evaluations takes: results/report_speed.json."""

from __future__ import annotations

from typing import Any

from tables.common import read_json


def _measured() -> Any:
    return read_json("report_speed.json")


VALUES = {
    "report-evaluations": lambda: f"{_measured()['evaluations']:,}",
    "report-write": lambda: f"{_measured()['processor_seconds_to_write']:.0f}",
    "report-size": lambda: f"{_measured()['page_kib']} KiB",
    "report-open": lambda: f"{_measured()['seconds_to_open']:.1f}",
}
