"""Builds the documentation site from the notebooks: `python docs/build.py`, or `make docs`.

    nbs/*.ipynb ─ nbdev proc_nbs ─> _proc/ ─ page() ─> docs/pages/*.ipynb ─ Sphinx, myst-nb, furo ─> _docs/

nbdev drops the hidden cells and puts a `show_doc` in the place of every exported definition; `page` writes what is left in MyST,
the Markdown of Sphinx, with what it finds in the imported package for each `show_doc`; Sphinx draws the stored outputs (no cell is
executed) and takes every warning for an error. All three folders are made afresh, and git ignores them.
"""
import importlib, json, os, re, shutil, sys
from configparser import ConfigParser
from pathlib import Path

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
            raise DocsError(f"{where}: '{fence} {{{attrs}}}' is not shown by the site; of Quarto's blocks only .callout-{{{','.join(CALLOUTS)}}} are.")
        title = re.search(r'title="([^"]*)"', attrs)
        heading = title[1] if title else m[3].lstrip("# ").strip() if m[3] else kind[1].capitalize()
        folded = re.search(r'collapse="?(true|false)', attrs)
        state = f":collapsible: {'closed' if folded[1] == 'true' else 'open'}\n" if folded else ""
        return f"{fence}{{admonition}} {heading}\n:class: {kind[1]}\n{state}\n" + (m[3] if title and m[3] else "")
    return re.sub(r"^(:{3,}) *\{([^}\n]*)\}[ \t]*\n(?:\s*(#+ [^\n]*\n))?", admonition, text, flags=re.M)


def cell_options(cell, where):
    "Turns Quarto's `#| option: value` lines, which nbdev leaves in place, into myst-nb's tags."
    known = {"echo: false": "remove-input", "output: false": "remove-output", "include: false": "remove-cell", "code-fold: true": "hide-input"}
    tags, mystnb, warn, kept = [], {}, True, []
    for line in cell["source"].splitlines():
        m = re.match(r"#\| *([\w-]+): *(.*?) *$", line)
        if not m or "".join(kept).strip(): kept.append(line); continue
        key, value = m[1], m[2].strip("\"'")
        if f"{key}: {value}" in known: tags.append(known[f"{key}: {value}"])
        elif key == "code-summary": mystnb["code_prompt_show"] = value
        elif key == "fig-cap": mystnb.setdefault("figure", {})["caption"] = value
        elif key == "fig-alt": mystnb.setdefault("image", {})["alt"] = value
        elif key == "warning": warn = value != "false"
        elif (key, value) not in {("echo", "true"), ("output", "true"), ("output", "asis"), ("code-fold", "show"), ("code-fold", "false"), ("include", "true")} \
                and key not in ("eval", "label"): raise DocsError(f"{where}: the site does not know the option '#| {key}: {value}'.")
    cell["source"] = "\n".join(kept).strip("\n")
    cell["metadata"] = {**({"tags": tags} if tags else {}), **({"mystnb": mystnb} if mystnb else {})}
    if not warn: cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]


def page_name(path):
    "`tutorials/01_first_run.ipynb` is read at `tutorials/first_run`."
    return (path.parent / PAGE_NUMBER.sub("", path.stem.lower())).as_posix()


def shown_name(cell):
    "The symbol that a `show_doc(Video.clip)` cell shows; None for other cells."
    m = re.search(r"^show_doc\(([\w.]+)", "".join(cell["source"]), re.M) if cell["cell_type"] == "code" else None
    return m and m[1]


