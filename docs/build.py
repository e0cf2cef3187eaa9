"""Builds the documentation site from the notebooks: `python docs/build.py`, or `make docs`.

    nbs/*.ipynb ─ nbdev proc_nbs ─> _proc/ ─ page() ─> docs/pages/*.ipynb ─ Sphinx, myst-nb, furo ─> _docs/

nbdev drops the hidden cells and puts a `show_doc` in the place of every exported definition; `page` writes what is left in MyST,
the Markdown of Sphinx, with what the imported package says of each of these; Sphinx draws the stored outputs (no cell is executed),
and takes every warning for an error. All these folders are made afresh, and git ignores them. A warning's line number is
10000 x the cell's place on its page (docs/pages/) + the line in that cell.
"""
import importlib, json, os, re, shutil, sys
from configparser import ConfigParser
from pathlib import Path

import yaml
from symbols import Links, describe, find_symbol, symbol_page

ROOT = Path(__file__).resolve().parent.parent
PAGE_NUMBER = re.compile(r"^\d+[a-zA-Z0-9]*_")  # 06a_resnet.ipynb becomes resnet.html, as nbdev's own links have it
CALLOUTS = ("note", "tip", "important", "warning", "caution")


class DocsError(Exception):
    "Something in a notebook that the site cannot show; the message says where and what to do."


# ---- from a processed notebook to a page ---------------------------------------------------------------------------

def callouts(text, where):
    "Quarto's callouts as admonitions; any other `:::` block would come out as bare text, so it is an error."
    def admonition(m):
        fence, attrs, kind = m[1], m[2], re.search(r"\.callout-(\w+)", m[2])
        if not kind or kind[1] not in CALLOUTS:
            raise DocsError(f"{where}: the site can't show '{fence} {{{attrs}}}'; "
                            f"of Quarto's blocks it knows .callout-{{{','.join(CALLOUTS)}}}.")
        title = re.search(r'title="([^"]*)"', attrs)
        heading = title[1] if title else m[3].lstrip("# ").strip() if m[3] else kind[1].capitalize()
        folded = re.search(r'collapse="?(true|false)', attrs)
        state = f":collapsible: {'closed' if folded[1] == 'true' else 'open'}\n" if folded else ""
        return f"{fence}{{admonition}} {heading}\n:class: {kind[1]}\n{state}\n" + (m[3] if title and m[3] else "")
    return re.sub(r"^(:{3,}) *\{([^}\n]*)\}[ \t]*\n(?:\s*(#+ [^\n]*\n))?", admonition, text, flags=re.M)


TAGS = {"echo: false": "remove-input", "output: false": "remove-output", "include: false": "remove-cell",
        "code-fold: true": "hide-input"}
NO_TAG = {"echo: true", "output: true", "output: asis", "include: true", "code-fold: false", "code-fold: show", "warning: true"}


def code_cell(cell, where):
    "A code cell with Quarto's `#| option: value` lines, which nbdev leaves in place, as tags and settings of myst-nb."
    *options, source = re.match(r"((?:\s*#\|[^\n]*(?:\n|$))*)(.*)", cell["source"], re.S).groups()
    tags, mystnb, outputs = [], {}, cell["outputs"]
    for key, value in re.findall(r"#\| *([\w-]+): *(.*?) *$", options[0], re.M):
        value = value.strip("\"'")
        if (option := f"{key}: {value}") in TAGS: tags.append(TAGS[option])
        elif key == "code-summary": mystnb["code_prompt_show"] = value
        elif key == "fig-cap": mystnb["figure"] = {"caption": value}
        elif key == "fig-alt": mystnb["image"] = {"alt": value}
        elif option == "warning: false": outputs = [o for o in outputs if o.get("name") != "stderr"]
        elif option not in NO_TAG and key not in ("eval", "label"):
            raise DocsError(f"{where}: the site does not know the option '#| {option}'.")
    return {**cell, "source": source.strip("\n"), "outputs": outputs, "metadata": {"tags": tags, "mystnb": mystnb}}


