#!/bin/sh
# Fails when a C file is not formatted as .clang-format says.
set -eu
cd "$(dirname "$0")/.."
tool=$(command -v clang-format-14 || command -v clang-format)
git ls-files -z '*.c' '*.h' | xargs -0 "$tool" --dry-run -Werror
