#!/usr/bin/env python3
"""Holds the chart's values, their schema, their table in README.md and the templates together.

  values.py CHART           tells what differs
  values.py CHART --write   writes the table first

Every value has a comment, which becomes its row. Every value is used by a template, every used one is
documented, and the schema knows the same names.
"""
import json
import pathlib
import re
import sys

BEGIN, END = "<!-- values: written by `make chart` -->\n", "<!-- end of values -->\n"
LINE = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(?: (.*))?$")


def main():
    chart = pathlib.Path(sys.argv[1])
    values = documented((chart / "values.yaml").read_text())
    wrong = [f"{path}: no comment above it" for path, value in values.items() if not value["comment"]]
    wrong += against_templates(chart, values)
    wrong += against_schema(json.loads((chart / "values.schema.json").read_text()), values)
    readme = chart / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    whole = before + BEGIN + table(values) + END + rest.split(END)[1]
    if "--write" in sys.argv:
        readme.write_text(whole)
    elif whole != text:
        wrong.append('README.md: the table of values is not what values.yaml says: run "make chart"')
    for line in wrong:
        print(f"{chart.name}: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def documented(text):
    """Path of each value that people set → its comment and default. A map whose own line has a
    comment, or whose children have none, is one value."""
    entries, stack, comment = {}, [], []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        found = LINE.match(line)
        if not found:
            comment = []
            continue
        indent, key, value = len(found[1]), found[2], (found[3] or "").strip()
        while stack and stack[-1][0] >= indent:
            stack.pop()
        path = ".".join([name for _, name in stack] + [key])
        stack.append((indent, key))
        entries[path] = {"comment": " ".join(comment), "default": value, "line": line}
        comment = []
    leaves = {}
    for path, entry in entries.items():
        above = path.rsplit(".", 1)[0] if "." in path else None
        if above in leaves:
            if leaves[above]:
                leaves[above]["default"] = "see values.yaml"
            leaves[path] = None   # belongs to the map above it
            continue
        is_map = any(other.startswith(path + ".") for other in entries)
        commented = any(other.startswith(path + ".") and entries[other]["comment"] for other in entries)
        if not is_map or not commented:
            leaves[path] = entry
    return {path: entry for path, entry in leaves.items() if entry}


def against_templates(chart, values):
    used = set()
    for path in sorted((chart / "templates").rglob("*")):
        if path.is_file():
            text = re.sub(r"\{\{-? */\*.*?\*/ *-?\}\}", "", path.read_text(), flags=re.S)
            used |= set(re.findall(r"\.Values\.([A-Za-z0-9.]*[A-Za-z0-9])", text))
    within = lambda inner, outer: inner == outer or inner.startswith(outer + ".")
    for path in values:
        if not any(within(path, use) or within(use, path) for use in used):
            yield f"{path}: documented, and no template uses it"
    for use in sorted(used):
        if not any(within(use, path) or within(path, use) for path in values):
            yield f"{use}: used by a template, and not in values.yaml"


def against_schema(schema, values):
    """The schema has a description of every value, allows no other, and says so at every level."""
    def walk(node, path):
        properties = node.get("properties")
        if properties is None or path in values:
            yield path
            return
        if node.get("additionalProperties") is not False and path != "global":
            unknown.append(f"values.schema.json: {path or 'the root'} allows unknown values")
        for key, child in properties.items():
            if key in ("enabled", "global") and not path and not child.get("properties"):
                continue
            yield from walk(child, f"{path}.{key}".lstrip("."))

    unknown = []
    known = set(walk(schema, ""))
    for path in sorted(set(values) - known):
        unknown.append(f"values.schema.json: {path} is missing")
    for path in sorted(known - set(values)):
        unknown.append(f"values.schema.json: {path} is not in values.yaml")
    return unknown


def table(values):
    cell = lambda text: text.replace("|", "\\|")
    rows = [f"| `{path}` | {default(entry['default'])} | {cell(entry['comment'])} |" for path, entry in values.items()]
    return "\n".join(["| value | default | what it is |", "|---|---|---|", *rows]) + "\n"


def default(text):
    if text == "see values.yaml":
        return "see [values.yaml](values.yaml)"
    return "" if text in ('""', "") else f"`{text}`"


main()