def page_name(path):
    "`tutorials/01_first_run.ipynb` is read at `tutorials/first_run`; a numbered `03_index` keeps its number, `index` is the home page."
    name = PAGE_NUMBER.sub("", path.stem.lower())
    return (path.parent / (path.stem.lower() if name == "index" else name)).as_posix()


def shown_name(cell):
    "The symbol that a `show_doc(Video.clip)` cell shows; None for other cells."
    m = re.search(r"^show_doc\(([\w.]+)", "".join(cell["source"]), re.M) if cell["cell_type"] == "code" else None
    return m and m[1]


def title_cell(source, path, lib, module, source_url):
    "The first Markdown cell (or Quarto's front matter) as title, summary, a line that tells where the page comes from, and the rest."
    if front := re.match(r"---\n(.*?)\n---\s*$", source, re.S):
        front = yaml.safe_load(front[1])
        source = f"# {front['title']}\n\n> {front.get('description', '')}"
    m = re.match(r"\s*# +([^\n]+)\n*((?:>[^\n]*(?:\n|$))*)(.*)", source, re.S)
    if not m: raise DocsError(f"{path} has no title: let its first Markdown cell begin with '# Title' and '> one line'.")
    title, summary, rest = m[1], " ".join(line.lstrip("> ") for line in m[2].splitlines()), m[3]
    target = f"```{{py:module}} {lib}.{module}\n:no-contents-entry:\n```" if module else ""
    origin = f"{{.origin}}\n" + (f"`{lib}.{module}` · " if module else "") + f"[{path.as_posix()}]({source_url}/{path.as_posix()})"
    summary = f"{{.summary}}\n{summary}" if summary else ""
    return "\n\n".join([f"# {title}", target, summary, origin if path.stem != "index" else "", rest])


def page_link(m):
    "A link to a notebook, or to the page made of it, as a link to the page."
    return f"]({page_name(Path(m[1] + '.ipynb'))}.ipynb{(m[2] or '').lower()})"


def page(nb, path, lib, links, module, symbols, source_url):
    """A processed notebook as a myst-nb page: title, summary, prose, symbols, examples with their stored outputs.
    `symbols` holds the description of each symbol that it shows, by name."""
    cells, seen, title = [], set(), False
    for cell in nb["cells"]:
        cell = {**cell, "source": "".join(cell["source"])}
        where = f"{path}, cell {cell.get('id', '?')}"
        if name := shown_name(cell):
            skip = (symbols.keys() - {name}) | seen  # methods shown on their own further down; definitions shown again
            source = symbol_page(symbols[name], module, lib, links, skip)
            seen |= {name, *(member["name"] for member in symbols[name]["members"])}
        elif cell["cell_type"] == "code":
            if (cell := code_cell(cell, where))["source"] or cell["outputs"]: cells.append(cell)
            continue
        elif cell["cell_type"] == "raw" and title: continue
        else:
            source = cell["source"] if title else title_cell(cell["source"], path, lib, module, source_url)
            title = True
            source = re.sub(r"\]\((?!\w+:)([^)#\s]+)\.(?:ipynb|html)(#[^)\s]*)?\)", page_link, source)
            source = links(callouts(source, where), module)
        cells.append({"cell_type": "markdown", "source": source, "metadata": {}})
    if not title: raise DocsError(f"{path} has no title: let its first Markdown cell begin with '# Title' and '> one line'.")
    for i, cell in enumerate(cells): cell["id"] = f"c{i}"  # nbdev's own cells come with ids made at random
    # Notebooks are stored without this entry, by which myst-nb chooses how to colour the code.
    metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def contents(paths):
    "The site's tables of contents, as Markdown for the home page: tutorials, modules by number, then the pages without one."
    numbered = lambda p: bool(PAGE_NUMBER.match(p.name))
    groups = {"Tutorials": [p for p in paths if p.parent.name], "Library": [p for p in paths if not p.parent.name and numbered(p)],
              "Background": [p for p in paths if not p.parent.name and not numbered(p) and p.stem != "index"]}
    return "\n\n".join("\n".join(["```{toctree}", ":hidden:", ":maxdepth: 1", f":caption: {name}", "", *map(page_name, sorted(ps)), "```"])
                       for name, ps in groups.items() if ps)


