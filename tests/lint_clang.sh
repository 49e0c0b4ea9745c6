#!/bin/bash
# Fails when clang warns about a C file that gcc builds: each is read again, by the build's own commands, without making anything.
#
#   lint_clang.sh BUILD-FOLDER      the folder with compile_commands.json
set -euo pipefail
cd "$(dirname "$0")/.."
# Generated code and what gcc alone knows are left out.
/usr/bin/python3 - "$1/compile_commands.json" <<'PY' | xargs -d '\n' -P "$(nproc)" -n 1 bash -c
import json, re, shlex, sys

for entry in json.load(open(sys.argv[1])):
    if "/build/" in entry["file"]:
        continue
    words = [w for w in shlex.split(entry["command"]) if not re.search("ccache|duplicated-cond|logical-op", w)]
    words = words[:words.index("-o")] + words[words.index("-o") + 2:]
    drop = {"-MD", "-c"}
    kept, skip = [], 0
    for word in words[1:]:
        if skip:
            skip -= 1
        elif word in ("-MT", "-MF"):
            skip = 1
        elif word not in drop:
            kept.append(word)
    print(shlex.join(["clang", *kept, "-fsyntax-only", "-Werror", "-Wmissing-variable-declarations"]))
PY
