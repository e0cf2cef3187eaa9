"The documentation's converter, on notebooks made on the spot; `make docs` runs it on the real ones."
import filecmp
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))
import build  # noqa: E402
import symbols  # noqa: E402
sys.path.remove(str(DOCS))


# ---- symbols to describe ---------------------------------------------------------------------------------------------

def look(path: "str | pathlib.Path",  # the file | its name
         *rest,
         hook=print,  # called with each frame
         at: float = 1.5,  # seconds, see `Film`
         mark=object(),
         ) -> list:  # what was seen
    "Looks at a file."


class Film:
    "A film."
    def __init__(self, path): self.path = path  # where it is
    @property
    def seconds(self) -> float: "Its length."
    def cut(self, a, b): "Cuts it."
    @classmethod
    def open(cls, path): "Opens one."
    @staticmethod
    def codecs(): "All codecs."
    def silent(self): pass
    def _private(self): "Not for all."


@dataclass
class Config:
    lr: float = 0.1  # step size
    names: list = field(default_factory=list)


class Span(NamedTuple):
    "From, to."
    start: float  # seconds
    end: float = 1.0


class Broken(Exception): "A broken film."


def args_of(described): return {name: (type_, default, comment) for name, type_, default, comment in described["args"]}


def test_function():
    d = symbols.describe(look, "look")
    assert (d["kind"], d["doc"], d["returns"], d["returns_comment"]) == ("function", "Looks at a file.", "list", "what was seen")
    assert d["signature"] == "(path, *rest, hook=print, at=1.5, mark=...)"  # no address of an object: pages must not differ
    assert args_of(d) == {"path": ("str | Path", "", "the file | its name"), "*rest": ("", "", ""),
                          "hook": ("", "print", "called with each frame"), "at": ("float", "1.5", "seconds, see `Film`"), "mark": ("", "...", "")}


def test_class():
    d = symbols.describe(Film, "Film")
    assert (d["kind"], d["doc"], d["signature"], d["returns"]) == ("class", "A film.", "(path)", "")
    assert [(m["name"], m["kind"], m["signature"]) for m in d["members"]] == [  # in order; none that is private or has no docstring
        ("Film.seconds", "property", ""), ("Film.cut", "method", "(a, b)"), ("Film.open", "classmethod", "(path)"),
        ("Film.codecs", "staticmethod", "()")]
    assert d["members"][0]["returns"] == "float"
    found = symbols.find_symbol(sys.modules[__name__], "Film.open")
    assert symbols.describe(found, "Film.open") == d["members"][2]


def test_data_classes_and_errors():
    d = symbols.describe(Config, "Config")
    assert d["doc"] == "" and args_of(d) == {"lr": ("float", "0.1", "step size"), "names": ("list", "...", "")}
    d = symbols.describe(Span, "Span")
    assert d["doc"] == "From, to." and args_of(d) == {"start": ("float", "", "seconds"), "end": ("float", "1.0", "")}
    assert symbols.describe(Broken, "Broken")["kind"] == "exception"


# ---- links -----------------------------------------------------------------------------------------------------------

LINKS = symbols.Links("lib", ["film", "train"], [("film", "Film"), ("film", "Film.cut"), ("film", "main"), ("train", "main")])


@pytest.mark.parametrize("text, linked", [
    ("a `Film` b", "a {py:obj}`Film <lib.film.Film>` b"),
    ("`Film.cut()`", "{py:obj}`Film.cut() <lib.film.Film.cut>`"),
    ("`film.Film`, `lib.film`", "{py:obj}`film.Film <lib.film.Film>`, {py:obj}`lib.film <lib.film>`"),
    ("`train.main`", "{py:obj}`train.main <lib.train.main>`"),
    ("`main`", "`main`"),  # of two modules: no guess
    ("`first` and `Film cut`", "`first` and `Film cut`"),
    ("[`Film`](https://x.org)", "[`Film`](https://x.org)"),
    ("# The `Film`\n`Film`", "# The `Film`\n{py:obj}`Film <lib.film.Film>`"),
    ("```python\n`Film`\n```\n`Film`", "```python\n`Film`\n```\n{py:obj}`Film <lib.film.Film>`"),
    ("`` `Film` ``", "`` `Film` ``"),
])
def test_links(text, linked): assert LINKS(text) == linked


