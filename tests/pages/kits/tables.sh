# The tables of a made-up shop of shoes.
python "$REPOSITORY/tests/pages/kits/shop_tables.py"
python - <<'PYTHON'
import polars

types = {"user_id": polars.String, "item_id": polars.String}
polars.read_csv("events.csv", schema_overrides=types).write_parquet("events.parquet")
PYTHON
