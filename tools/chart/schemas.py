#!/usr/bin/env python3
"""Strict JSON schemas for kubeconform from an OpenAPI description: `schemas.py SPEC_FOLDER OUT_FOLDER`."""
import json
import pathlib
import sys


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    count = 0
    for file in sorted(source.glob("*_openapi.json")):
        schemas = json.loads(file.read_text()).get("components", {}).get("schemas", {})
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                if "metadata" not in schema.get("properties", {}) or name.endswith("List"):
                    continue
                group = f"-{kind['group'].split('.')[0]}" if kind["group"] else ""
                out = target / f"{kind['kind'].lower()}{group}-{kind['version']}.json"
                out.write_text(json.dumps(strict(schema, schemas, (name,))))
                count += 1
    print(f"schemas: {count} kinds")


def strict(node, schemas, above):
    """References are written out, a circle ends in anything, and an object has no other fields."""
    if isinstance(node, list):
        return [strict(child, schemas, above) for child in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        name = node["$ref"].rsplit("/", 1)[-1]
        return {} if name in above else strict(schemas[name], schemas, above + (name,))
    if node.get("x-kubernetes-int-or-string") or node.get("format") == "int-or-string":
        return {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    kept = {key: child for key, child in node.items() if key not in ("description", "default") and not key.startswith("x-")}
    result = {key: strict(child, schemas, above) for key, child in kept.items() if key != "properties"}
    # Names that people chose: some are those of schema words.
    if "properties" in kept:
        fields = kept["properties"].items()
        result["properties"] = {name: strict(child, schemas, above) for name, child in fields}
    if len(result.get("allOf", [])) == 1:
        return result["allOf"][0]
    if "properties" in result and result.get("type") == "object":
        result.setdefault("additionalProperties", False)
    return result


main()
