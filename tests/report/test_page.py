"""The page: one file that needs no network, says what it was given and nothing else, and reads well to a machine."""

import base64
import hashlib
import io
import math
import re
from collections import Counter
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stinet.report import page as module
from stinet.report.page import Cell, Column, Page, Slider, TableView, write_page
from stinet.report.plots import Plot

VOID = {"meta", "img", "input"}
NASTY = "<img src=x onerror=\"alert('1')\">&amp;</script><script>alert(2)</script>-->]]>"


class Document(HTMLParser):
    """What a browser would find: tags with attributes in order, text by tag, complaints about what does not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.complaints: list[str] = []
        self.feed(text)
        self.close()
        self.complaints += [f"{tag} is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if len(dict(attrs)) < len(attrs):
            self.complaints.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.complaints.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        """Text of every such tag."""
        return [text for name, text in self.texts if name == tag]


def noise(height: int = 18, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def full_page(name: str = "walk") -> Page:
    """A page with all there can be; `name` stands wherever text comes from outside."""
    table = TableView(
        caption=name, head=[Column(name, group=name), Column("dB")], rows=[[name, 1.0]], foot=[[name, name]], note=name
    )
    slider = Slider(name=name, before_label=name, after_label=name, before=noise(), after=noise(seed=1), detail=name)
    points = [(0.0, 1.0), (1.0, 2.0)]
    plot = Plot(title=name, y_label=name, x_label=name, lines={name: points}, hollow=[1.0], hollow_label=name)
    facts = {"Commit": name, name: "1"}
    return Page(title=name, lead=name, facts=facts, tables=[table], sliders=[slider], plots=[plot])


def written(page: Page, folder: Path) -> str:
    write_page(page, folder / "page.html")
    return (folder / "page.html").read_bytes().decode()


@pytest.fixture(scope="module")
def plain_tags(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[str]]]:
    """Tags of a full page with harmless names, and the names of their attributes."""
    document = Document(written(full_page("walk"), tmp_path_factory.mktemp("plain")))
    return [(tag, list(attributes)) for tag, attributes in document.tags]


def table_of(view: TableView, folder: Path) -> Document:
    return Document(written(Page(title="t", tables=[view]), folder))


def test_a_page_is_well_formed_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    document = Document(written(full_page(), tmp_path))
    assert document.complaints == []
    ids = Counter(attributes["id"] for _, attributes in document.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    links = [attributes["href"] for attributes in document.of("a")]
    assert [link.removeprefix("#") for link in links] == ["measured", "figures", "pictures", "plots"]
    assert {attributes["aria-labelledby"] for attributes in document.of("section")} <= set(ids)
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_a_page_asks_the_network_nothing(tmp_path: Path) -> None:
    text = written(full_page(), tmp_path)
    document = Document(text)
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    sources = [value for _, attributes in document.tags for key, value in attributes.items() if key == "src"]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert document.of("link") == []


def test_the_policy_admits_the_style_and_the_script_of_the_file_and_nothing_else(tmp_path: Path) -> None:
    document = Document(written(full_page(NASTY), tmp_path))
    (policy,) = [tag["content"] for tag in document.of("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind in ("style", "script"):
        (inside,) = document.text(kind)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


@given(name=st.one_of(st.text(min_size=1, max_size=30), st.just(NASTY)))
@settings(max_examples=15, deadline=None)
def test_no_name_changes_what_a_page_is_made_of(
    tmp_path_factory: pytest.TempPathFactory, plain_tags: list[tuple[str, list[str]]], name: str
) -> None:
    other = Document(written(full_page(name), tmp_path_factory.getbasetemp()))
    assert [(tag, list(attributes)) for tag, attributes in other.tags] == plain_tags
    assert other.complaints == []


def test_a_nasty_name_is_shown_as_it_is_wherever_it_stands(tmp_path: Path) -> None:
    document = Document(written(full_page(NASTY), tmp_path))
    for tag in ("title", "h1", "h3", "p", "dt", "dd", "caption", "th", "td", "span", "li", "b", "text"):
        assert NASTY in document.text(tag), tag
    assert f"{NASTY}: {NASTY}" in [attributes["alt"] for attributes in document.of("img")]


def test_a_file_name_that_is_no_unicode_can_be_written(tmp_path: Path) -> None:
    assert Document(written(full_page("clip\udcff"), tmp_path)).complaints == []


def test_sections_without_content_are_left_out(tmp_path: Path) -> None:
    document = Document(written(Page(title="nothing yet", facts={"Date": "today"}), tmp_path))
    assert [section["id"] for section in document.of("section")] == ["measured"]
    assert len(document.of("a")) == 1


def test_pictures_without_loss_come_back_bit_for_bit(tmp_path: Path) -> None:
    before, after = noise(40, 64, seed=2), noise(40, 64, seed=3)
    slider = Slider(name="walk", before_label="bicubic", after_label="net", before=before, after=after)
    text = written(Page(title="t", sliders=[slider]), tmp_path)
    images = {attributes["alt"]: attributes["src"] for attributes in Document(text).of("img")}
    for label, array in (("bicubic", before), ("net", after)):
        file = io.BytesIO(base64.b64decode(images[f"walk: {label}"].split(",")[1]))
        assert np.array_equal(np.array(Image.open(file).convert("RGB")), array)
    assert "64 x 40 pixels, stored without loss" in text


def test_a_large_picture_is_stored_with_a_loss_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOSSLESS_BYTES", 1000)
    large, flat = noise(40, 64), np.zeros((40, 64, 3), dtype=np.uint8)
    slider = Slider(name="walk", before_label="a", after_label="b", before=flat, after=large)
    text = written(Page(title="t", sliders=[slider]), tmp_path)
    kinds = [attributes["src"].split(";")[0] for attributes in Document(text).of("img")]
    assert kinds == ["data:image/jpeg", "data:image/webp"]
    assert "64 x 40 pixels, b stored as JPEG of quality 95, a stored without loss." in text


def test_a_slider_has_two_pictures_of_one_size_with_words_and_a_named_control(tmp_path: Path) -> None:
    document = Document(written(full_page(), tmp_path))
    first, second = document.of("img")
    assert (first["width"], first["height"]) == (second["width"], second["height"]) == ("32", "18")
    assert first["alt"]
    assert second["alt"]
    (control,) = document.of("input")
    assert control["type"] == "range"
    assert control["aria-label"].startswith("walk")
    assert (control["data-before"], control["data-after"]) == ("walk", "walk")


def test_what_the_script_and_the_style_look_for_is_in_the_page(tmp_path: Path) -> None:
    document = Document(written(full_page(), tmp_path))
    classes = {name for _, attributes in document.tags for name in attributes.get("class", "").split()}
    tags = {tag for tag, _ in document.tags}
    script, style = (resources.files("stinet.report").joinpath(f"page.{kind}").read_text() for kind in ("js", "css"))
    sought = re.findall(r'querySelector(?:All)?\("([^"]*)"\)', script)
    assert len(sought) >= 5
    for selector in sought:
        assert selector.removeprefix(".") in (classes if selector.startswith(".") else tags)
    used = set(re.findall(r"var\((--[\w-]+)", style))
    set_somewhere = set(re.findall(r"(--[\w-]+):", style)) | set(re.findall(r'setProperty\("(--[\w-]+)"', script))
    assert used <= set_somewhere
    assert used >= {f"--line-{index}" for index in range(6)}


def test_both_colour_schemes_define_the_same_colours() -> None:
    style = resources.files("stinet.report").joinpath("page.css").read_text()
    light, dark, *_ = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert set(re.findall(r"(--[\w-]+):", light)) == set(re.findall(r"(--[\w-]+):", dark))


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(("ink", "paper"), [("ink", "paper"), ("faint", "paper"), ("link", "paper"), ("ink", "band")])
def test_text_stands_out_from_its_paper(scheme: int, ink: str, paper: str) -> None:
    style = resources.files("stinet.report").joinpath("page.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]))

    def luminance(name: str) -> float:
        parts = [int(colours[name][i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(ink), luminance(paper)))
    assert (light + 0.05) / (dark + 0.05) >= 4.5, "WCAG 2, level AA"


@pytest.mark.parametrize(
    ("cell", "text"),
    [(25.064, "25.06"), (-0.5, "\N{MINUS SIGN}0.50"), (12345, "12,345"), ("given", "given"), (None, "\N{EN DASH}"),
     (math.nan, "\N{EN DASH}"), (math.inf, "\N{INFINITY}"), (-math.inf, "\N{MINUS SIGN}\N{INFINITY}")],
)  # fmt: skip
def test_cells_are_written_for_people(tmp_path: Path, cell: Cell, text: str) -> None:
    document = table_of(TableView(caption="c", head=[Column("a"), Column("b")], rows=[["net", cell]]), tmp_path)
    assert document.text("td") == [text]


def test_the_best_of_a_column_is_bold_and_equal_figures_are_equally_good(tmp_path: Path) -> None:
    head = [Column("model"), Column("dB", better="higher"), Column("px", better="lower"), Column("frames")]
    rows: list[list[Cell]] = [["a", 25.001, 0.5, 9.0], ["b", 24.999, 0.7, 1.0], ["c", 20.0, None, 5.0]]
    document = table_of(TableView(caption="c", head=head, rows=rows, foot=[["mean", 99.0, 0.1, 9.0]]), tmp_path)
    assert document.text("strong") == ["25.00", "0.50", "25.00"]


@pytest.mark.parametrize("rows", [[["a", 25.0]], [["a", 25.0], ["b", None]]])
def test_nothing_is_best_where_nothing_competes(tmp_path: Path, rows: list[list[Cell]]) -> None:
    view = TableView(caption="c", head=[Column("model"), Column("dB", better="higher")], rows=rows)
    assert table_of(view, tmp_path).text("strong") == []


def test_groups_span_their_columns(tmp_path: Path) -> None:
    names = ["", "fast", "fast", "slow", "slow", "slow", ""]
    head = [Column(f"column {index}", group=name) for index, name in enumerate(names)]
    view = TableView(caption="c", head=head, rows=[["net", 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    document = table_of(view, tmp_path)
    spans = [(tag, attributes["colspan"]) for tag, attributes in document.tags if "colspan" in attributes]
    assert spans == [("td", "1"), ("th", "2"), ("th", "3"), ("td", "1")]
    scopes = Counter(attributes["scope"] for attributes in document.of("th"))
    assert scopes == {"colgroup": 2, "col": 7, "row": 1}


def test_a_row_that_lacks_a_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ValueError, IndexError)):
        table_of(TableView(caption="c", head=[Column("a"), Column("b")], rows=[["net"]]), tmp_path)


def test_a_long_table_is_folded_away(tmp_path: Path) -> None:
    for count, folded in ((40, 0), (41, 1)):
        view = TableView(caption="clips", head=[Column("clip")], rows=[[f"{i}"] for i in range(count)])
        document = table_of(view, tmp_path)
        assert len(document.of("details")) == folded
        assert document.complaints == []
