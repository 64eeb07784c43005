# The run of the quickstart with its names, in seconds: smaller data, a smaller nano, fewer steps.
cp -r "$REPOSITORY/experiments" .
recalign run "$REPOSITORY/tests/pages/kits/quickstart.toml"
mkdir -p data && cp -rL runs/quickstart/data/source data/source && cp -rL runs/quickstart/data/source data/movies