def page(nb, path, lib, links, module=None, symbols={}, source_url=None):
    """A processed notebook as a myst-nb page: title, summary, prose, symbols, examples with their stored outputs.
    `symbols` holds the description of each that it shows."""
    seen, cells, title = set(), [], False
    for cell in nb["cells"]:
        where, source = f"{path}, cell {cell.get('id', '?')}", "".join(cell["source"])
        if name := shown_name(cell):
            skip = (symbols.keys() - {name}) | seen  # methods that are shown on their own further down; definitions shown again
            source, seen = symbol_page(symbols[name], module, lib, links, skip), seen | {name}
            cell = {"cell_type": "markdown", "source": source}
        elif cell["cell_type"] == "code":
            cell = {**cell, "source": source}
            cell_options(cell, where)
            if not cell["source"].strip() and not cell["outputs"]: continue
        else:
            front = re.match(r"---\n(.*?)\n---\s*$", source, re.S) if cell["cell_type"] == "raw" else None
            if front:
                import yaml
                front = yaml.safe_load(front[1])
                source = f"# {front['title']}\n\n" + (f"> {front['description']}" if "description" in front else "")
            elif cell["cell_type"] == "raw": continue
            if not title and (m := re.match(r"\s*# +([^\n]+)\n*((?:>[^\n]*(?:\n|$))*)(.*)", source, re.S)):
                title, summary = True, " ".join(line.lstrip("> ") for line in m[2].splitlines())
                origin = f"`{lib}.{module}` · " if module else ""
                source = (f"# {m[1]}\n\n" + (f"{{.summary}}\n{summary}\n\n" if summary else "")
                          + (f"{{.origin}}\n{origin}[{path.as_posix()}]({source_url})\n\n" if source_url else "") + m[3])
            source = re.sub(r"\]\((?!\w+:)([^)#\s]+)\.(?:ipynb|html)(#[^)\s]*)?\)",
                            lambda m: f"]({page_name(Path(m[1] + '.ipynb'))}.ipynb{(m[2] or '').lower()})", source)
            cell = {**cell, "cell_type": "markdown", "source": links(callouts(source, where), module), "metadata": {}}
        cells.append({"metadata": {}, **cell, "id": f"c{len(cells)}"})
    if not title: raise DocsError(f"{path} has no title: let its first Markdown cell begin with '# Title' and '> one line'.")
    # Notebooks are stored without this entry, by which myst-nb chooses how to colour the code.
    return {"cells": cells, "metadata": {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}, "nbformat": 4, "nbformat_minor": 5}


def contents(paths):
    "The site's tables of contents, as Markdown for the home page: tutorials, modules by number, then the pages without one."
    numbered = lambda p: bool(PAGE_NUMBER.match(p.name))
    groups = {"Tutorials": [p for p in paths if p.parent.name], "Library": [p for p in paths if not p.parent.name and numbered(p)],
              "Background": [p for p in paths if not p.parent.name and not numbered(p) and p.stem != "index"]}
    return "\n\n".join("\n".join(["```{toctree}", ":hidden:", ":maxdepth: 1", f":caption: {name}", "", *map(page_name, sorted(ps)), "```"])
                       for name, ps in groups.items() if ps)


def convert(proc, nbs, pages, lib, source_url):
    "Converts every processed notebook in `proc` (made from those in `nbs`) and copies the pictures beside them."
    shutil.rmtree(pages, ignore_errors=True)
    files = sorted(p.relative_to(proc) for p in proc.rglob("*") if p.is_file() and not p.name.startswith((".", "_")))
    books = {p: json.loads((proc / p).read_text(encoding="utf-8")) for p in files if p.suffix == ".ipynb"}
    if Path("index.ipynb") not in books: raise DocsError(f"{nbs}/index.ipynb, the home page, is missing.")
    names, modules, symbols = {}, {}, {}
    for p, nb in books.items():
        if (other := names.setdefault(page_name(p), p)) != p: raise DocsError(f"{other} and {p} would be the same page: rename one.")
        exp = re.search(r'^ *"#\| *default_exp +([\w.]+)', (nbs / p).read_text(encoding="utf-8"), re.M)
        modules[p], shown, symbols[p] = exp and exp[1], list(filter(None, map(shown_name, nb["cells"]))), {}
        if shown and not exp: raise DocsError(f"{p} shows {shown[0]}, but has no '#| default_exp' that says which module it is in.")
        for name in shown:
            try: symbols[p][name] = describe(find_symbol(importlib.import_module(f"{lib}.{modules[p]}"), name), name)
            except (ImportError, AttributeError) as e: raise DocsError(f"{p} shows {name}, which is not to be had: {e}. Is it exported (nbdev_export)?") from e
    links = Links(lib, [(modules[p], s["name"]) for p, shown in symbols.items() for top in shown.values() for s in (top, *top["members"])])
    books[Path("index.ipynb")]["cells"].append({"cell_type": "markdown", "source": contents(books)})
    for p in files:
        target = pages / (page_name(p) + ".ipynb" if p in books else p)
        target.parent.mkdir(parents=True, exist_ok=True)
        if p in books:
            target.write_text(json.dumps(page(books[p], p, lib, links, modules[p], symbols[p], f"{source_url}/{p.as_posix()}"), indent=1), encoding="utf-8")
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
    shutil.rmtree(out, ignore_errors=True)
    status = build_main(["-q", "-W", "--keep-going", "-E", "-b", "html", "-c", "docs", "-d", "docs/_build/doctrees", str(pages), str(out)])
    print(f"docs: Sphinx found mistakes in {pages}/ (see above)" if status else f"docs: {out}/index.html", file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__": sys.exit(main())