def module_of(nb):
    "The module that a notebook, not yet processed, is exported to; None for one that is only read."
    sources = ("".join(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code")
    return next((m[1] for m in map(re.compile(r"^#\| *default_exp +([\w.]+)", re.M).search, sources) if m), None)


def shown_symbols(nb, path, lib, module):
    "Descriptions of all symbols that a processed notebook shows, read from the module it is exported to."
    found = {}
    for name in filter(None, map(shown_name, nb["cells"])):
        if not module: raise DocsError(f"{path} shows {name}, but has no '#| default_exp' that says which module it is in.")
        try: found[name] = describe(find_symbol(importlib.import_module(f"{lib}.{module}"), name), name)
        except (ImportError, AttributeError) as e:
            raise DocsError(f"{path} shows {name}, which {lib}.{module} does not give: {e}. Has nbdev_export been run?") from e
    return found


def convert(proc, nbs, pages, lib, source_url):
    "Converts every processed notebook in `proc` (made from those in `nbs`), and copies the pictures beside them."
    shutil.rmtree(pages, ignore_errors=True)
    files = sorted(p.relative_to(proc) for p in proc.rglob("*") if p.is_file() and not p.name.startswith((".", "_")))
    books = {p: json.loads((proc / p).read_text(encoding="utf-8")) for p in files if p.suffix == ".ipynb"}
    if (home := Path("index.ipynb")) not in books: raise DocsError(f"{nbs}/index.ipynb, the home page, is missing.")
    names, modules = {}, {}
    for p in books:
        if (other := names.setdefault(page_name(p), p)) != p: raise DocsError(f"{other} and {p} would be the same page: rename one.")
        modules[p] = module_of(json.loads((nbs / p).read_text(encoding="utf-8")))
    symbols = {p: shown_symbols(nb, p, lib, modules[p]) for p, nb in books.items()}
    links = Links(lib, filter(None, modules.values()), [
        (modules[p], s["name"]) for p in books for top in symbols[p].values() for s in (top, *top["members"])])
    books[home]["cells"].append({"cell_type": "markdown", "source": contents(books)})
    for p in files:
        target = pages / (page_name(p) + ".ipynb" if p in books else p)
        target.parent.mkdir(parents=True, exist_ok=True)
        if p in books:
            text = json.dumps(page(books[p], p, lib, links, modules[p], symbols[p], source_url), indent=1)
            target.write_text(text, encoding="utf-8")
        elif p.suffix not in (".md", ".qmd", ".py", ".yml"): shutil.copy(proc / p, target)


# ---- all of it -----------------------------------------------------------------------------------------------------

def process():
    "nbdev's part, without the steps that are better done here; in this process, so that it takes no start of another."
    import nbdev.config, nbdev.serve
    nbdev.config.get_config().d["skip_procs"] = "FrontmatterProc,insert_warning,exec_show_docs,add_links"
    return nbdev.serve.proc_nbs(n_workers=0, force=True)


def main():
    "Builds the site; returns the exit status."
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))  # the notebooks import the package, which need not be installed
    ini = ConfigParser(delimiters=["="])
    ini.read("settings.ini", encoding="utf-8")
    cfg = ini["DEFAULT"]
    nbs, pages, out = Path(cfg["nbs_path"]), Path("docs/pages"), Path(cfg["doc_path"])
    try: convert(process(), nbs, pages, cfg["lib_name"], f"{cfg['git_url']}/blob/{cfg['branch']}/{nbs.as_posix()}")
    except DocsError as e:
        print(f"docs: {e}", file=sys.stderr)
        return 1
    from sphinx.cmd.build import build_main
    work = Path("docs/_build")  # myst-nb also writes beside the site, where git would see it: so the site is built here, then moved
    shutil.rmtree(work, ignore_errors=True)
    status = build_main(["-q", "-W", "--keep-going", "-c", "docs", "-d", str(work / "doctrees"), str(pages), str(work / "html")])
    if not status:
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(work / "html", out)
    if status: print(f"docs: Sphinx finds fault with pages in {pages}/, see above", file=sys.stderr)
    else: print(f"docs: {out}/index.html")
    return status


if __name__ == "__main__": sys.exit(main())
