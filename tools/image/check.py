#!/usr/bin/env python3
"""Holds an image of this project to what docs/image.md promises, and says each thing that is not so."""

import argparse
import hashlib
import io
import json
import struct
import sys
import tarfile

BUNDLE = "etc/ssl/certs/ca-certificates.crt"
BINARY = "mta-sts"
# What a list of public authorities has at least; fewer means that it was cut off.
LEAST_AUTHORITIES = 100
PT_INTERP, PT_DYNAMIC, DT_NEEDED = 3, 2, 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--max-mib", type=float, required=True)
    parser.add_argument("--forbid", action="append", default=[], help="a text that must not be in the binary")
    options = parser.parse_args()

    size, config, files = read(options.archive)
    faults = [*of_size(size, options.max_mib), *of_config(config), *of_files(files, options.forbid)]
    for fault in faults:
        print(f"image: {options.archive}: {fault}", file=sys.stderr)
    if not faults:
        print(f"image: {options.archive}: {size / 2**20:.1f} MiB, as it has to be", file=sys.stderr)
    return 1 if faults else 0


def read(archive):
    """The size of the layers, the configuration, and each file of the layers with its mode."""
    with tarfile.open(archive) as tar:
        def blob(descriptor):
            content = tar.extractfile("blobs/" + descriptor["digest"].replace(":", "/")).read()
            found = "sha256:" + hashlib.sha256(content).hexdigest()
            if found != descriptor["digest"]:
                sys.exit(f"image: {archive}: the content of {descriptor['digest']} has the digest {found}")
            return content

        index = json.load(tar.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]))
        config = json.loads(blob(manifest["config"]))
        layers = [blob(layer) for layer in manifest["layers"]]
    files = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for member in tar:
                files[member.name] = (member, tar.extractfile(member).read() if member.isfile() else b"")
    return sum(map(len, layers)), config, files


def of_size(size, max_mib):
    if size >= max_mib * 2**20:
        yield f"{size / 2**20:.1f} MiB, which is not below {max_mib:g} MiB"


def of_config(config):
    settings = config["config"]
    wanted = {"User": "65532:65532", "Entrypoint": ["/" + BINARY], "WorkingDir": "/"}
    for name, value in wanted.items():
        if settings.get(name) != value:
            yield f"{name} is {settings.get(name)!r}, not {value!r}"
    if f"SSL_CERT_FILE=/{BUNDLE}" not in settings.get("Env", []):
        yield f"SSL_CERT_FILE does not name /{BUNDLE}"
    for name in ("source", "version", "revision", "licenses"):
        if not settings.get("Labels", {}).get("org.opencontainers.image." + name):
            yield f"the label org.opencontainers.image.{name} is missing"


def of_files(files, forbidden):
    content = {name for name, (member, _) in files.items() if not member.isdir()}
    if content != {BINARY, BUNDLE}:
        yield f"the files are {sorted(content)}, not just the binary and the authorities"
        return
    for name, (member, _) in files.items():
        if member.uid or member.gid or member.mode & 0o6022:
            yield f"/{name} can be changed by others than root, or runs as somebody else (mode {member.mode:o})"
    program = files[BINARY][1]
    if not files[BINARY][0].mode & 0o001:
        yield f"/{BINARY} cannot be run by user 65532"
    yield from of_program(program)
    for text in forbidden:
        at = program.find(text.encode())
        if at >= 0:
            shown = program[max(at - 20, 0):at + 100].decode(errors="replace")
            yield f"/{BINARY} has a path of the machine that built it, {text}: …{shown!r}…"
    count = files[BUNDLE][1].count(b"-----BEGIN CERTIFICATE-----")
    if count < LEAST_AUTHORITIES:
        yield f"/{BUNDLE} has {count} certificates, fewer than {LEAST_AUTHORITIES}"


def of_program(program):
    """Static: no interpreter is asked for, and no library (64 bits, little-endian)."""
    if program[:6] != b"\x7fELF\x02\x01":
        yield f"/{BINARY} is no 64-bit ELF program"
        return
    table, = struct.unpack_from("<Q", program, 0x20)
    width, count = struct.unpack_from("<HH", program, 0x36)
    for number in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", program, table + number * width)
        if kind == PT_INTERP:
            yield f"/{BINARY} is not static: it asks for an interpreter"
        if kind == PT_DYNAMIC:
            tags = [struct.unpack_from("<Q", program, offset + step)[0] for step in range(0, length, 16)]
            if DT_NEEDED in tags:
                yield f"/{BINARY} is not static: it asks for shared libraries"


if __name__ == "__main__":
    sys.exit(main())
