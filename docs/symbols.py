"""What the site says of a function, class or property: read from the imported object, written as one of Sphinx's `py:` directives.

nbdev's own `show_doc` is not used, as its text holds the argument comments inside the signature: hard to read, harder to convert.
"""
import ast, inspect, re


def type_name(anno):
    "An annotation as one reads it: without quotes, and without the modules its names come from."
    if anno is inspect.Parameter.empty: return ""
    text = getattr(anno, "__forward_arg__", None) or inspect.formatannotation(anno).strip("'\"")
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text)


class _Default:
    "Stands for a default value in a signature; what is not written in Python (`<function f at 0x7f…>`) becomes a name or `...`."
    def __init__(self, value): self.text = value.__name__ if inspect.isroutine(value) or inspect.isclass(value) else repr(value)
    def __repr__(self):
        try: ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError): return "..."
        return self.text if len(self.text) <= 60 else "..."


def describe(sym, name=None):
    "A function, class or property as plain data: kind, signature, docstring, arguments (name, type, comment) and public members."
    from fastcore.docments import docments
    is_class, is_property = inspect.isclass(sym), isinstance(sym, property)
    bound = "staticmethod" if isinstance(sym, staticmethod) else "classmethod" if isinstance(sym, classmethod) or inspect.ismethod(sym) else ""
    obj = sym.fget if is_property else inspect.unwrap(getattr(sym, "__func__", sym))
    name, own_doc = name or obj.__qualname__, (vars(sym).get("__doc__") if is_class else obj.__doc__) or ""
    if own_doc.startswith(obj.__name__ + "("): own_doc = ""  # written by dataclass or NamedTuple: the signature again
    kind = ("property" if is_property else "exception" if is_class and issubclass(sym, BaseException) else "class" if is_class
            else bound or "method" if "." in name else "function")
    try: sig = inspect.signature(sym if is_class else obj)
    except (ValueError, TypeError): sig = inspect.Signature()
    if is_class and issubclass(sym, tuple):  # docments does not read the fields of a named tuple
        comments = {k: {"docment": v} for k, v in re.findall(r"^ +(\w+) *:[^#\n]*# *(.+)$", inspect.getsource(sym), re.M)}
    else: comments = docments(obj, full=True)
    params = [p for i, p in enumerate(sig.parameters.values()) if i or is_class or p.name not in ("self", "cls")]
    comment = lambda key: (comments.get(key) or {}).get("docment") or ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    plain = [p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else _Default(p.default)) for p in params]
    returns = "" if is_class or sig.return_annotation is None else type_name(sig.return_annotation)
    members = [describe(m, f"{name}.{k}") for k, m in vars(sym).items() if not k.startswith("_")
               and (isinstance(m, (property, staticmethod, classmethod)) or inspect.isfunction(m))] if is_class else []
    return {"name": name, "kind": kind, "doc": inspect.cleandoc(own_doc), "returns": returns, "members": [m for m in members if m["doc"]],
            "signature": "" if is_property else str(sig.replace(parameters=plain, return_annotation=sig.empty)),
            "args": [[stars.get(p.kind, "") + p.name, type_name(p.annotation), comment(p.name)] for p in params]
                    + ([["returns", returns, comment("return")]] if comment("return") else [])}


def find_symbol(module, name):
    "The object behind a dotted name, such as `Video.clip`, in an imported module; methods as they stand in their class."
    obj = module
    for part in name.split("."): obj = inspect.getattr_static(obj, part)
    return obj


class Links:
    "Where each symbol is documented, so that a name in backticks becomes a link, and one that nobody documents does not."
    _code = re.compile(r"(^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\2|\[[^\]\n]*\]\([^)\n]*\)|^#[^\n]*|``.+?``)|`([A-Za-z_][\w.]*)(\(\))?`", re.S | re.M)

    def __init__(self, lib, symbols):
        self.lib, self.names = lib, {}
        for module, name in symbols:  # `probe`, `video.probe` and `vidcls.video.probe` are all understood
            for alias in (name, f"{module}.{name}", f"{lib}.{module}.{name}"): self.names.setdefault(alias, set()).add(f"{lib}.{module}.{name}")

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
    "A described symbol as one of Sphinx's `py:` directives: signature with label and source link, docstring, arguments, members."
    cell = lambda text: " ".join(text.split()).replace("|", "\\|")
    code = lambda text: f"`{cell(text)}`" if text else ""
    ticks, arrow = "`" * depth, f" -> {sym['returns']}" if sym["returns"] and sym["kind"] != "property" else ""
    # A signature that the table below repeats in full need not fill the screen first.
    signature = sym["signature"] if len(sym["args"]) <= 24 else "(...)"
    lines = [f"{ticks}{{py:{sym['kind']}}} {sym['name']}{signature}{arrow}", f":module: {lib}.{module}"]
    if sym["kind"] == "property" and sym["returns"]: lines.append(f":type: {sym['returns']}")
    if sym["name"] in skip: lines.append(":no-index:")
    lines += ["", links(sym["doc"], module), ""]
    if any(type_ or text for _, type_, text in sym["args"]):
        rows = [["*returns*" if name == "returns" else code(name), links(code(type_), module), links(cell(text), module)]
                for name, type_, text in sym["args"]]
        columns = [i for i in range(3) if any(row[i] for row in rows)]  # no column of types where nothing has one
        lines += ["{.arguments}"] + ["| " + " | ".join(row[i] for i in columns) + " |" for row in
                  [("Argument", "Type", "Meaning"), ("---",) * 3, *rows]] + [""]
    for member in sym["members"]:
        if member["name"] not in skip: lines += [symbol_page(member, module, lib, links, skip, depth - 1), ""]
    return "\n".join(lines + [ticks])
