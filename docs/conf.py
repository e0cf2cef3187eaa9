"Sphinx's settings; the pages themselves are made by build.py."
import ast
from configparser import ConfigParser
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

root = Path(__file__).resolve().parent.parent
ini = ConfigParser(delimiters=["="])
ini.read(root / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

project, author, version = cfg["lib_name"], cfg["author"], cfg["version"]
project_copyright = cfg["copyright"]
extensions = ["myst_nb", "sphinx.ext.linkcode"]

nb_execution_mode = "off"  # the outputs shown are those stored in the notebooks
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "attrs_block", "attrs_inline", "dollarmath", "html_image", "deflist"]
myst_heading_anchors = 4
smartquotes = False  # quotes here are mostly code
toc_object_entries_show_parents = "hide"
add_module_names = False
python_maximum_signature_line_length = 84  # longer ones: an argument a line

html_math_renderer = "mathml"  # see setup: formulas that need no script from elsewhere
html_theme = "furo"
html_title = cfg["lib_name"]
html_baseurl = f"{cfg['doc_host']}{cfg['doc_baseurl']}/"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "source_repository": cfg["git_url"], "source_branch": cfg["branch"], "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#0b6e6e", "color-brand-content": "#0b6e6e"},
    "dark_css_variables": {"color-brand-primary": "#5cc8c2", "color-brand-content": "#5cc8c2"},
    "footer_icons": [],
}


def first_line(path, name):
    "The line on which `name`, such as `Video.clip`, is defined in a file of the package."
    body, line = ast.parse(path.read_text(encoding="utf-8")).body, None
    for part in name.split("."):
        node = next((n for n in body if getattr(n, "name", None) == part), None)
        if node is None: return line
        body, line = getattr(node, "body", []), node.lineno
    return line


def linkcode_resolve(domain, info):
    "The [source] link beside each signature."
    path = root / (info["module"].replace(".", "/") + ".py")
    line = first_line(path, info["fullname"]) if path.exists() else None
    return line and f"{cfg['git_url']}/blob/{cfg['branch']}/{path.relative_to(root).as_posix()}#L{line}"


def show_math(writer, node):
    "LaTeX as MathML, which browsers draw by themselves."
    block = isinstance(node, nodes.math_block)
    try: formula = latex2mathml.tex2mathml(node.astext(), as_block=block)
    except MathError as e:
        logging.getLogger(__name__).warning("formula %s: %s", node.astext(), e, location=node)
        raise nodes.SkipNode from e
    writer.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app): app.add_html_math_renderer("mathml", (show_math, None), (show_math, None))
