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
Leaf = collections.namedtuple("Leaf", "index kind hub rule first last body")
Line = collections.namedtuple("Line", "seq debit credit klass back amount")
CLASSES = {1: "measured", 2: "integrated", 3: "bridged", 4: "estimated", 5: "derived", 6: "sampled"}
FIGURES = "expected posted incomplete disputed supplied used counted total it estimated".split()
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

    def name(self):
        return self.bytes(self.number(1)).decode()

    def words(self):
        return self.bytes(self.number(2)).decode()

    def posting(self):
        body = {"interval": self.time(), "owner": self.number(1)}
        body["name"] = self.name() if body["owner"] else ""
        body["part"], body["parts"], count = self.numbers(2, 2, 2)
        accounts = [self.name() for _ in range(count)]
        base, count = self.numbers(8, 4)
        lines = []
        for _ in range(count):
            seq, debit, credit, klass, amount = self.numbers(4, 2, 2, 1, 8)
            lines.append(Line(base + seq, accounts[debit], accounts[credit],
                              CLASSES[klass & 127], klass > 127, amount))
        body["lines"] = lines
        return body

    def summary(self):
        names = "revision old leaves first_entry entries supplied used".split()
        body = {"interval": self.time(), "end": self.time()}
        body |= zip(names, self.numbers(4, 8, 4, 8, 4, 16, 16))
        body["pue"] = self.pue()
        body["reasons"] = [(self.number(1), self.words()) for _ in range(self.number(2))]
        body["more"] = self.number(4)
        return body

    def pue(self):
        if not self.number(1):
            return self.words() and None if self.number(1) > 2 else None  # Why there is none.
        _, total, it, _, estimated, supplies = self.numbers(1, 16, 16, 16, 16, 1)
        self.bytes(17 * supplies)
        return total, it, estimated

    def figures(self):
        return dict(zip(FIGURES, self.numbers(4, 4, 4, 4, 16, 16, 4, 16, 16, 16)))

    def month(self):
        return {"month": self.name(), "from": self.time(), "to": self.time()}

    def body(self, kind):
        if kind in (1, 2):
            old = self.numbers(8, 8) if kind == 2 else None
            return self.posting() | {"old": old}
        if kind == 3:
            return self.summary()
        if kind in (4, 5):
            return self.numbers(*((8, 8, 8, 8, 32) if kind == 4 else (8, 32)))
        if kind == 6:
            return self.time(), self.name(), self.words()
        if kind == 9:
            body = self.month() | {"leaves": self.number(8), "figures": self.figures()}
            body |= {"by": self.words(), "despite": self.words()}
            doubt = lambda: (self.time(), self.time(), self.number(1), self.words())
            return body | {"doubts": [doubt() for _ in range(self.number(2))], "more": self.number(4)}
        need(kind == 10, "leaf", f"is of kind {kind}, which this program does not know")
        body = self.month() | dict(zip(("closed", "old_leaf"), self.numbers(8, 8)))
        body |= {"by": self.words(), "cause": self.words(), "entries": self.numbers(8, 8)}
        body |= {"old": self.figures(), "new": self.figures()}
        return body | dict(zip(("moved", "ppm"), self.numbers(16, 4)))


def decode(entry):
    reader = Reader(entry)
    index, version, kind, rule = reader.numbers(8, 1, 1, 4)
    need(version == 1, "leaf", f"is of version {version}")
    hub, first, last, _ = reader.name(), *reader.numbers(8, 8, 32)
    leaf = Leaf(index, kind, hub, rule, first, last, reader.body(kind))
    need(reader.at == len(entry), "leaf", "goes on behind its end")
    return leaf