def test_links_prefer_the_own_module(): assert LINKS("`main`", "train") == "{py:obj}`main <lib.train.main>`"


# ---- a symbol as a directive -----------------------------------------------------------------------------------------

def test_symbol_page():
    text = symbols.symbol_page(symbols.describe(look, "look"), "film", "lib", LINKS)
    signature = "look(path, *rest, hook=print, at=1.5, mark=...) -> list"
    assert text.startswith("``````{py:function} " + signature + "\n:module: lib.film\n\nLooks at a file.")
    assert "| Argument | Type | Meaning |" in text
    assert "| `path` | `str \\| Path` | the file \\| its name |" in text  # a bar would end the table's cell
    assert "| `at` | `float` | seconds, see {py:obj}`Film <lib.film.Film>` |" in text
    assert "| *returns* | `list` | what was seen |" in text


def test_symbol_page_of_a_class():
    film = symbols.describe(Film, "Film")
    text = symbols.symbol_page(film, "film", "lib", LINKS)
    assert "`````{py:property} Film.seconds\n:module: lib.film\n:type: float" in text and "{py:method} Film.cut(a, b)" in text
    assert ":no-index:" not in text
    text = symbols.symbol_page(film, "film", "lib", LINKS, skip={"Film.cut"})
    assert "Film.cut" not in text and "Film.open" in text
    assert ":no-index:" in symbols.symbol_page(film, "film", "lib", LINKS, skip={"Film"})


def test_symbol_page_with_many_arguments():
    many = {**symbols.describe(Config, "Config"), "args": [(f"x{i}", "int", str(i), "a number") for i in range(13)]}
    text = symbols.symbol_page(many, "film", "lib", LINKS)
    assert "{py:class} Config(...)\n" in text and "| `x12` | `int` | `12` | a number |" in text


# ---- callouts and cell options ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, admonition", [
    ('::: {.callout-note title="Hear"}\nBody.\n:::', ":::{admonition} Hear\n:class: note\n\nBody.\n:::"),
    (":::{.callout-warning}\n\n## Look out\nBody.\n:::", ":::{admonition} Look out\n:class: warning\n\nBody.\n:::"),
    ("::::{.callout-tip}\nBody.\n::::", "::::{admonition} Tip\n:class: tip\n\nBody.\n::::"),
    ('::: {.callout-caution collapse="true"}\nBody.\n:::', ":::{admonition} Caution\n:class: caution\n:collapsible: closed\n\nBody.\n:::"),
])
def test_callouts(text, admonition): assert build.callouts(text, "here") == admonition


def test_other_blocks_are_refused():
    with pytest.raises(build.DocsError, match=r"01_x.ipynb, cell 7: .*\{\.panel-tabset\}.*callout"):
        build.callouts("::: {.panel-tabset}\nBody.\n:::", "01_x.ipynb, cell 7")


def code(source, *outputs, id="a"):
    return {"cell_type": "code", "id": id, "source": source, "outputs": list(outputs), "metadata": {}, "execution_count": None}


def text(source, cell_type="markdown"): return {"cell_type": cell_type, "id": "t", "source": source, "metadata": {}}


OUT, ERR = ({"output_type": "stream", "name": name, "text": name} for name in ("stdout", "stderr"))


@pytest.mark.parametrize("option, tags, mystnb", [
    ("#| echo: false", ["remove-input"], {}), ("#|output: false", ["remove-output"], {}), ("#| include: false", ["remove-cell"], {}),
    ('#| code-fold: true\n#| code-summary: "Draw"', ["hide-input"], {"code_prompt_show": "Draw"}), ("#| code-fold: show", [], {}),
    ("#| fig-cap: 'A: b'\n#| fig-alt: c", [], {"figure": {"caption": "A: b"}, "image": {"alt": "c"}}), ("#| eval: false", [], {}),
])
def test_cell_options(option, tags, mystnb):
    cell = build.code_cell(code(f"{option}\nx = 1\n#| echo: this is code\n", OUT), "here")
    assert cell["source"] == "x = 1\n#| echo: this is code" and cell["outputs"] == [OUT]
    assert cell["metadata"] == {"tags": tags, "mystnb": mystnb}


