"""Adds up the JUnit files of ctest and pytest: `count.py FILE...` prints "passed failed skipped" and names each failure."""

import sys
import xml.etree.ElementTree as tree


def outcomes(path):
    """Yields (name, outcome) of each test case in one file."""
    for case in tree.parse(path).getroot().iter("testcase"):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or case.get("status") == "fail":
            yield name, "failed"
        elif "skipped" in kinds or case.get("status") in ("disabled", "notrun"):
            yield name, "skipped"
        else:
            yield name, "passed"


def main():
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sys.argv[1:]:
        for name, outcome in outcomes(path):
            totals[outcome] += 1
            if outcome == "failed":
                print(f"failed: {name}", file=sys.stderr)
    print(totals["passed"], totals["failed"], totals["skipped"])


if __name__ == "__main__":
    main()
