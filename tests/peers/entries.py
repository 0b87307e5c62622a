"""What DuckDB reads in entries.parquet: the net energy of each source and use, and sums."""

import json
import sys

import duckdb

SOURCES = ("grid:", "generator:", "solar:", "store:", "dispute", "missing:", "unplaced:")
PASSAGE = ("main", "point:", "node:", "gpu:", "cpu:", "dram:")

entries = duckdb.read_parquet(sys.argv[1])
net = {}
rows = duckdb.sql(
    "SELECT account, sum(amount)::HUGEINT FROM ("
    " SELECT debit AS account, amount_mj::HUGEINT AS amount FROM entries"
    " UNION ALL SELECT credit, -(amount_mj::HUGEINT) FROM entries) GROUP BY account"
)
for account, amount in rows.fetchall():
    if account.startswith(PASSAGE):
        assert amount == 0, (account, amount)
    else:
        net[account] = str(-amount if account.startswith(SOURCES) else amount)
one = duckdb.sql(
    "SELECT count(*), sum(amount_mj)::HUGEINT, strftime(min(interval), '%Y-%m-%dT%H:%M:%SZ'),"
    " count(*) FILTER (is_reversal AND corrects = 0), count(DISTINCT rule) FROM entries"
).fetchall()[0]
assert one[3] == 0, "a reversal names what it corrects"
assert one[4] == 1, one
print(json.dumps({"net_mj": net, "entries": one[0], "sum_mj": str(one[1]), "first": one[2]}))
