"""A report as a PDF: PDF/A-2b to last, PDF/UA-1 to be read aloud. Text, fonts and pictures are in it.

`page` is the same as HTML; `environment` lends its parts (`templates/_parts.html`) to the review page.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jinja2
from markupsafe import Markup

from server.export import words
from server.export.case import Case, ExportError, moment
from server.report import By, Section

_UA = b"""<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/" pdfuaid:part="1"/>
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
  xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
<pdfaProperty:name>part</pdfaProperty:name><pdfaProperty:valueType>Integer</pdfaProperty:valueType>
<pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of ISO 14289 that the file follows</pdfaProperty:description>
</rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>
"""
"""PDF/UA's mark, and its description: PDF/A allows no foreign property without one (ISO 19005-2, 6.6.2.3)."""
_MARK = b"</rdf:RDF>"


@functools.cache
def environment() -> jinja2.Environment:
    """Whatever comes from outside is escaped in HTML and SVG; an undefined name is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("server.export"),
        autoescape=jinja2.select_autoescape(["html", "svg"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(case: Case) -> str:
    """HTML; its pictures are at `picture:SHA256`. Raises ExportError."""
    record, report, said = case.record, case.report, words.words(case.report.language)
    standing, started = report.standing(), case.at()
    return _render(
        "report.html",
        record=record,
        report=report,
        state=case.state,
        patient=case.patient,
        institution=case.institution,
        title=said.get(record.heading.made_by.pipeline, said["report"]),
        words=said,
        style=Markup(_style(case, said)),
        dated=case.dated.isoformat(timespec="seconds"),
        started=None if started is None else _when(started),
        spans=[("insertion", record.times.insertion_s), ("withdrawal", record.times.withdrawal_s)],
        sections=[
            (name, chosen)
            for name in get_args(Section)
            if (chosen := [sentence for sentence in standing if sentence.section == name])
        ],
        spoken=[by for by in get_args(By) if any(sentence.by == by for sentence in standing)],
        pictures=case.pictures(),
        made=record.heading.made_by,
        term=functools.partial(words.term, report.language),
        clock=words.clock,
        utc=lambda text: _when(moment(text)),
    )


def pdf(case: Case) -> bytes:
    """The same bytes for the same case. Raises ExportError."""
    weasyprint = _weasyprint()
    html = weasyprint.HTML(string=page(case), url_fetcher=_fetcher(case), base_url="report:")
    try:
        written: bytes = html.write_pdf(
            pdf_variant="pdf/a-2b", pdf_tags=True, pdf_identifier=case.digest.encode(), finisher=_finished
        )
    except weasyprint.urls.FatalURLFetchingError as exc:
        raise ExportError(f"report of {case.record.procedure}: {exc}") from exc
    drawn, expected = written.count(b"/DCTDecode"), len({frame.sha256 for _, frame in case.pictures()})
    if drawn != expected:
        raise ExportError(f"report of {case.record.procedure}: {drawn} of {expected} key frames could be drawn")
    return written


@functools.cache
def _weasyprint() -> Any:
    """Loads Pango: only where a PDF is made. Its import has Pillow pass cut-off pictures in the whole process, which
    is not a page maker's matter: put back as it was."""
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    import weasyprint
    import weasyprint.urls

    ImageFile.LOAD_TRUNCATED_IMAGES = before
    return weasyprint


def warm() -> None:
    """What is slow about the first one."""
    _weasyprint()


def _render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(**values)


def _style(case: Case, said: Mapping[str, str]) -> str:
    """Nothing of it but a procedure's checked id comes from outside: CSS is not escaped."""
    foot = f"{case.record.procedure}, {said['revision']} {case.record.revision} – {said[case.state]}"
    return _render("report.css", words=said, signed=case.signed, foot=foot)


def _fetcher(case: Case) -> Callable[..., Any]:
    """All that a page can name: the case's pictures, and the mark of a draft. No file, no network."""
    urls = _weasyprint().urls

    def fetch(url: str, *_: object, **__: object) -> Any:
        scheme, _colon, name = url.partition(":")
        if scheme == "picture" and name in case.frames:
            return urls.URLFetcherResponse(url, case.frames[name], {"Content-Type": "image/jpeg"})
        if scheme == "watermark":
            text = words.words(case.report.language)["draft"]
            drawn = _render("watermark.svg", text=text, size=330 / len(text))
            return urls.URLFetcherResponse(url, drawn.encode(), {"Content-Type": "image/svg+xml"})
        raise urls.FatalURLFetchingError(f"{url!r}: expected one of the report's own pictures")

    return fetch


def _finished(document: Any, written: Any) -> None:
    """A weasyprint.Document and its pydyf.PDF, whose metadata says PDF/A: say PDF/UA as well. A letter that no font has
    would be an empty box, perhaps in somebody's name."""
    if missing := {chr(letter) for font in document.fonts.values() for letter in font.missing}:
        letters = ", ".join(f"{letter} (U+{ord(letter):04X})" for letter in sorted(missing))
        raise ExportError(f"no font on this machine has {letters}: install one, fonts-noto-core or fonts-noto-cjk say")
    for thing in written.objects:
        if getattr(thing, "extra", {}).get("Type") == "/Metadata":
            thing.stream = [part.replace(_MARK, _UA + _MARK) for part in thing.stream]


def _when(time: datetime.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
