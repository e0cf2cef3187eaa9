"""What the site says of a function, class or property: read from the imported object, written as a `py:` directive of Sphinx.

nbdev's own `show_doc` is not run: its text holds the argument comments inside the signature, hard to read and harder to convert.
"""
import ast, inspect, re


def type_name(anno):
    "An annotation as one reads it: without quotes, and without the modules its names come from."
    if anno is inspect.Parameter.empty: return ""
    anno = getattr(anno, "__origin__", anno) if hasattr(anno, "__metadata__") else anno  # Annotated: what it says besides is for programs
    text = getattr(anno, "__forward_arg__", None) or inspect.formatannotation(anno).strip("'\"")
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text)


class _Code(str):
    "A piece of source that a signature prints as it is."
    def __repr__(self): return str(self)


def default_code(value):
    "A default value as code: functions and classes by name, `...` for what is long or can't be written (`<object at 0x7f…>`)."
    text = value.__name__ if inspect.isroutine(value) or inspect.isclass(value) else repr(value)
    try: ast.parse(text, mode="eval")
    except (SyntaxError, ValueError): return _Code("...")
    return _Code(text if len(text) <= 60 else "...")


def describe(sym, name):
    "A function, class, method or property as plain data; `name` is the one it is shown by, such as `Video.clip`."
    from fastcore.docments import docments
    is_class, is_property = inspect.isclass(sym), isinstance(sym, property)
    obj = sym.fget if is_property else inspect.unwrap(getattr(sym, "__func__", sym))
    bound = "staticmethod" if isinstance(sym, staticmethod) else "classmethod" if isinstance(sym, classmethod) else "method"
    kind = ("property" if is_property else bound if "." in name and not is_class else "function" if not is_class
            else "exception" if issubclass(sym, BaseException) else "class")
    doc = (vars(sym).get("__doc__") if is_class else obj.__doc__) or ""
    if is_class and doc.startswith(sym.__name__ + "("): doc = ""  # written by dataclass or NamedTuple: the signature again
    try: sig = inspect.signature(sym if is_class else obj)
    except (ValueError, TypeError): sig = inspect.Signature()
    if is_class and issubclass(sym, tuple):  # a named tuple, whose fields docments does not read
        comments = dict(re.findall(r"^ +(\w+) *:[^#\n]*# *(.+)$", inspect.getsource(sym), re.M))
    else: comments = docments(obj)
    params = [p for i, p in enumerate(sig.parameters.values()) if i or is_class or p.name not in ("self", "cls")]
    params = [p.replace(default=p.empty if p.default is p.empty else default_code(p.default)) for p in params]
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    members = [describe(m, f"{name}.{k}") for k, m in vars(sym).items() if not k.startswith("_")
               and (isinstance(m, (property, staticmethod, classmethod)) or inspect.isfunction(m))] if is_class else []
    return {"name": name, "kind": kind, "doc": inspect.cleandoc(doc),
            "signature": "" if is_property else str(inspect.Signature([p.replace(annotation=p.empty) for p in params])),
            "args": [(stars.get(p.kind, "") + p.name, type_name(p.annotation), "" if p.default is p.empty else str(p.default),
                      comments.get(p.name) or "") for p in params],
            "returns": "" if is_class or sig.return_annotation is None else type_name(sig.return_annotation),
            "returns_comment": comments.get("return") or "",
            "members": [m for m in members if m["doc"]]}


def find_symbol(module, name):
    "The object behind a dotted name, such as `Video.clip`, in an imported module; methods as they stand in their class."
    obj = module
    for part in name.split("."): obj = inspect.getattr_static(obj, part)
    return obj


class Links:
    "Where each symbol is documented, so that a name in backticks becomes a link, and one that nobody documents does not."
    _code = re.compile(
        r"(^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\2"  # left as they are: blocks of code,
        r"|\[[^\]\n]*\]\([^)\n]*\)|^#[^\n]*|``.+?``)"  # links, headings, quoted backticks
        r"|`([A-Za-z_][\w.]*)(\(\))?`", re.S | re.M)

    def __init__(self, lib, modules, symbols):
        "`symbols` are pairs of a module and a name in it; `probe`, `video.probe` and `vidcls.video.probe` are all understood."
        self.lib, self.names = lib, {f"{lib}.{module}": {f"{lib}.{module}"} for module in modules}
        for module, name in symbols:
            full = f"{lib}.{module}.{name}"
            for alias in (name, f"{module}.{name}", full): self.names.setdefault(alias, set()).add(full)

    def find(self, name, module):
        "The full name of a symbol; of two with one short name, the one of this `module`; without such a one, none."
        found = self.names.get(name, set())
        here = f"{self.lib}.{module}.{name}"
        return here if here in found else next(iter(found)) if len(found) == 1 else None

    def __call__(self, text, module=None):
        def role(m):
            full = self.find(m[3], module) if m[3] else None
            return "{py:obj}" + f"`{m[3]}{m[4] or ''} <{full}>`" if full else m[0]
        return self._code.sub(role, text)


def symbol_page(sym, module, lib, links, skip=(), depth=6):
    "A described symbol as a directive: signature with label and source link, docstring, table of arguments, members not in `skip`."
    cell = lambda text: " ".join(text.split()).replace("|", "\\|")
    code = lambda text: f"`{cell(text)}`" if text else ""
    many = len(sym["args"]) > 12  # then the signature would fill the screen: its defaults go into the table
    fence, is_property = "`" * depth, sym["kind"] == "property"
    arrow = f" -> {sym['returns']}" if sym["returns"] and not is_property else ""
    signature = sym["name"] + ("(...)" if many else sym["signature"]) + arrow
    lines = [f"{fence}{{py:{sym['kind']}}} {signature}", f":module: {lib}.{module}"]
    if is_property and sym["returns"]: lines.append(f":type: {sym['returns']}")
    if sym["name"] in skip: lines.append(":no-index:")
    lines += ["", links(sym["doc"], module), ""]
    rows = [(code(name), links(code(type_), module), code(default) if many else "", links(cell(comment), module))
            for name, type_, default, comment in sym["args"]]
    if comment := links(cell(sym["returns_comment"]), module):
        if rows: rows.append(("*returns*", links(code(sym["returns"]), module), "", comment))
        else: lines += [f"*{'Value' if is_property else 'Returns'}*: {comment}", ""]
    columns = [i for i in range(4) if any(row[i] for row in rows)]  # no column of types where nothing has one
    if len(columns) > 1:
        table = [("Argument", "Type", "Default", "Meaning"), ("---",) * 4, *rows]
        lines += ["{.arguments}", *("| " + " | ".join(row[i] for i in columns) + " |" for row in table), ""]
    for member in sym["members"]:
        if member["name"] not in skip: lines += [symbol_page(member, module, lib, links, skip, depth - 1), ""]
    return "\n".join(lines + [fence])
