#!/usr/bin/env bash
# Run the tests on every supported Python found on this machine, each in an environment of its own.
# Looks at python3.10 ... python3.13 on PATH and, when pyenv is there, at the versions it keeps.
set -u
cd "$(dirname "$0")/../.."
found=()
for minor in 10 11 12 13; do
    python=$(command -v "python3.$minor" || true)
    if ! "$python" -c 'pass' 2>/dev/null; then
        python=$(ls "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python 2>/dev/null | tail -1)
    fi
    if [ -n "$python" ] && "$python" -c 'pass' 2>/dev/null; then
        found+=("3.$minor=$python")
    else
        echo "python 3.$minor: not found, skipped"
    fi
done
status=0
for entry in "${found[@]}"; do
    name=${entry%%=*}
    echo "== Python $name"
    if make --no-print-directory test PYTHON="${entry#*=}" VENV=".venvs/$name" >".venvs-$name.log" 2>&1; then
        tail -1 ".venvs-$name.log"
        rm -f ".venvs-$name.log"
    else
        tail -40 ".venvs-$name.log"
        echo "Python $name failed; the whole output is in .venvs-$name.log"
        status=1
    fi
done
exit $status