# What must hold of the leaves of a hub.
class Book:
    """Follows the leaves in their order; keeps what the month comes to."""

    def __init__(self, start, end):
        self.start, self.end = start, end
        self.waiting, self.intervals, self.first_seen = [], {}, None
        self.sides = collections.defaultdict(lambda: [0, 0])
        self.periods, self.told, self.expected = {}, {}, 0

    def take(self, leaf):
        if leaf.kind in (1, 2):
            check_owner(leaf.body)
            self.waiting.append(leaf)
        elif leaf.kind == 3:
            self.close(leaf)
        elif leaf.kind == 9:
            self.close_month(leaf)
        elif leaf.kind == 10:
            self.restate(leaf)

    def close(self, leaf):
        body, mine = leaf.body, self.waiting
        self.waiting = []
        if self.first_seen is None and len(mine) < body["leaves"]:
            return  # Of a posting that began before the pack.
        if body["revision"] == 0 and self.first_seen is None:
            self.first_seen = body["interval"]
        lines = [line for one in mine for line in one.body["lines"]]
        need(len(mine) == body["leaves"] and len(lines) == body["entries"], "summary",
             f"is of {body['leaves']} leaves with {body['entries']} entries, not of those before it")
        need(all(one.body["interval"] == body["interval"] for one in mine), "summary",
             "is of another interval than the leaves before it")
        held = held_by(lines)
        need(not held, "posting", f"leaves energy in {sorted(held)[:1]}: it does not balance")
        seqs = sorted(line.seq for line in lines)
        need(seqs == list(range(body["first_entry"], body["first_entry"] + len(lines))), "summary",
             "does not name the entries of its leaves")
        if self.start <= body["interval"] < self.end:
            self.post(leaf, lines)

    def post(self, leaf, lines):
        body, start = leaf.body, leaf.body["interval"]
        old = self.intervals.get(start)
        chain = (old["summary"].body["revision"] + 1, old["summary"].index) if old else (0, 2**64 - 1)
        need((body["revision"], body["old"]) == chain, "summary", "does not follow the one before it")
        flows = old["flows"] if old else collections.Counter()
        for seq, debit, credit, klass, back, amount in lines:
            self.sides[debit][0] += amount
            self.sides[credit][1] += amount
            flows[(credit, debit, klass) if back else (debit, credit, klass)] += -amount if back else amount
        need(all(amount >= 0 for amount in flows.values()), "posting", "takes back what was not posted")
        for name, place in (("supplied", 1), ("used", 0)):
            kind = "source" if place else "use"
            found = sum(amount for key, amount in flows.items() if side(key[place]) == kind)
            need(found == body[name], "summary", f"says {name} {body[name]}, its entries {found}")
        corrections = (old["corrections"] if old else -1) + 1
        self.intervals[start] = {"summary": leaf, "flows": flows, "corrections": corrections}

    def figures(self, expected):
        found = dict.fromkeys(FIGURES, 0) | {"expected": expected}
        for one in self.intervals.values():
            body = one["summary"].body
            found["posted"] += 1
            found["incomplete"] += bool(body["reasons"] or body["more"])
            found["disputed"] += any(is_dispute for is_dispute, _ in body["reasons"])
            found["supplied"] += body["supplied"]
            found["used"] += body["used"]
            if body["pue"]:
                found["counted"] += 1
                for name, term in zip(("total", "it", "estimated"), body["pue"]):
                    found[name] += term
        return found

    def is_mine(self, body):
        return (body["from"], body["to"]) == (self.start, self.end)

    def close_month(self, leaf):
        body = leaf.body
        need(body["leaves"] == leaf.index, "closed month", "does not name its own place")
        if self.is_mine(body):
            need(not self.told, "closed month", f"{body['month']} was closed before")
            self.check_figures("closed month", body["figures"])
            self.told[leaf.index] = body["figures"]

    def restate(self, leaf):
        body = leaf.body
        moved, whole = body["moved"], body["old"]["supplied"]
        ppm = min(-(-moved * 10**6 // whole), 2**32 - 1) if whole else 2**32 - 1 if moved else 0
        need(body["ppm"] == ppm, "restatement", f"calls {ppm} ppm material as {body['ppm']}")
        if self.is_mine(body):
            need(self.told.get(body["old_leaf"]) == body["old"], "restatement", "has other old figures")
            self.check_figures("restatement", body["new"])
            self.told[leaf.index] = body["new"]

    def check_figures(self, where, figures):
        found = self.figures(figures["expected"])
        for name in FIGURES:
            need(figures[name] == found[name], where,
                 f"says {name} {figures[name]}, the leaves before it {found[name]}")


def held_by(lines):
    held = collections.Counter()
    for line in lines:
        held[line.debit] += line.amount
        held[line.credit] -= line.amount
    return {name: sum_ for name, sum_ in held.items() if sum_ and side(name) == "passage"}


def check_owner(body):
    """A node's leaf leaves nothing in the node and its devices."""
    need(body["lines"] and all(line.amount for line in body["lines"]), "leaf", "has an empty entry")
    if body["owner"] == 2 and body["parts"] == 1:
        within = ("gpu:", "cpu:", "dram:", f"node:{body['name']}")
        left = [name for name in held_by(body["lines"])
                if name.startswith(within[:3]) or name == within[3]]
        need(not left, f"leaf of node {body['name']}", f"leaves energy in {left[:1]}")


# The report, recomputed.
def millis(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


USES = {"unattributed": "unattributed", "idle:unallocated": "idle_unallocated",
        "host_overhead": "host_overhead", "project/gpu_active": "project_active",
        "project/gpu_held_idle": "project_held_idle", "project/host": "project_host"}


def word(account):
    """The kind under which the report sums a source or a use."""
    kind, _, rest = account.partition(":")
    if kind == "project":
        kind = "project/" + rest.rpartition("/")[2]
    if kind == "loss":
        return "loss_" + rest.partition(":")[0]
    return {"dispute_node": "dispute"}.get(kind) or USES.get(account) or USES.get(kind) or kind


def sums_of(intervals):
    """By word, by account and class: the net energy of sources and uses."""
    words, accounts = collections.Counter(), collections.defaultdict(collections.Counter)
    for one in intervals:
        for (debit, credit, klass), amount in one["flows"].items():
            for account, kind in ((debit, "use"), (credit, "source")):
                if side(account) == kind:
                    words[word(account)] += amount
                    accounts[account][klass] += amount
    return words, accounts


def check_report(report, book):
    def same(where, shown, found):
        need(str(shown) == str(found), f"report.json: {where}", f"says {shown}, the leaves {found}")

    tables, statement = report["tables"], report["statement"]
    words, accounts = sums_of(book.intervals.values())
    for table, key in (("sources", "source"), ("uses", "use")):
        for row in tables[table]:
            same(f"{table}, {row[key]}", row["energy_mj"], words.pop(row[key], 0))
    need(not words, "report.json: uses", f"lacks {list(words)}")
    starts = range(book.start, book.end, statement["interval_ms"])
    figures = book.figures(len(starts))
    for key in ("supplied", "used"):
        same(key, statement[f"{key}_mj"], figures[key])
    counts, whole = statement["intervals"], figures["posted"] - figures["incomplete"]
    found = dict(expected=len(starts), complete=whole, disputed=figures["disputed"],
                 incomplete=figures["incomplete"] - figures["disputed"],
                 missing=len(starts) - figures["posted"])
    for key, count in found.items():
        same(f"intervals, {key}", counts[key], count)
    if report["pue"]:
        for key in ("total", "it"):
            same(f"pue, {key}_mj", report["pue"][f"{key}_mj"], figures[key])
    for row in tables["accounts"]:
        by_class = accounts.pop(row["account"], {})
        same(f"account {row['account']}", row["energy_mj"], sum(by_class.values()))
        for klass in CLASSES.values():
            same(f"account {row['account']}, {klass}", row[f"{klass}_mj"], by_class.get(klass, 0))
    need(not accounts, "report.json: accounts", f"lacks {list(accounts)[:1]}")
    check_trial(tables["trial_balance"], book.sides, same)
    check_projects(tables["projects"], book, same)
    for row in tables["days"]:
        of_day = [one for start, one in book.intervals.items()
                  if millis(row["from"]) <= start < millis(row["to"])]
        words, _ = sums_of(of_day)
        for key in [row["source"] for row in tables["sources"]] + [row["use"] for row in tables["uses"]]:
            same(f"day {row['date']}, {key}", row[f"{key}_mj"], words[key])
        same(f"day {row['date']}, supplied", row["supplied_mj"],
             sum(one["summary"].body["supplied"] for one in of_day))
    for row in tables["intervals"]:
        one = book.intervals.get(millis(row["start"]))
        body = one["summary"].body if one else {"supplied": 0, "used": 0, "pue": None}
        total, it = body["pue"][:2] if body["pue"] else (None, None)
        where = f"interval {row['start']}"
        for key, found in (("supplied", body["supplied"]), ("used", body["used"]),
                           ("pue_total", total), ("pue_it", it)):
            same(f"{where}, {key}", row[f"{key}_mj"], found)
        same(f"{where}, corrections", row["corrections"], one["corrections"] if one else 0)


def check_trial(rows, sides, same):
    found = collections.defaultdict(lambda: [0, 0])
    for account, (debits, credits) in sides.items():
        kind = account.partition(":")[0]
        name = f"{kind}:*" if kind in ("node", "gpu", "cpu", "dram") else account
        for key in (name, "total"):
            found[key][0] += debits
            found[key][1] += credits
    for row in rows:
        debits, credits = found.pop(row["account"], [0, 0])
        same(f"trial balance, debits of {row['account']}", row["debits_mj"], debits)
        same(f"trial balance, credits of {row['account']}", row["credits_mj"], credits)
    need(not found, "report.json: trial balance", f"lacks {list(found)[:1]}")


def check_projects(rows, book, same):
    found = collections.defaultdict(collections.Counter)
    for one in book.intervals.values():
        here = collections.Counter()
        for (debit, _, _), amount in one["flows"].items():
            if debit.startswith("project:"):
                project, _, share = debit[8:].rpartition("/")
                found[project][share] += amount
                here[project] += amount
        if one["summary"].body["pue"]:
            total, it, _ = one["summary"].body["pue"]
            for project, amount in here.items():
                found[project]["with_pue"] += amount
                found[project]["facility"] += amount * total // it if it else 0
    for row in rows:
        sums = found.pop(row["project"], collections.Counter())
        names = {"active": "gpu_active", "held_idle": "gpu_held_idle", "host": "host",
                 "it_with_pue": "with_pue", "facility": "facility"}
        for key, share in names.items():
            same(f"project {row['project']}, {key}", row[f"{key}_mj"], sums[share])
    need(not any(sum(sums.values()) for sums in found.values()), "report.json: projects", "lacks one")


# The pack.
def check_sums(pack):
    """Every file is the one that SHA256SUMS names, and there is no other."""
    lines = pack["SHA256SUMS"].decode().splitlines()
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
    said.append(f"{statement['month']} of {statement['hub']}: every total of report.json follows "
                f"from them: {statement['supplied_mj']} mJ supplied, {statement['pue_shown']}")
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