def test_cell_warnings_and_unknown_options():
    assert build.code_cell(code("#| warning: false\nx", OUT, ERR), "here")["outputs"] == [OUT]
    with pytest.raises(build.DocsError, match=r"here: .*'#\| fig-width: 3'"): build.code_cell(code("#| fig-width: 3\nx"), "here")


# ---- pages -----------------------------------------------------------------------------------------------------------

def page(*cells, module="film", shown=None):
    nb = {"cells": list(cells)}
    return build.page(nb, Path("01_film.ipynb"), "lib", LINKS, module, shown or {}, "https://x.org/nbs")["cells"]


def test_title():
    first = page(text("# Films\n\n> Look at\n> a `Film`\n\nMore prose."))[0]["source"]
    assert first.startswith("# Films\n\n```{py:module} lib.film\n")
    assert "{.summary}\nLook at a {py:obj}`Film <lib.film.Film>`\n\n" in first and first.endswith("\n\nMore prose.")
    assert "[01_film.ipynb](https://x.org/nbs/01_film.ipynb)" in first
    front = page(text("---\ntitle: Films\ndescription: Look\n---", "raw"), text("# Not the title"), module=None)
    assert front[0]["source"].startswith("# Films\n") and "{.summary}\nLook" in front[0]["source"] and "py:module" not in front[0]["source"]
    assert front[1]["source"] == "# Not the title"


@pytest.mark.parametrize("cells", [[], [text("No title.")], [text("No title."), text("# Too late")]])
def test_title_is_asked_for(cells):
    with pytest.raises(build.DocsError, match="01_film.ipynb has no title"): page(*cells)


@pytest.mark.parametrize("link, there", [
    ("02_train.ipynb", "train.ipynb"), ("../06a_resnet.html#Stem-and-head", "../resnet.ipynb#stem-and-head"),
    ("tutorials/01_first.ipynb", "tutorials/first.ipynb"), ("https://x.org/01_a.html", "https://x.org/01_a.html"), ("#here", "#here")])
def test_links_between_pages(link, there): assert page(text("# T"), text(f"See [x]({link})."))[1]["source"] == f"See [x]({there})."


def test_symbols_take_the_place_of_show_doc():
    film, cut = symbols.describe(Film, "Film"), symbols.describe(Film.cut, "Film.cut")
    show = lambda name: code(f"#| echo: false\n#| output: asis\nshow_doc({name})", OUT)
    cells = page(text("# T"), show("Film"), code("1 + 1", OUT), show("Film.cut"), show("Film"), code("#| echo: false\n"),
                 shown={"Film": film, "Film.cut": cut})
    assert [c["cell_type"] for c in cells] == ["markdown", "markdown", "code", "markdown", "markdown"]  # the empty cell is gone
    assert "{py:class} Film(path)" in cells[1]["source"] and "show_doc" not in cells[1]["source"]
    assert "Film.cut" not in cells[1]["source"] and "{py:method} Film.cut(a, b)" in cells[3]["source"]  # shown on its own below
    assert ":no-index:" in cells[4]["source"] and "Film.open" not in cells[4]["source"]  # the second time: no second label
    assert [c["id"] for c in cells] == ["c0", "c1", "c2", "c3", "c4"]  # nbdev's are random


def test_contents():
    names = "index 10_b 06a_r 06_m design tutorials/02_b tutorials/01_a"
    paths = [Path(f"{name}.ipynb") for name in names.split()]
    assert re.findall(r":caption: (\w+)|^([a-z/]+)$", build.contents(paths), re.M) == [
        ("Tutorials", ""), ("", "tutorials/a"), ("", "tutorials/b"), ("Library", ""), ("", "m"), ("", "r"), ("", "b"),
        ("Background", ""), ("", "design")]


# ---- a whole site ----------------------------------------------------------------------------------------------------

HOME = [text("# Home\n\n> One line\n\n`look`, [films](01_film.ipynb), ![a dot](images/dot.svg), $x^2$")]
FILM = [code("#| default_exp film"), text("# Films\n\n> Look at them"), code("#| hide\nsecret = 1"),
        code('#| export\ndef look(\n    path, # the file\n): # seen\n    "Looks."\n    return path'),
        code("look(1)", {"output_type": "execute_result", "data": {"text/html": "<b>seen</b>"}, "metadata": {}, "execution_count": 1})]


