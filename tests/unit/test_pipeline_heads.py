"""A pipeline's tables against what its model can say: the shipped ones, with landmark, preparation and view."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft7Validator

from edge import model
from edge.cli import assemble
from edge.config import read_toml
from edge.errors import ConfigError, EdgeError, ModelError
from edge.heads import Heads
from edge.types import Manifest, ModelHead, TensorSpec
from tests.support import classes

ROOT = Path(__file__).parents[2]
LABELS = {
    "landmark": ["other", "caecum"],
    "preparation": ["adequate", "inadequate"],
    "view": ["clear", "blurred", "over_exposed", "under_exposed", "obscured", "out_of_body"],
}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """The released model's, with three heads more."""
    released = model.load(ROOT / "models" / "polyp-mobilenetv2-256").manifest
    more = [name for name in LABELS if name not in {output.name for output in released.outputs}]
    return msgspec.structs.replace(
        released,
        outputs=[
            *released.outputs,
            *(TensorSpec(name=name, dtype="float32", shape=(1, len(LABELS[name]))) for name in more),
        ],
        heads=[
            *released.heads,
            *(ModelHead(name=name, output=name, kind="classify", labels=LABELS[name]) for name in more),
        ],
    )


def text() -> str:
    shipped = (ROOT / "pipelines" / "colonoscopy.toml").read_text(encoding="utf-8")
    if "[[landmarks]]" in shipped:
        return shipped
    return shipped.replace('kind = "quality"\n', 'kind = "quality"\ncondition = "view"\n') + classes.TABLES


def fit(tmp_path: Path, content: str, manifest: Manifest) -> Heads:
    file = tmp_path / "colonoscopy.toml"
    file.write_text(content, encoding="utf-8")
    return assemble.fit_heads(*assemble.load_pipeline(file), manifest)


def test_it_fits(tmp_path: Path, manifest: Manifest) -> None:
    heads = fit(tmp_path, text(), manifest)
    assert heads.said("classifications") == {name: tuple(LABELS[name]) for name in ("landmark", "preparation")}


def test_its_schema_accepts_it(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "pipeline.toml.schema.json").read_text(encoding="utf-8"))
    file = tmp_path / "colonoscopy.toml"
    for content, good in ((text(), True), (text().replace('label = "caecum"', 'labl = "caecum"'), False)):
        file.write_text(content, encoding="utf-8")
        assert (list(Draft7Validator(schema).iter_errors(read_toml(file))) == []) == good


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        (
            'label = "caecum"',
            'label = "cecum"',
            ConfigError,
            r'landmarks\[0\]\.label is "cecum"; labels of the model\'s "landmark": other, caecum',
        ),
        (
            'head = "landmark"',
            'head = "landmrk"',
            ConfigError,
            r'landmarks\[0\]\.head is "landmrk"; heads that judge whole pictures: landmark, preparation',
        ),
        (
            'head = "preparation"',
            'head = "polyp"',
            ConfigError,
            r'judgements\[0\]\.head is "polyp"; heads that judge whole pictures: landmark, preparation',
        ),
        (
            'label = "polyp"\npriority',
            'label = "ulcer"\npriority',
            ConfigError,
            r'is "ulcer"; regions are called: polyp',
        ),
        ('output = "landmark"', 'output = "site"', ModelError, r'expected an output "site"'),
        ('kind = "classify"', 'kind = "ordinal"', ModelError, r'output = "landmark", kind = "ordinal" and 3 labels'),
        ("confirm = 7 ", "confirm = 70 ", ConfigError, r"tracks\.confirm: expected `int` <= 64"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, manifest: Manifest, old: str, new: str, error: type[EdgeError], words: str
) -> None:
    assert old in text()
    with pytest.raises(error, match=words):
        fit(tmp_path, text().replace(old, new, 1), manifest)


def test_a_model_without_the_outputs_is_refused_with_the_pipeline_s_name(tmp_path: Path) -> None:
    """As `endoedge run` and `endoedge check` would say it, at start."""
    (tmp_path / "colonoscopy.toml").write_text(text().replace('"landmark"', '"appendix"'), encoding="utf-8")
    site_file = tmp_path / "endoedge.toml"
    site_file.write_text(
        'device = "d"\npipeline = "colonoscopy"\npipelines_dir = "."\n[capture]\nsource = "phantom"\n'
        '[uplink]\nhost = "127.0.0.1"\n'
    )
    site = assemble.load_site(site_file)
    with pytest.raises(ModelError, match=r'colonoscopy\.toml: head \w+: expected an output "\w+", .*outputs are: '):
        assemble.open_heads(site, assemble.load_model(site))
