#!/usr/bin/env python3
"""Writes dashboards/*.json from pages/*.py: python3 build.py [--check]. --check writes nothing, and fails when a file differs."""
import importlib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True


def pages():
    for file in sorted((HERE / "pages").glob("*.py")):
        yield HERE / f"{file.stem.replace('_', '-')}.json", importlib.import_module(f"pages.{file.stem}").PAGE.text()


def main(arguments):
    from builder.query import NoSuchMetric

    try:
        made = dict(pages())
    except NoSuchMetric as error:
        print(error)
        return 1
    stale = [path for path in HERE.glob("*.json") if path not in made]
    differing = [path for path, text in made.items() if not path.is_file() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale + differing:
            print(f"{path.name} is not what dashboards/pages says: run python3 dashboards/build.py and look at the difference")
        return 1 if stale + differing else 0
    for path in stale:
        path.unlink()
    for path in differing:
        path.write_text(made[path])
        print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
