#!/usr/bin/env python3
"""Reads each page with Grafana's Foundation SDK and writes it again: roundtrip.py FILE... A key that is lost was not understood, so
it is misspelt or misplaced. Needs the PyPI package grafana-foundation-sdk (tests/requirements.txt). Exit 1: findings, one a line."""
import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# Keys that Grafana reads and this SDK has no field for: the data source's own part of an annotation, and what a data link opens with.
UNKNOWN_TO_THE_SDK = {"useValueForTime"}


def lost(before, after, path=""):
    """Paths of `before` that `after` has not, or has otherwise. What the SDK adds is its defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in UNKNOWN_TO_THE_SDK:
                continue
            if key not in after:
                # The SDK leaves out what is null or empty.
                if value not in (None, {}, []):
                    yield f"{path}.{key}"
            else:
                yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{path}[{index}]")
    elif before != after:
        yield f"{path}: {json.dumps(before)} became {json.dumps(after)}"


def main(files):
    register_default_plugins()
    findings = []
    for file in map(pathlib.Path, files):
        before = json.loads(file.read_text(encoding="utf-8"))
        after = json.loads(JSONEncoder().encode(Dashboard.from_json(before)))
        findings += [f"{file.name}{path}" for path in lost(before, after)]
    if findings:
        print("\n".join(findings))
    return 1 if findings or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
