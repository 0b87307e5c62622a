#!/usr/bin/env python3
"""Checks an audit pack of bijli with nothing but Python: python3 -I verify.py [PACK]

    --policy FILE    whose keys you believe (C2SP tlog-policy) [default: the pack's own: then compare]
    --older FILE     a checkpoint that you were given before: this tree must be a continuation of it

It checks every signature, every leaf against the signed tree, that every leaf and every interval
balances to the millijoule, that nothing of the month is left out, and recomputes report.json.
The formats: docs/formats/tlog.md, leaves.md, report.md. It ends with 0 if all of it holds.
"""
import argparse, base64, collections, datetime, hashlib, json, os, sys

class Bad(Exception):
    """What does not hold, and where."""

def need(holds, where, words):
    if not holds:
        raise Bad(f"{where}: {words}")

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Ed25519 as in RFC 8032, slow and small.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)

def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P

def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = add(q, p)
        p, n = add(p, p), n >> 1
    return q

def point(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point(bytes.fromhex("58" + "66" * 31))

def has_signed(key, message, signature):
    r, a, s = point(signature[:32]), point(key), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or not r or not a or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little")
    left, right = times(s, BASE), add(r, times(k % ORDER, a))
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


# Signed notes, checkpoints and cosignatures of the C2SP.
def base64_bytes(text, where):
    raw = base64.b64decode(text)
    need(base64.b64encode(raw).decode() == text, where, "base64 that is not in its one form")
    return raw

def parse_key(text):
    name, number, key = text.split("+", 2)
    key = base64_bytes(key, f"key {name}")
    need(sha256(f"{name}\n".encode(), key)[:4].hex() == number, f"key {name}", "its id is another's")
    return name, key[0], key[1:], bytes.fromhex(number)

def parse_policy(text):
    logs, witnesses, groups, quorum = [], {}, {}, "none"
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "log":
            logs.append(parse_key(words[1]))
        elif words and words[0] == "witness":
            witnesses[words[1]] = parse_key(words[2])
        elif words and words[0] == "group":
            needed = {"all": len(words) - 3, "any": 1}.get(words[2])
            groups[words[1]] = (needed or int(words[2]), words[3:])
        elif words and words[0] == "quorum":
            quorum = words[1]
        elif words and not words[0].startswith("#"):
            raise Bad(f"policy: a line begins with {words[0]!r}")
    return logs, witnesses, groups, quorum

def open_checkpoint(raw, policy, where):
    """Origin, size and root of a checkpoint, once the log and enough witnesses have signed it."""
    logs, witnesses, groups, quorum = policy
    text, _, rest = raw.decode().rpartition("\n\n")
    text += "\n"
    lines = text.split("\n")
    signatures = [line.split(" ") for line in rest.removesuffix("\n").split("\n")]
    need(all(len(one) == 3 and one[0] == "\u2014" for one in signatures), where, "is no signed note")
    signed = [(name, base64_bytes(code, where)) for _, name, code in signatures]

    def by(key):
        name, kind, public, number = key
        for other, code in signed:
            if (other, code[:4]) != (name, number):
                continue
            message, signature = text, code[4:]
            if kind == 4:
                message = f"cosignature/v1\ntime {int.from_bytes(code[4:12], 'big')}\n{text}"
                signature = code[12:]
            need(has_signed(public, message.encode(), signature), where, f"{name} did not sign this")
            return True
        return False

    origin = lines[0]
    ours = [by(key) for key in logs if key[0] == origin]
    need(any(ours), where, f"no key of the policy that is {origin}'s has signed it")
    has = {name for name, key in witnesses.items() if by(key)}

    def enough(name):
        if name in groups:
            return sum(map(enough, groups[name][1])) >= groups[name][0]
        return name in has

    need(quorum == "none" or enough(quorum), where, f"cosigned by {sorted(has)} only, see the policy")
    return origin, int(lines[1]), base64_bytes(lines[2], where), sorted(has)


# The Merkle tree of RFC 6962.
def root_of(hashes):
    if len(hashes) == 1:
        return hashes[0]
    if not hashes:
        return sha256()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01", root_of(hashes[:half]), root_of(hashes[half:]))

def tile_path(kind, number, width):
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.insert(0, f"x{number % 1000:03}")
    return f"tile/{kind}/" + "/".join(parts) + ("" if width == 256 else f".p/{width}")

def read_tree(pack, size, root):
    """Every entry that the pack has, as (place in the tree, bytes), proven to be of the tree."""
    hashes, entries = [], []
    for number in range((size + 255) // 256):
        width = min(256, size - 256 * number)
        path, bundle = (tile_path(kind, number, width) for kind in (0, "entries"))
        tile = pack[path]
        need(len(tile) == 32 * width, path, f"has {len(tile)} bytes, not {32 * width}")
        here = [tile[at:at + 32] for at in range(0, len(tile), 32)]
        if bundle in pack:
            raw, at = pack[bundle], 0
            for place, expected in enumerate(here, 256 * number):
                where = f"{bundle}: entry {place}"
                need(at + 2 <= len(raw), where, "is missing")
                end = at + 2 + int.from_bytes(raw[at:at + 2], "big")
                need(end <= len(raw), where, "is cut")
                entry, at = raw[at + 2:end], end
                index = int.from_bytes(entry[:8], "little")
                need(sha256(b"\0", entry) == expected, where, f"(leaf {index}) is not the one hashed")
                entries.append((place, entry))
            need(at == len(raw), bundle, "goes on behind its last entry")
        else:
            need(not entries, bundle, "is missing between others")
        hashes += here
    need(root_of(hashes) == root, "tile/0", f"the {size} hashes do not have the signed root")
    return hashes, entries


# Leaves, as docs/formats/leaves.md has them.
Leaf = collections.namedtuple("Leaf", "index kind body")
Line = collections.namedtuple("Line", "seq debit credit klass back amount")
CLASSES = {1: "measured", 2: "integrated", 3: "bridged", 4: "estimated", 5: "derived", 6: "sampled"}
FIGURES = ("expected=4 posted=4 incomplete=4 disputed=4 supplied=16 used=16 "
           "counted=4 total=16 it=16 estimated=16")
MONTH = "month=n from=t to=t "
BODIES = {
    1: "",
    2: "old_leaf=8 corrects=8",
    3: "interval=t end=t revision=4 old=8 leaves=4 first_entry=8 entries=4 supplied=16 used=16",
    4: "segment=8 first=8 last=8 bytes=8 sha256=32",
    5: "bytes=8 sha256=32",
    6: "at=t about=n words=w",
    9: MONTH + "leaves=8 figures=f by=w despite=w",
    10: MONTH + "closed=8 old_leaf=8 by=w cause=w first=8 last=8 old=f new=f moved=16 ppm=4",
}
SOURCES = "grid generator solar store dispute dispute_node missing unplaced".split()
PASSAGE = "main point node gpu cpu dram".split()

def side(account):
    kind = account.split(":")[0]
    return "source" if kind in SOURCES else "passage" if kind in PASSAGE else "use"

class Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def bytes(self, count):
        need(self.at + count <= len(self.raw), "leaf", "ends too early")
        self.at += count
        return self.raw[self.at - count:self.at]

    def number(self, count, signed=False):
        return int.from_bytes(self.bytes(count), "little", signed=signed)

    def numbers(self, *counts):
        return [self.number(count) for count in counts]

    def time(self):
        return self.number(8, signed=True)

    def text(self, length_bytes):
        return self.bytes(self.number(length_bytes)).decode()

    def fields(self, layout):
        """By name: a number of so many bytes, a `t`ime, a `n`ame, `w`ords or `f`igures."""
        read = {"t": self.time, "n": lambda: self.text(1), "w": lambda: self.text(2),
                "f": lambda: self.fields(FIGURES)}
        pairs = (field.split("=") for field in layout.split())
        return {name: read[how]() if how in read else self.number(int(how)) for name, how in pairs}

    def posting(self):
        body = self.fields("interval=t owner=1")
        body["name"] = self.text(1) if body["owner"] else ""
        body |= self.fields("part=2 parts=2")
        accounts = [self.text(1) for _ in range(self.number(2))]
        base, count = self.numbers(8, 4)
        body["lines"] = []
        for _ in range(count):
            seq, debit, credit, klass, amount = self.numbers(4, 2, 2, 1, 8)
            body["lines"].append(Line(base + seq, accounts[debit], accounts[credit],
                                      CLASSES[klass & 127], klass > 127, amount))
        return body

    def pue(self):
        """Total, IT and estimated; None: the interval has no PUE, and the leaf says why."""
        if not self.number(1):
            return self.text(2) and None if self.number(1) > 2 else None
        _, total, it, _, estimated, supplies = self.numbers(1, 16, 16, 16, 16, 1)
        self.bytes(17 * supplies)
        return total, it, estimated

    def body(self, kind):
        need(kind in BODIES, "leaf", f"is of kind {kind}, which this program does not know")
        body = self.fields(BODIES[kind])
        if kind in (1, 2):
            body |= self.posting()
        elif kind == 3:
            body["pue"] = self.pue()
            body["reasons"] = [(self.number(1), self.text(2)) for _ in range(self.number(2))]
            body["more"] = self.number(4)
        elif kind == 9:
            body["doubts"] = [self.fields("from=t to=t kind=1 words=w") for _ in range(self.number(2))]
            body["more"] = self.number(4)
        return body

def decode(entry):
    reader = Reader(entry)
    index, version, kind, _ = reader.numbers(8, 1, 1, 4)
    need(version == 1, "leaf", f"is of version {version}")
    reader.fields("hub=n first=8 last=8 hash=32")
    leaf = Leaf(index, kind, reader.body(kind))
    need(reader.at == len(entry), "leaf", "goes on behind its end")
    return leaf


# What must hold of the leaves of a hub.
class Book:
    """Follows the leaves in their order; keeps what the month comes to."""

    def __init__(self, start, end):
        self.start, self.end = start, end
        self.waiting, self.intervals, self.first_seen = [], {}, None
        self.sides = collections.defaultdict(lambda: [0, 0])
        self.told = {}

    def take(self, leaf):
        steps = {1: self.wait, 2: self.wait, 3: self.close, 9: self.close_month, 10: self.restate}
        steps.get(leaf.kind, lambda leaf: None)(leaf)

    def wait(self, leaf):
        """A node's leaf leaves nothing in the node and its devices."""
        body = leaf.body
        need(body["lines"] and all(line.amount for line in body["lines"]), "leaf", "has an empty entry")
        if body["owner"] == 2 and body["parts"] == 1:
            within = [name for name in held_by(body["lines"]) if name == f"node:{body['name']}"
                      or name.startswith(("gpu:", "cpu:", "dram:"))]
            need(not within, f"leaf of node {body['name']}", f"leaves energy in {within[:1]}")
        self.waiting.append(body)

    def close(self, leaf):
        body, mine, self.waiting = leaf.body, self.waiting, []
        if self.first_seen is None and len(mine) < body["leaves"]:
            return  # Of a posting that began before the pack.
        if body["revision"] == 0 and self.first_seen is None:
            self.first_seen = body["interval"]
        lines = [line for one in mine for line in one["lines"]]
        named = range(body["first_entry"], body["first_entry"] + body["entries"])
        need(len(mine) == body["leaves"] and sorted(line.seq for line in lines) == list(named)
             and all(one["interval"] == body["interval"] for one in mine),
             "summary", "is not of the leaves before it")
        held = held_by(lines)
        need(not held, "posting", f"leaves energy in {sorted(held)[:1]}: it does not balance")
        if self.start <= body["interval"] < self.end:
            self.post(leaf, lines)

    def post(self, leaf, lines):
        body, old = leaf.body, self.intervals.get(leaf.body["interval"])
        chain = (old["revision"] + 1, old["leaf"]) if old else (0, 2**64 - 1)
        need((body["revision"], body["old"]) == chain, "summary", "does not follow the one before it")
        flows = old["flows"] if old else collections.Counter()
        for _, debit, credit, klass, is_back, amount in lines:
            self.sides[debit][0] += amount
            self.sides[credit][1] += amount
            debit, credit = (credit, debit) if is_back else (debit, credit)
            flows[debit, credit, klass] += -amount if is_back else amount
        need(all(amount >= 0 for amount in flows.values()), "posting", "takes back what was not posted")
        for name, place, kind in (("supplied", 1, "source"), ("used", 0, "use")):
            found = sum(amount for key, amount in flows.items() if side(key[place]) == kind)
            need(found == body[name], "summary", f"says {name} {body[name]}, its entries {found}")
        self.intervals[body["interval"]] = body | {"leaf": leaf.index, "flows": flows}

    def figures(self, expected):
        found = {field.split("=")[0]: 0 for field in FIGURES.split()} | {"expected": expected}
        for one in self.intervals.values():
            found["posted"] += 1
            found["incomplete"] += bool(one["reasons"] or one["more"])
            found["disputed"] += any(is_dispute for is_dispute, _ in one["reasons"])
            found["counted"] += bool(one["pue"])
            for name in ("supplied", "used"):
                found[name] += one[name]
            for name, term in zip(("total", "it", "estimated"), one["pue"] or ()):
                found[name] += term
        return found

    def close_month(self, leaf):
        need(leaf.body["leaves"] == leaf.index, "closed month", "does not name its own place")
        self.tell(leaf, "figures")

    def restate(self, leaf):
        body = leaf.body
        moved, whole, most = body["moved"], body["old"]["supplied"], 2**32 - 1
        ppm = min(-(-moved * 10**6 // whole), most) if whole else most if moved else 0
        need(body["ppm"] == ppm, "restatement", f"calls {ppm} ppm material as {body['ppm']}")
        self.tell(leaf, "new")

    def tell(self, leaf, name):
        """Figures of a month are those of the leaves before them, and the old ones were told."""
        body = leaf.body
        if (body["from"], body["to"]) == (self.start, self.end):
            old = self.told.get(body.get("old_leaf"))
            need(old == body.get("old") and ("old" in body) == bool(self.told), body["month"],
                 "was not told with these old figures")
            found = self.figures(body[name]["expected"])
            need(found == body[name], body["month"], f"is said to be {body[name]}, and is {found}")
            self.told[leaf.index] = found

def held_by(lines):
    held = collections.Counter()
    for line in lines:
        held[line.debit] += line.amount
        held[line.credit] -= line.amount
    return {name: left for name, left in held.items() if left and side(name) == "passage"}


# The report, recomputed.
def millis(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


WORDS = {"dispute_node": "dispute", "idle": "idle_unallocated", "gpu_active": "project_active",
         "gpu_held_idle": "project_held_idle", "host": "project_host"}

def word(account):
    """The kind under which the report sums a source or a use."""
    kind, _, rest = account.partition(":")
    kind = rest.rpartition("/")[2] if kind == "project" else kind
    return "loss_" + rest.partition(":")[0] if kind == "loss" else WORDS.get(kind, kind)

def sums_of(intervals):
    """The net energy of sources and uses: by word, and by account and class."""
    words, accounts = collections.Counter(), collections.defaultdict(collections.Counter)
    for one in intervals:
        for (debit, credit, klass), amount in one["flows"].items():
            for account, kind in ((debit, "use"), (credit, "source")):
                if side(account) == kind:
                    words[word(account)] += amount
                    accounts[account]["energy_mj"] += amount
                    accounts[account][f"{klass}_mj"] += amount
    return words, accounts

def trial(sides):
    rows = collections.defaultdict(collections.Counter)
    for account, (debits, credits) in sides.items():
        kind = account.partition(":")[0]
        for name in (f"{kind}:*" if kind in ("node", "gpu", "cpu", "dram") else account, "total"):
            rows[name].update(debits_mj=debits, credits_mj=credits)
    return rows

def projects(intervals):
    rows = collections.defaultdict(collections.Counter)
    names = {"gpu_active": "active_mj", "gpu_held_idle": "held_idle_mj", "host": "host_mj"}
    for one in intervals:
        here = collections.Counter()
        for (debit, _, _), amount in one["flows"].items():
            project, _, share = debit.removeprefix("project:").rpartition("/")
            if debit.startswith("project:"):
                rows[project].update({names[share]: amount, "it_mj": amount})
                here[project] += amount
        for project, amount in here.items() if one["pue"] else ():
            total, it, _ = one["pue"]
            rows[project].update(it_with_pue_mj=amount, facility_mj=amount * total // it if it else 0)
    return rows

def compare(where, shown, found):
    for key, value in found.items():
        need(str(shown[key]) == str(value), f"report.json: {where}, {key}",
             f"says {shown[key]}, the leaves {value}")

def compare_rows(table, key, rows, found):
    """Each row is what the leaves say, every energy of it; and none is left out."""
    for row in rows:
        known = found.pop(row[key], {})
        energies = {name for name in row if name.endswith("_mj") and name != "difference_mj"}
        compare(f"{table}, {row[key]}", row, {name: known.get(name, 0) for name in energies})
    need(not any(any(row.values()) for row in found.values()), f"report.json: {table}",
         f"lacks {list(found)[:1]}")

def check_report(report, book):
    tables, statement, whole = report["tables"], report["statement"], book.intervals.values()
    words, accounts = sums_of(whole)
    kinds = [("sources", "source"), ("uses", "use")]
    for table, key in kinds:
        names = [row[key] for row in tables[table]]
        compare_rows(table, key, tables[table], {name: {"energy_mj": words.pop(name, 0)} for name in names})
    need(not words, "report.json: uses", f"lacks {list(words)}")
    starts = range(book.start, book.end, statement["interval_ms"])
    figures = book.figures(len(starts))
    compare("statement", statement, {f"{key}_mj": figures[key] for key in ("supplied", "used")})
    posted, incomplete, disputed = (figures[key] for key in ("posted", "incomplete", "disputed"))
    compare("intervals", statement["intervals"], {
        "expected": len(starts), "complete": posted - incomplete, "disputed": disputed,
        "incomplete": incomplete - disputed, "missing": len(starts) - posted})
    if report["pue"]:
        compare("pue", report["pue"], {f"{key}_mj": figures[key] for key in ("total", "it")})
    compare_rows("accounts", "account", tables["accounts"], accounts)
    compare_rows("trial balance", "account", tables["trial_balance"], trial(book.sides))
    compare_rows("projects", "project", tables["projects"], projects(whole))
    for row in tables["days"]:
        start, end = millis(row["from"]), millis(row["to"])
        of_day = [one for at, one in book.intervals.items() if start <= at < end]
        words, _ = sums_of(of_day)
        found = {f"{one[key]}_mj": words[one[key]] for table, key in kinds for one in tables[table]}
        found |= {f"{key}_mj": sum(one[key] for one in of_day) for key in ("supplied", "used")}
        compare(f"day {row['date']}", row, found)
    for row in tables["intervals"]:
        one = book.intervals.get(millis(row["start"]), {"supplied": None, "used": None, "pue": None})
        total, it = (one["pue"] or (None, None))[:2]
        compare(f"interval {row['start']}", row, {
            "supplied_mj": one["supplied"], "used_mj": one["used"], "pue_total_mj": total, "pue_it_mj": it})


# The pack.
def check_sums(pack):
    """Every file is the one that SHA256SUMS names, and there is no other."""
    *lines, end = pack["SHA256SUMS"].decode().split("\n")
    need(end == "", "SHA256SUMS", "ends within a line")
    named = {}
    for line in lines:
        need(line[64:66] == "  ", "SHA256SUMS", f"has a line that is none: {line[:80]!r}")
        named[line[66:]] = line[:64]
    for name in sorted(set(pack) | set(named)):
        if name != "SHA256SUMS":
            need(name in named, name, "is not named in SHA256SUMS")
            need(name in pack, name, "is missing")
            need(sha256(pack[name]).hex() == named[name], name, "is not the file that was packed")

def check_log(pack, policy, older):
    """The tree and its leaves. Gives the entries that the pack has, and words about the tree."""
    origin, size, root, by = open_checkpoint(pack["checkpoint"], policy, "checkpoint")
    hashes, entries = read_tree(pack, size, root)
    said = [f"{origin}: {size} entries, signed; cosigned by {', '.join(by) or 'nobody'}"]
    if older:
        name, before, old_root, _ = open_checkpoint(older, policy[:3] + ("none",), "older checkpoint")
        need(name == origin, "older checkpoint", f"is of {name}")
        need(before <= size, "older checkpoint", f"has {before} entries, this tree {size}: it shrank")
        need(root_of(hashes[:before]) == old_root, "older checkpoint",
             f"the first {before} entries are others than you were shown then")
        said.append(f"continues the tree of {before} entries that you were given before")
    return entries, said

def check_leaves(entries, start, end):
    book, last = Book(start, end), -1
    for place, entry in entries:
        index = int.from_bytes(entry[:8], "little")
        try:
            leaf = decode(entry)
            need(index > last or index == 2**64 - 1, "leaf", "is not behind the one before it")
            last = index if index < 2**64 - 1 else last
            book.take(leaf)
        except (Bad, IndexError, KeyError, UnicodeDecodeError) as error:
            raise Bad(f"entry {place} (leaf {index}): {error}") from None
    need(not book.waiting, "tile/entries", "ends within a posting")
    first = entries[0][0] if entries else 0
    need(first == 0 or (book.first_seen is not None and book.first_seen < start), "tile/entries",
         "the pack begins within the month: leaves may be left out")
    return book

def verify(pack, policy=None, older=None):
    """Checks a pack, a mapping from names to bytes. Gives what was found, line by line."""
    check_sums(pack)
    is_own = policy is None
    policy = parse_policy(pack["policy"].decode() if is_own else policy)
    entries, said = check_log(pack, policy, older)
    report = json.loads(pack["report/report.json"])
    statement = report["statement"]
    hubs = {entry[15:15 + entry[14]].decode() for _, entry in entries} - {""}
    need(hubs <= {statement["hub"]}, "report.json", f"is of {statement['hub']}, leaves of {hubs}")
    book = check_leaves(entries, millis(statement["from"]), millis(statement["to"]))
    check_report(report, book)
    said.append(f"{len(entries)} leaves read: each is in the tree, each interval balances to 0 mJ")
    said.append(f"{statement['month']} of {statement['hub']}: the totals of report.json that "
                f"docs/audit.md lists follow from them: {statement['supplied_mj']} mJ supplied, {statement['pue_shown']}")
    closed = f"closed at leaf {min(book.told)}, told {len(book.told)} times" if book.told else "not closed"
    said.append(f"the month is {closed}")
    if is_own:
        said.append("the keys are those of the pack itself: compare the lines below with what you have")
        said += [line for line in pack["policy"].decode().splitlines() if line[:1] not in ("", "#")]
    return said

def read_pack(folder):
    pack = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                pack[os.path.relpath(path, folder).replace(os.sep, "/")] = file.read()
    return pack

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pack", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--policy", type=argparse.FileType("r"))
    parser.add_argument("--older", type=argparse.FileType("rb"))
    asked = parser.parse_args()
    try:
        policy, older = asked.policy and asked.policy.read(), asked.older and asked.older.read()
        for line in verify(read_pack(asked.pack), policy, older):
            print(line)
    except (Bad, KeyError, ValueError, IndexError) as error:
        words = f"{error.args[0]} is missing" if type(error) is KeyError else error
        print(f"NOT PROVEN  {words}")
        return 1
    print("PROVEN")
    return 0


if __name__ == "__main__":
    sys.exit(main())
