"""Flips one bit in each byte of a small audit pack (of the report in each 97th), and holds verify.py
to naming where it was: python3 flips.py PACK POLICY. Prints how many flips there were; what is not found
ends it."""
import importlib.util
import os
import sys

folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("verify", os.path.join(folder, "verify.py"))
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)
pack = verify.read_pack(folder)
sums = {line[66:]: line for line in pack["SHA256SUMS"].decode().split("\n")}
with open(sys.argv[2]) as file:
    policy = verify.parse_policy(file.read())
_, size, root, _ = verify.open_checkpoint(pack["checkpoint"], policy, "checkpoint")


def flipped(raw, step=1):
    for at in range(0, len(raw), step):
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 8
        yield at, bytes(changed)


def found(what, at, names, check, *arguments):
    try:
        check(*arguments)
    except (verify.Bad, KeyError, ValueError, IndexError) as bad:
        words = str(bad)
        assert any(name in words for name in names), f"{what}, byte {at}: {words}"
        return 1
    raise SystemExit(f"{what}, byte {at}: a flipped bit is not found")


count = 0
# Any file, by its sum alone.
for name, raw in sorted(pack.items()):
    if name == "SHA256SUMS":
        for at, changed in flipped(raw):
            count += found(name, at, [""], verify.check_sums, {**pack, name: changed})
        continue
    line = {"SHA256SUMS": (sums[name] + "\n").encode()}
    step = 97 if name.startswith("report/") else 1
    for at, changed in flipped(raw, step):
        count += found(name, at, [name], verify.check_sums, {name: changed, **line})
# The tree, by whoever makes the sums anew.
for name, raw in sorted(pack.items()):
    if name.startswith("tile/"):
        bundle = name.startswith("tile/entries")
        for at, changed in flipped(raw):
            names = [name] if bundle else [name.replace("tile/0", "tile/entries"), "tile/0"]
            count += found(name, at, names, verify.read_tree, {**pack, name: changed}, size, root)
for at, changed in flipped(pack["checkpoint"]):
    changed = {**pack, "checkpoint": changed}
    count += found("checkpoint", at, [""], verify.check_log, changed, policy, None)
print(count)
