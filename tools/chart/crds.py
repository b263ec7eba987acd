#!/usr/bin/env python3
"""Writes the CustomResourceDefinitions as templates of the chart: `mta-sts crds | crds.py FOLDER`."""
import pathlib
import re
import sys

HEAD = "{{- /* Written by `make crds`. */}}\n{{- if .Values.crds.enabled }}\n"
METADATA = """  labels:
    {{- include "mta-sts-operator.labels" . | nindent 4 }}
  {{- $annotations := deepCopy .Values.commonAnnotations }}
  {{- if .Values.crds.keep }}
  {{- $_ := set $annotations "helm.sh/resource-policy" "keep" }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
"""
# What Helm keeps of a release, and what the API server keeps of an applied object, is bounded.
LIMIT = 200_000


def main():
    folder = pathlib.Path(sys.argv[1])
    for text in re.split(r"^---\n", sys.stdin.read(), flags=re.M):
        if not text.strip():
            continue
        plural = re.search(r"^  name: ([a-z]+)\.", text, flags=re.M)[1]
        # A description may hold what Helm would take for a template.
        text = re.sub(r"\{\{|\}\}", lambda braces: '{{ "%s" }}' % braces[0], text)
        text, found = re.subn(r"^(metadata:\n  name: \S+\n)", lambda head: head[1] + METADATA, text, flags=re.M)
        if found != 1 or len(text) > LIMIT:
            sys.exit(f"crds.py: {plural}: no metadata, or above {LIMIT} bytes")
        (folder / f"{plural}.yaml").write_text(HEAD + text + "{{- end }}\n")


main()
