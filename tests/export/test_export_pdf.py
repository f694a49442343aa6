"""The PDF: what ISO 19005-2 and ISO 14289-1 ask for, as far as it can be seen in the file, and what a reader sees.

veraPDF would say more; it is not to be had from the package registries.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

pytest.importorskip("pikepdf")

import pikepdf

from server.export import words
from server.export.case import Case, ExportError
from server.export.pdf import page, pdf
from server.patient import Patient
from server.report import Sentence

WITHIN_S = 2.0
FORBIDDEN = ("/JavaScript", "/JS", "/Launch", "/EmbeddedFile", "/Movie", "/Sound", "/RichMedia", "/AcroForm")


@pytest.fixture(scope="module", params=["draft", "signed"])
def written(request: pytest.FixtureRequest) -> tuple[Case, bytes]:
    case: Case = request.getfixturevalue(request.param)
    return case, pdf(case)


def opened(content: bytes) -> Any:
    return pikepdf.open(io.BytesIO(content))


def text_of(content: bytes, folder: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("not installed: poppler-utils")
    (folder / "report.pdf").write_bytes(content)
    done = subprocess.run(
        ["pdftotext", "-layout", "report.pdf", "-"], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def with_sentence(case: Case, text: str, **values: Any) -> Case:
    said = Sentence(id="S77", section="summary", text=text, by="person", author="E. Test", **values)
    report = msgspec.structs.replace(case.report, sentences=(*case.report.sentences, said))
    return Case(case.record, report, case.frames, case.patient, case.institution)


def test_it_says_what_it_is(written: tuple[Case, bytes]) -> None:
    case, content = written
    with opened(content) as document:
        metadata = bytes(document.Root.Metadata.read_bytes())
        xmp = {tag: value for node in ElementTree.fromstring(metadata).iter() for tag, value in node.attrib.items()}
        info = document.docinfo
        assert xmp["{http://www.aiim.org/pdfa/ns/id/}part"] == "2"
        assert xmp["{http://www.aiim.org/pdfa/ns/id/}conformance"] == "B"
        assert xmp["{http://www.aiim.org/pdfua/ns/id/}part"] == "1"
        assert metadata.count(b"<rdf:RDF") == 1
        assert b"http://www.aiim.org/pdfa/ns/extension/" in metadata
        assert str(info["/Title"]).encode() in metadata
        assert case.record.procedure in str(info["/Title"])
        assert str(document.Root.Lang) == case.report.language
        assert bool(document.Root.MarkInfo.Marked)
        assert bool(document.Root.ViewerPreferences.DisplayDocTitle)
        assert content.startswith(b"%PDF-1.7")
        assert "/ID" in document.trailer
        assert not document.is_encrypted


def test_colours_have_a_profile(written: tuple[Case, bytes]) -> None:
    with opened(written[1]) as document:
        (intent,) = document.Root.OutputIntents
        assert intent.S == "/GTS_PDFA1"
        assert intent.DestOutputProfile.read_bytes()[36:40] == b"acsp"


def test_every_font_is_in_it_and_can_be_searched(written: tuple[Case, bytes]) -> None:
    with opened(written[1]) as document:
        fonts = [
            thing
            for thing in document.objects
            if isinstance(thing, pikepdf.Dictionary) and thing.get("/Type") == "/Font"
        ]
        described = [font for font in fonts if "/FontDescriptor" in font]
        assert described
        assert all("/FontFile2" in font.FontDescriptor or "/FontFile3" in font.FontDescriptor for font in described)
        assert all("/ToUnicode" in font for font in fonts if font.Subtype == "/Type0")
        assert all(font.Subtype in ("/Type0", "/CIDFontType2", "/CIDFontType0") for font in fonts)


def test_nothing_acts_and_nothing_is_hidden(written: tuple[Case, bytes]) -> None:
    with opened(written[1]) as document:
        for thing in document.objects:
            if isinstance(thing, (pikepdf.Dictionary, pikepdf.Stream)):
                assert not [key for key in FORBIDDEN if key in thing or thing.get("/S") == key]
                assert thing.get("/Filter") != "/LZWDecode"
        assert "/OpenAction" not in document.Root
        assert "/Names" not in document.Root or "/EmbeddedFiles" not in document.Root.Names


def test_pictures_are_the_key_frames_to_the_byte(written: tuple[Case, bytes]) -> None:
    case, content = written
    with opened(content) as document:
        images = [
            thing.read_raw_bytes()
            for thing in document.objects
            if isinstance(thing, pikepdf.Stream) and thing.get("/Filter") == "/DCTDecode"
        ]
    assert sorted(images) == sorted(case.frames[frame.sha256] for _, frame in case.pictures())


def test_what_is_read_aloud(written: tuple[Case, bytes]) -> None:
    """Everything shown is tagged or an artifact; pictures have words; headings do not skip a level."""
    case, content = written
    with opened(content) as document:
        elements = [
            thing
            for thing in document.objects
            if isinstance(thing, pikepdf.Dictionary) and thing.get("/Type") == "/StructElem"
        ]
        figures = [element for element in elements if element.S == "/Figure"]
        boxed = [frame for _, frame in case.pictures() if frame.box is not None]
        assert len(figures) == len(case.pictures()) + len(boxed)
        assert all(str(figure.Alt) for figure in figures)
        assert {str(element.S) for element in elements if str(element.S).startswith("/H")} == {"/H1", "/H2"}
        for pdf_page in document.pages:
            open_marks = 0
            for instruction in pikepdf.parse_content_stream(pdf_page):
                operator = str(instruction.operator)
                open_marks += {"BDC": 1, "BMC": 1, "EMC": -1}.get(operator, 0)
                assert operator not in ("Tj", "TJ", "f", "S", "Do") or open_marks > 0


def test_what_a_reader_sees(draft: Case, signed: Case, tmp_path: Path) -> None:
    text = text_of(pdf(signed), tmp_path)
    for sentence in signed.report.standing():
        assert " ".join(sentence.text.split()) in " ".join(text.split())
    assert "Example, Erika" in text
    assert "Signed by Dr. Eva Test (etest), 2026-03-02 10:05 UTC" in text
    assert "1 min 46 s to 1 min 57 s" not in text  # struck out
    assert "Draft" not in text
    drafted = text_of(pdf(draft), tmp_path)
    assert drafted.count("Draft – not signed") >= 3  # on each page, and across it
    assert "Nobody has signed this" in drafted
    assert "Erika" not in drafted


def test_machine_and_person_are_told_apart(signed: Case) -> None:
    html = page(signed)
    assert html.count('class="sentence by-person"') == 2
    assert html.count("– E. Test") == 2
    assert "written by a person" in html
    assert "worded by a language model" not in html


def test_markup_is_text(draft: Case, tmp_path: Path) -> None:
    wild = '<script>alert(1)</script><img src="http://127.0.0.1/x"> & {{ 7 * 7 }}'
    case = with_sentence(draft, wild)
    assert "<script>" not in page(case)
    assert " ".join(wild.split()) in " ".join(text_of(pdf(case), tmp_path).split())


def test_the_same_twice(signed: Case) -> None:
    assert pdf(signed) == pdf(signed)


def test_in_time(draft: Case) -> None:
    """A long one: 40 findings, each with a picture and two sentences. Processor time: the machine may be busy."""
    first = draft.record.findings[0]
    many = [msgspec.structs.replace(first, id=f"F{number}", track=number) for number in range(1, 41)]
    said = [
        Sentence(
            id=f"S{number}",
            section="findings",
            text="Seen for some time. " * 5,
            cites=(f"F{number % 40 + 1}",),
            by="template",
        )
        for number in range(1, 81)
    ]
    case = Case(
        msgspec.structs.replace(draft.record, findings=tuple(many)),
        msgspec.structs.replace(draft.report, sentences=tuple(said)),
        draft.frames,
    )
    pdf(draft)  # imports
    begun = time.process_time()
    pdf(case)
    assert time.process_time() - begun < WITHIN_S


def test_other_letters(signed: Case, tmp_path: Path) -> None:
    patient = Patient(id="1", family="Šťastná-Ørsted", given="Żaneta Ελένη Юлия")
    case = Case(signed.record, signed.report, signed.frames, patient)
    text = text_of(pdf(case), tmp_path)
    assert "Šťastná-Ørsted, Żaneta Ελένη Юлия" in text


def test_a_letter_that_no_font_has(draft: Case) -> None:
    """U+10FFFD is for private use: no font here has it."""
    with pytest.raises(ExportError, match=r"no font on this machine has .*U\+10FFFD"):
        pdf(with_sentence(draft, "a \U0010fffd b"))


def test_a_picture_that_cannot_be_drawn(draft: Case) -> None:
    """20000 x 20000 px in 17 bytes: its reader takes it for a bomb. Leaving it out of the report would be worse."""
    broken = b"\xff\xd8\xff\xc0\x00\x0b\x08\x4e\x20\x4e\x20\x01\x01\x11\x00" + b"\xff\xd9"
    landmark = draft.record.landmarks[0]
    assert landmark.key_frame is not None
    digest = hashlib.sha256(broken).hexdigest()
    frame = msgspec.structs.replace(landmark.key_frame, sha256=digest, width=20000, height=20000)
    record = msgspec.structs.replace(
        draft.record, landmarks=(msgspec.structs.replace(landmark, key_frame=frame),), findings=()
    )
    report = msgspec.structs.replace(draft.report, sentences=())
    with pytest.raises(ExportError, match="0 of 1 key frames could be drawn"):
        pdf(Case(record, report, {digest: broken}))


def test_german(draft: Case, tmp_path: Path) -> None:
    report = msgspec.structs.replace(draft.report, language="de")
    text = text_of(pdf(Case(draft.record, report, draft.frames)), tmp_path)
    assert "Koloskopiebericht" in text
    assert "möglicher Polyp" in text


def test_a_language_without_words(draft: Case) -> None:
    report = msgspec.structs.replace(draft.report, language="xx")
    with pytest.raises(ExportError, match="expected one of de, en"):
        page(Case(draft.record, report, draft.frames))


def test_every_language_has_every_word() -> None:
    first, *others = words.LANGUAGES.values()
    assert all(set(first) == set(other) and all(other.values()) for other in others)
    assert set(words.NAMES) == set(words.LANGUAGES) == set(words.TERMS)


def test_a_procedure_of_which_nothing_is_known(draft: Case) -> None:
    """Nothing found, no landmark, no clock, an unknown pipeline, no sentence."""
    heading = msgspec.structs.replace(
        draft.record.heading,
        clock_trusted=False,
        made_by=msgspec.structs.replace(draft.record.heading.made_by, pipeline="bronchoscopy"),
    )
    times = msgspec.structs.replace(draft.record.times, insertion_s=None, withdrawal_s=None)
    record = msgspec.structs.replace(
        draft.record, heading=heading, times=times, findings=(), landmarks=(), judgements=()
    )
    report = msgspec.structs.replace(draft.report, sentences=())
    html = page(Case(record, report, {}))
    assert "Endoscopy report" in html
    assert html.count("Not recorded") == 2
    assert "clock was not set" in html
    assert pdf(Case(record, report, {})).startswith(b"%PDF")


def test_pictures_that_are_cut_off_stay_errors_elsewhere(draft: Case) -> None:
    """weasyprint's import tells Pillow to pass them, in the whole process."""
    program = (
        "import sys; from PIL import ImageFile; from server.export import pdf; "
        "assert pdf._weasyprint().HTML and 'weasyprint.images' in sys.modules; print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
