#!/bin/sh
# Uses an installed recalign outside the checkout: deploy/try-wheel.sh PATH/TO/recalign
set -eu
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
unset PYTHONPATH
"$program" --version
"$program" prepare synthetic --users 40 --items 60 --output data
"$program" evaluate prior:like-rate --data data
"$program" config rec > /dev/null  # settings and their descriptions
"$program" tune --data data --output model --shots 8 --set max_steps=1 --set nano.steps=1
"$program" page model --data data --users 2 --output page.html  # the page's files are in the wheel
test -s page.html
