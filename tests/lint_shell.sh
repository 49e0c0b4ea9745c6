#!/bin/sh
# Runs shellcheck over every tracked file that begins as a shell script.
set -eu
cd "$(dirname "$0")/.."
git ls-files | while IFS= read -r file; do
    case $(head -c 32 "$file" 2>/dev/null | head -1 | tr -d '\0') in
    '#!/bin/sh'* | '#!/bin/bash'*) printf '%s\n' "$file" ;;
    esac
done | xargs shellcheck -x
