"""What the page shows is what the API tells, also when there is much of it, or nothing."""

import datetime
import json
import re
import time

from steps import data_planes, opened
from support.load import Load
from support.programs import ADMIN_TOKEN
from support.waiting import wait_until

PLOTTED = {
    "Requests per second": ["reads_origin", "reads_target", "writes", "shadow"],
    "Latency": ["p50_origin_ms", "p50_target_ms", "p50_shadow_ms", "p99_origin_ms", "p99_target_ms", "p99_shadow_ms"],
    "Errors per second": ["failed_reads", "failed_writes", "errors_origin", "errors_target", "errors_shadow"],
}


def history(control):
    """{time as the page writes it: {series: value}}, oldest first, from the first figure on; the names of series that have figures."""
    status, _, body = control.call("GET", "/api/v1/history?step=5")
    assert status == 200, body
    told = json.loads(body)
    names = [name for name, values in told["series"].items() if any(value is not None for value in values)]
    length = max(len(values) for values in told["series"].values())
    begin = min(at for at in range(length) if any(told["series"][name][at] is not None for name in names))
    points = {}
    for at in range(begin, length):
        moment = datetime.datetime.fromtimestamp(told["from"] / 1000 + at * told["step_s"])
        points[moment.strftime("%-I:%M:%S %p")] = {name: told["series"][name][at] for name in names}
    return points, names


def figure(text):
    return None if text == "–" else float(text.replace(",", ""))


def check_tables(page, control):
    """Each figure of each table against the API; how many there were."""
    points, told = history(control)
    count = 0
    for number, (title, names) in enumerate(PLOTTED.items(), 1):
        place = f"#plots article:nth-child({number})"
        page.wait(f"{place} h3", title)
        page.tell("click", selector=f"{place} summary")
        page.wait(f"{place} table")
        heads, *rows = page.tell("table", selector=f"{place} table")
        shown = [name for name in names if name in told]
        assert len(heads) == 1 + len(shown), (heads, shown)
        for label, *cells in rows:
            point = points.get(re.sub(r"\s", " ", label))
            if point is None:
                continue  # newer than our answer
            for name, text in zip(shown, cells, strict=True):
                value = figure(text)
                assert value == point[name] or abs(value - point[name]) <= 0.051, (name, label, text, point[name])
                count += value is not None
        assert {re.sub(r"\s", " ", row[0]) for row in rows} >= set(list(points)[:-1]), "no point is missing"
        page.tell("click", selector=f"{place} summary")
    return count


def check_range(page):
    """The axis ends now and begins five minutes ago: nothing is older here."""
    page.wait('#plots .plot[aria-label*=", from "]')
    label = page.tell("attribute", selector="#plots .plot", name="aria-label")
    begin, end = (
        datetime.datetime.strptime(text, "%I:%M:%S %p")
        for text in re.search(r"from ([\d:]+ [AP]M) to ([\d:]+ [AP]M)", re.sub(r"\s", " ", label)).groups()
    )
    assert (end - begin).total_seconds() % 86400 == 300, label
    now = datetime.datetime.now()
    assert (now - end.replace(year=now.year, month=now.month, day=now.day)).total_seconds() % 86400 < 60, label


def test_the_tables_hold_what_is_plotted_and_a_restart_loses_none_of_it(place, browser):
    control, proxy = place
    control.force("shadow_read", shadow_read_percent=50)
    page = opened(browser, control)
    page.wait("#plots", "No figures yet")
    with Load(proxy, "ks", threads=1, window=2, pause_s=0.02):
        page.wait("#plots .legend", "Shadow reads [0-9]")
        check_range(page)  # of one point
        page.wait("#plots .legend", "Shadow reads [1-9]")
        assert check_tables(page, control) > 10
    before = history(control)[0]
    wait_until(lambda: len(history(control)[0]) > len(before), "the next step is over")
    control.stop()
    control.start()
    page.wait("#log-in-why", "The log-in has ended")
    page.tell("reload")
    page.log_in(ADMIN_TOKEN)
    page.wait("#plots .legend", "Shadow reads")
    assert check_tables(page, control) > 10
    after = history(control)[0]
    assert {label: after.get(label) for label in before} == before


def flip(control, count):
    for number in range(count):
        assert control.patch(shadow_read_percent=1 + number % 2)[0] == 200


def test_twenty_data_planes_with_long_names_and_a_thousand_rows_of_audit(lab, browser, pictures):
    control = lab.control().start()
    flip(control, 900)
    wide, narrow = opened(browser, control), opened(browser, control, width=375, height=812, dark=True)
    with data_planes(control, 20, name=f"cassandra-migration.{'production.' * 6}europe-west.example.net"):
        wait_until(lambda: sum(plane["in_sync"] for plane in control.dataplanes()) == 20, "all follow")
        wide.tell("watch", selector="#dataplanes")
        begin = time.monotonic()
        flip(control, 100)  # each is 20 acknowledgements more for the pages to draw
        wide.wait("#revision", f"^{control.routing()['revision']}$")
        drawings, events = wide.tell("drawings"), 100 * 20
        assert 0 < drawings <= min(events / 4, (time.monotonic() - begin) * 20 + 10), "they are drawn together"
        revision = control.routing()["revision"]
        for page in (wide, narrow):
            page.wait("#revision", f"^{revision}$")
            page.wait("#dataplanes-note", "20 connected, all on the present revision")
            page.wait("#audit tr", "shadow_read_percent = 2")
            page.check_accessible()
            assert page.tell("overflow") <= 0
        wide.tell("screenshot", path=str(pictures / "many-desktop.png"))
        narrow.tell("screenshot", path=str(pictures / "many-phone.png"))
        assert wide.tell("count", selector="#dataplanes tr") == 20 and wide.tell("count", selector="#audit tr") == 20
        for shown in (120, 220):
            wide.button("Show older rows")
            wait_until(lambda shown=shown: wide.tell("count", selector="#audit tr") == shown, f"{shown} rows")
        assert control.patch(shadow_read_percent=77)[0] == 200
        wide.wait("#audit tr:first-child", "shadow_read_percent = 77")
        assert wide.tell("count", selector="#audit tr") == 220, "what was asked for stays"
        revisions = [int(row[1]) for row in wide.tell("table", selector="table:has(#audit)")[1:]]
        assert revisions == list(range(revision + 1, revision + 1 - 220, -1)), "none twice, none missing"
    wide.wait("#banners", "Away: .* and 16 more")
    wide.check()
    narrow.check()
