#!/usr/bin/env bash
# The real dvc and our programs on the same repositories, and our lineage events against OpenLineage's schemas.
# usage: dvc.sh DVC_REPO_PROGRAM LINEAGE_EVENTS_PROGRAM WORKDIR
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
program="$(realpath "$1")" events="$(realpath "$2")"
mkdir -p "$3"
work="$(cd "$3" && pwd)"
venv="${XDG_CACHE_HOME:-$HOME/.cache}/mlops-ci/venv-dvc"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet dvc==3.67.1 'jsonschema[format]' referencing openlineage-python==1.54.0
"$venv/bin/python" "$here/dvc.py" "$program" "$venv/bin/dvc" "$work/dvc" 1
"$venv/bin/python" "$here/dvc_kills.py" "$program" "$venv/bin/dvc" "$work/dvc-kills" 24
rm -rf "$work/lineage"
mkdir "$work/lineage"
"$events" "$work/lineage/store" "$work/lineage/events.jsonl"
"$venv/bin/python" "$here/lineage.py" "$work/lineage/events.jsonl"
