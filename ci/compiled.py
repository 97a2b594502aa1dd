#!/usr/bin/env python3
"""Copies what one `cargo build --message-format=json` (on standard input) made or found, with cargo's own notes on it.

Usage: compiled.py FROM TO, two target folders. Files are linked where that is possible; their times stay.
"""

import json
import os
import shutil
import sys
from pathlib import Path


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def main():
    start, end = (Path(argument).resolve() for argument in sys.argv[1:3])
    files = set()
    for line in sys.stdin:
        message = json.loads(line)
        if message["reason"] == "compiler-artifact":
            files.update(Path(name) for name in message["filenames"])
            if message.get("executable"):
                files.add(Path(message["executable"]))
    # A program lies twice, linked: where people look for it, and where cargo does.
    inodes = {file.stat().st_ino for file in files if file.is_file()}
    files.update(file for file in (start / "debug/deps").iterdir() if file.stat().st_ino in inodes)
    for file in files:
        # A library's metadata lies beside it.
        for found in (file, file.with_suffix(".rmeta"), file.with_suffix(".d")):
            if found.is_file() and found.is_relative_to(start):
                link(found, end / found.relative_to(start))
    for notes in (".fingerprint", "build"):
        shutil.copytree(start / "debug" / notes, end / "debug" / notes, copy_function=link_or_copy, dirs_exist_ok=True)


def link_or_copy(source, target):
    link(Path(source), Path(target))


if __name__ == "__main__":
    main()
