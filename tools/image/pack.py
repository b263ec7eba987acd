#!/usr/bin/env python3
"""Packs files into an image of one layer: an OCI archive, without Docker and without a registry.

The same files, names and SOURCE_DATE_EPOCH give the same bytes: the order is sorted, every time is
SOURCE_DATE_EPOCH, every owner is root, and nothing is compressed (the bytes that a compressor
writes change with its version).

`ctr images import`, `skopeo copy oci-archive:FILE …` and `podman load` take the result.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
from datetime import datetime, timezone

OCI = "application/vnd.oci.image."


def main():
    options = arguments()
    if options.digest:
        print(manifest_digest(options.out))
        return
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    layer = layer_of(entries_of(options), epoch)
    config = encode(config_of(options, layer, epoch))
    manifest = encode(manifest_of(options, layer, config))
    write_archive(options.out, index_of(options, manifest), [layer, config, manifest], epoch)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", help="the archive")
    parser.add_argument("reference", nargs="?", help="the image's name: REPOSITORY:TAG")
    parser.add_argument("--digest", action="store_true", help="pack nothing; print the manifest's digest of the archive")
    parser.add_argument("--arch", default="amd64")
    parser.add_argument("--entrypoint", default="[]", help="a JSON list")
    parser.add_argument("--cmd", default="[]", help="a JSON list")
    parser.add_argument("--user", default="", help="UID:GID")
    for name, form in [("add", "FILE:/PATH:MODE"), ("link", "/PATH=TARGET"), ("dir", "/PATH:MODE"),
                       ("env", "NAME=VALUE"), ("port", "N"), ("label", "NAME=VALUE")]:
        parser.add_argument("--" + name, action="append", default=[], metavar=form)
    options = parser.parse_args()
    if not options.digest and not options.reference:
        parser.error("the image needs a name: REPOSITORY:TAG")
    return options


def entries_of(options):
    """Each path in the layer, with what stands there; folders above are made where none is named."""
    entries = {}
    for text in options.dir:
        path, _, mode = text.partition(":")
        entries[path.strip("/")] = (tarfile.DIRTYPE, int(mode or "755", 8), b"")
    for text in options.link:
        path, _, target = text.partition("=")
        entries[path.strip("/")] = (tarfile.SYMTYPE, 0o777, target)
    for text in options.add:
        source, path, mode = text.rsplit(":", 2)
        with open(source, "rb") as file:
            entries[path.strip("/")] = (tarfile.REGTYPE, int(mode, 8), file.read())
    for path in list(entries):
        while path := os.path.dirname(path):
            entries.setdefault(path, (tarfile.DIRTYPE, 0o755, b""))
    return entries


def layer_of(entries, epoch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, (kind, mode, content) in sorted(entries.items()):
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.mtime = kind, mode, epoch
            if kind == tarfile.SYMTYPE:
                info.linkname, content = content, b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def config_of(options, layer, epoch):
    created = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    settings = {
        "User": options.user,
        "Env": options.env,
        "Entrypoint": json.loads(options.entrypoint),
        "Cmd": json.loads(options.cmd),
        "ExposedPorts": {f"{port}/tcp": {} for port in options.port},
        "Labels": pairs(options.label),
        "WorkingDir": "/",
    }
    return {
        "created": created,
        "architecture": options.arch,
        "os": "linux",
        "config": {name: value for name, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created": created, "created_by": "tools/image/pack.py"}],
    }


def manifest_of(options, layer, config):
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer)],
    }
    if options.label:
        manifest["annotations"] = pairs(options.label)
    return manifest


def index_of(options, manifest):
    entry = descriptor("manifest.v1+json", manifest)
    entry["platform"] = {"architecture": options.arch, "os": "linux"}
    # containerd goes by the first name, other tools by the second.
    entry["annotations"] = {
        "io.containerd.image.name": options.reference,
        "org.opencontainers.image.ref.name": options.reference.rpartition(":")[2],
    }
    return {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [entry]}


def write_archive(out, index, blobs, epoch):
    files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}), "index.json": encode(index)}
    files.update({"blobs/sha256/" + digest(blob).removeprefix("sha256:"): blob for blob in blobs})
    # Complete before it gets its name: a run that is cut off leaves no half of an image.
    part = f"{out}.{os.getpid()}.part"
    try:
        with tarfile.open(part, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in ("blobs", "blobs/sha256"):
                info = tarfile.TarInfo(name)
                info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, epoch
                tar.addfile(info)
            for name, content in sorted(files.items()):
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = len(content), 0o644, epoch
                tar.addfile(info, io.BytesIO(content))
        os.replace(part, out)
    finally:
        if os.path.exists(part):
            os.remove(part)


def manifest_digest(archive):
    with tarfile.open(archive) as tar:
        return json.load(tar.extractfile("index.json"))["manifests"][0]["digest"]


def descriptor(kind, content):
    return {"mediaType": OCI + kind, "digest": digest(content), "size": len(content)}


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def pairs(texts):
    return dict(text.split("=", 1) for text in texts)


def encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


if __name__ == "__main__":
    sys.exit(main())