def write(path, cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{**c, "id": f"c{i}"} for i, c in enumerate(cells)]
    metadata = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1))


@pytest.fixture
def project(tmp_path):
    "A project of two notebooks, with the library's own settings and documentation tools."
    settings = (DOCS.parent / "settings.ini").read_text()
    (tmp_path / "settings.ini").write_text(re.sub(r"(?m)^lib_(name|path) = .*", r"lib_\1 = toylib", settings))
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("pages", "_build", "__pycache__"))
    write(tmp_path / "nbs/index.ipynb", HOME)
    write(tmp_path / "nbs/01_film.ipynb", FILM)
    (tmp_path / "nbs/images").mkdir()
    (tmp_path / "nbs/images/dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>')
    (tmp_path / "toylib").mkdir()
    (tmp_path / "toylib/__init__.py").touch()
    (tmp_path / "toylib/film.py").write_text(
        '# made by nbdev\n\ndef look(\n    path, # the file\n): # seen\n    "Looks."\n    return path\n')
    return tmp_path


def run(project): return subprocess.run([sys.executable, "docs/build.py"], cwd=project, capture_output=True, text=True)


def files(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_site(project):
    before = {p: (project / p).read_bytes() for p in files(project)}
    done = run(project)
    assert done.returncode == 0, done.stderr
    film, home = ((project / "_docs" / name).read_text() for name in ("film.html", "index.html"))
    assert 'id="toylib.film.look"' in film and "the file" in film and "<b>seen</b>" in film
    assert "secret" not in film and "show_doc" not in film
    assert re.search(r'href="https://[^"]*/blob/main/toylib/film.py#L3"', film)  # the source link, with its line
    assert 'href="film.html#toylib.film.look"' in home and (project / "_docs/_images/dot.svg").exists()
    assert "<msup>" in home and not re.search(r"(?:src=|stylesheet)[^>]*https?:", home)  # a formula, and nothing fetched from elsewhere
    ignored = re.compile(r"(_proc|_docs|docs/pages|docs/_build)/|.*__pycache__/")
    assert before == {p: (project / p).read_bytes() for p in files(project) if not ignored.match(p)}  # git would see no change

    shutil.copytree(project / "_docs", project / "first")
    assert run(project).returncode == 0
    assert files(project / "_docs") == files(project / "first")
    assert filecmp.cmpfiles(project / "_docs", project / "first", files(project / "first"), shallow=False)[1:] == ([], [])


def test_site_with_mistakes(project):
    write(project / "nbs/index.ipynb", [*HOME, text("[gone](02_gone.ipynb)"), text(r"$\nonsense$")])
    done = run(project)
    assert done.returncode == 1 and "docs: Sphinx finds fault" in done.stderr and not (project / "_docs").exists()
    assert "gone.ipynb" in done.stderr and r"formula \nonsense" in done.stderr


@pytest.fixture
def proc(tmp_path):
    "What nbdev would leave of two notebooks, beside its sources."
    def make(**books):
        for folder in ("nbs", "proc"): [write(tmp_path / folder / f"{name}.ipynb", cells) for name, cells in books.items()]
        return tmp_path / "proc", tmp_path / "nbs", tmp_path / "pages", "lib", "https://x.org"
    return make


@pytest.mark.parametrize("books, says", [
    ({"01_film": [text("# T")]}, "index.ipynb, the home page, is missing"),
    ({"index": HOME, "01_film": [text("# T")], "02_film": [text("# T")]}, "01_film.ipynb and 02_film.ipynb would be the same page"),
    ({"index": HOME, "01_film": [code("show_doc(look)")]}, "01_film.ipynb shows look, but has no '#| default_exp'"),
    ({"index": HOME, "01_film": [code("#| default_exp nothing"), code("show_doc(look)")]}, "Has nbdev_export been run?"),
])
def test_what_cannot_be_converted(proc, books, says):
    with pytest.raises(build.DocsError, match=re.escape(says)): build.convert(*proc(**books))
