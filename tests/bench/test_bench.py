"""The judgement and the document of a measurement, without measuring anything."""

import pytest

import compare
import instructions
import report
import syscalls
from contenders import Failure

BASELINE = {"machine": "x86_64", "compiler": "gcc 12.2.0", "instructions": {"reads": 1000.0, "plain": 4000.0}}
HERE = {"machine": "x86_64", "compiler": "gcc 12.2.0"}


def test_growth_up_to_the_limit_is_remarked_upon():
    complaints, remarks = instructions.compare({"reads": 1099.0, "plain": 3000.0}, HERE, BASELINE)
    assert complaints == []
    assert len(remarks) == 2 and "+9.9%" in remarks[1] and "-25.0%" in remarks[0]


def test_growth_beyond_it_is_complained_about():
    complaints, remarks = instructions.compare({"reads": 1101.0, "plain": 4000.0}, HERE, BASELINE)
    assert len(complaints) == 1 and len(remarks) == 1
    for part in ("reads", "1,101", "baseline 1,000", "+10.1%"):
        assert part in complaints[0]
    assert "gcc" not in complaints[0]


def test_another_compiler_is_named_in_the_complaint():
    complaints, _ = instructions.compare({"reads": 2000.0, "plain": 1.0}, HERE | {"compiler": "gcc 13.1.0"}, BASELINE)
    assert "gcc 12.2.0" in complaints[0] and "gcc 13.1.0" in complaints[0]


@pytest.mark.parametrize("counted", [{"reads": 1000.0}, {"reads": 1000.0, "plain": 4000.0, "new": 1.0}])
def test_a_workload_on_one_side_only_is_complained_about(counted):
    complaints, _ = instructions.compare(counted, HERE, BASELINE)
    assert len(complaints) == 1


def test_another_machine_has_no_baseline():
    complaints, remarks = instructions.compare({"reads": 1.0, "plain": 1.0}, HERE | {"machine": "aarch64"}, BASELINE)
    assert "aarch64" in complaints[0] and remarks == []


def test_the_committed_figures_are_of_all_workloads():
    assert instructions.read_baseline()["instructions"].keys() == instructions.TITLES.keys()


def test_the_document_has_a_place_for_every_section():
    report.check(compare.DOCUMENT, [*report.SECTIONS, "scale"])


def test_writing_leaves_what_people_wrote(tmp_path):
    begin, end = report.marks("scale")
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    report.write(document, {"scale": "new"})
    report.write(document, {"scale": "newer"})
    assert document.read_text() == f"before\n{begin}\n\nnewer\n\n{end}\nafter\n"


@pytest.mark.parametrize("text", ["", "{begin}", "{end}{begin}", "{begin}{begin}{end}", "{begin}{end}{begin}{end}"])
def test_a_document_without_its_marks_is_left_alone(tmp_path, text):
    begin, end = report.marks("scale")
    document = tmp_path / "performance.md"
    document.write_text(text.format(begin=begin, end=end))
    before = document.read_text()
    with pytest.raises(Failure):
        report.write(document, {"scale": "new"})
    assert document.read_text() == before


@pytest.mark.parametrize("more", [["--quick"], ["--only=reads"], ["--no-callgrind"], ["--no-strace"], ["--no-heap"], ["--rounds=1"], ["--seconds=1"],
                                  ["--smoke"], ["--update-baseline"], ["--stubs"]])
def test_a_partial_run_is_not_written(monkeypatch, capsys, more):
    monkeypatch.setattr("sys.argv", ["bench.sh", "--binaries=.", "--write-docs", *more])
    with pytest.raises(SystemExit) as ended:
        compare.parse()
    assert ended.value.code == 2 and "full run" in capsys.readouterr().err


@pytest.mark.parametrize("options, word", [(["--only=nothing"], "no workload"), (["--only=["], "regular expression"), (["--peer=x"], "NAME=ADDR"),
                                           (["--rounds=0"], "positive"), (["--scale", "--smoke"], "not allowed")])
def test_senseless_options_are_refused(monkeypatch, capsys, options, word):
    monkeypatch.setattr("sys.argv", ["bench.sh", "--binaries=.", *options])
    with pytest.raises(SystemExit) as ended:
        compare.parse()
    assert ended.value.code == 2 and word in capsys.readouterr().err


def test_the_table_of_strace_is_read():
    assert syscalls.parse("""% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.69    0.328262          23     14030           sendto
 29.52    0.157103           7     21044      7013 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.532133          13     35074      7013 total
""") == {"sendto": 14030, "recvfrom": 21044}
