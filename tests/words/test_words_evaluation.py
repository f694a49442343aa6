"""The evaluation counts what it says it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.procedure import Record
from server import cli, evaluation
from server.report import Drafted, Report, Sentence
from server.words import measure, template, trials
from server.words.checklist import Lists
from server.words.measure import Figures
from server.words.perturb import PERTURBATIONS
from tests.support import vlm
from tools import export_example


def told(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert cli.main(["eval", *arguments, "--json"]) == code
    return msgspec.json.decode(capsys.readouterr().out)


def test_the_template_makes_no_unsupported_claim_and_leaves_nothing_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(["--count", "12", "--seed", "7"], capsys)
    for language in ("en", "de"):
        rows = found["drafts"][language]
        assert set(rows) == {f"template, {name}" for name in PERTURBATIONS}
        for row in rows.values():
            assert (row["fact_recall"], row["fact_precision"], row["omitted"]) == (1.0, 1.0, 0)
            assert (row["unsupported_before"], row["unsupported_after"]) == (0.0, 0.0)
        assert found["check"][language]["lies"] > 1000
        assert set(found["check"][language]["stood"].values()) == {0}


def test_the_same_seed_gives_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["--count", "2", "--seed", "3"], capsys) == told(["--count", "2", "--seed", "3"], capsys)


def test_a_model_that_lies_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lies = [text for texts in trials.of("en").lies.values() for text in texts]
    with vlm.serving(vlm.liar(lies)) as server:
        arguments = ["--count", "2", "--language", "en", "--endpoint", server.url, "--model", "m", "--timeout", "20"]
        rows = told(arguments, capsys)["drafts"]["en"]
    for name in PERTURBATIONS:
        row = rows[f"model, {name}"]
        assert row["unsupported_before"] > 0.5
        assert (row["unsupported_after"], row["omitted"], row["fact_recall"], row["valid"]) == (0.0, 0, 1.0, 1.0)
    assert len(server.asked) == 2 * len(PERTURBATIONS)


def test_a_model_that_breaks_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with vlm.serving(vlm.BROKEN["prose"][0]) as server:
        arguments = ["--count", "2", "--language", "en", "--endpoint", f"{server.url}/", "--model", "m"]
        row = told(arguments, capsys)["drafts"]["en"]["model, as it is"]
    assert (row["valid"], row["fallbacks"], row["fact_recall"]) == (0.0, {"invalid JSON": 2}, 1.0)


def test_a_folder_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_example.main([str(tmp_path / "one")])
    rows = told(["--records", str(tmp_path)], capsys)["drafts"]
    assert rows["en"]["template, as it is"]["reports"] == 1
    assert 0.5 < rows["en"]["template, as it is"]["edit_distance"] < 1.0
    assert rows["de"]["template, as it is"]["edit_distance"] is None  # what was signed is English


def test_the_tables_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "--count", "1", "--language", "de"]) == 0
    printed = capsys.readouterr().out
    assert "Drafts, German" in printed
    assert "template, wrong frame" in printed


def test_what_a_wrong_report_is_worth(lists: Lists, record: Record) -> None:
    """The figures are of the report and not of the template: a report with a lie and little else shows it."""
    drafted = template.draft(record, "en", lists)
    lie = Sentence(id="S2", section="findings", text="It measured 12 mm.", cites=("F1",), by="model")
    wrong = msgspec.structs.replace(drafted, drafted=Drafted(by="model"), sentences=(drafted.sentences[2], lie))
    figures = Figures()
    figures.add(record, wrong, lists)
    rates = figures.rates()
    assert (rates["unsupported_after"], rates["fact_precision"]) == (0.5, 0.5)
    assert figures.omitted == len(lists.of(record).missing(record))
    assert figures.told == 1 < figures.facts == len(set(measure.facts(record)))


def _report(*texts: str) -> Report:
    sentences = tuple(
        Sentence(id=f"S{n}", section="summary", text=text, by="template") for n, text in enumerate(texts, start=1)
    )
    return msgspec.structs.replace(export_example.draft(), sentences=sentences)


@pytest.mark.parametrize(
    ("draft", "signed", "distance"),
    [(("a b c",), ("a b c",), 0.0), (("a b c d",), ("a x c",), 0.5), (("a",), ("b", "c"), 1.0), ((), (), 0.0)],
)
def test_the_distance_from_draft_to_signed(draft: tuple[str, ...], signed: tuple[str, ...], distance: float) -> None:
    assert measure.distance(_report(*draft), _report(*signed)) == distance


def test_a_perturbation_changes_what_it_says(record: Record) -> None:
    case = evaluation.Case(record, evaluation.picture)
    digests = [frame.sha256 for frame in record.key_frames()]
    written, wrong = PERTURBATIONS["text in the picture"](case), PERTURBATIONS["wrong frame"](case)
    assert len(digests) > 1
    assert all(written.frames(one) != case.frames(one) for one in digests)
    assert [wrong.frames(one) for one in digests] == [case.frames(one) for one in digests[1:] + digests[:1]]
    assert PERTURBATIONS["no events"](case).record.ids() == {"T1"}


WRONG = [
    (["--records", "nowhere"], 1, "nowhere: expected a record.json"),
    (["--endpoint", "http://x/v1"], 2, "--endpoint and --model: expected both"),
    (["--endpoint", "ftp://x", "--model", "m"], 2, "--endpoint: Expected `str` matching"),
    (["--endpoint", "http://x/v1", "--model", "m", "--frames", "99"], 2, "<= 32"),
    (["--endpoint", "http://x/v1", "--model", "m", "--key-file", "nokey"], 2, "draft.key_file: "),
]


@pytest.mark.parametrize(("arguments", "code", "why"), WRONG)
def test_wrong_arguments_are_a_clear_error(
    arguments: list[str], code: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", *arguments]) == code
    assert why in capsys.readouterr().err


def test_a_file_that_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.json").write_text('{"version": 1}')
    assert cli.main(["eval", "--records", str(tmp_path)]) == 1
    assert "record.json: Object missing required field" in capsys.readouterr().err
