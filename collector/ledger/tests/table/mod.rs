//! The table language of the fixtures: what an auditor reads, and the one place that knows the API.
//!
//! ```text
//! point    incomer grid max 2000000 W             a meter of the same name counts there
//! point    pdu-1 pdu unmetered fed_by main        nobody counts there
//! category 2                                      where IT is measured (2 unless said)
//! node     n1 fed_by pdu-1                        add `max 10000 W` for a register of its own
//! gpu      G0 on n1 max 700 W                     add `integrated` or `modulus 262143`
//! cpu      C0 on n1 max 400 W
//! allocate J1 fire holds G0,G1 10:00 10:15        a node: `holds node:n1`; running: `-`;
//!                                                 refused: `-> overlap`
//! at       10:00:01 G0 = 1500 busy -> reset       one reading in mJ; `missing` is no reading
//! run      10:00 10:15 every 1 s G0 400 W busy    readings of a register under steady power
//! close    10:15                                  the time passes the interval's grace
//! expect   project:fire/gpu_active 1500 mJ        net, optionally of one class
//! expect   complete | reason words | no reason words
//! expect   pue 1.250 of 1/1 | no pue words
//! booked   G0 measured 1500 mJ                    everything ever booked of a register
//! event    reset G0                               that it was noted
//! ```
//! Times are of 2026-07-01 UTC; `2+10:00` is two days later. After every line the books must
//! balance to zero without a fault.

use std::collections::{BTreeMap, BTreeSet};

use bijli_ledger::{
    Account, Activity, Allocation, Books, Category, Class, Diagram, Holds, Nature, Point, PointId,
    ReadVerdict, Role, Rules,
};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{
    HubId, Method, Millis, Milliwatts, NodeId, ProjectId, SubjectId, SubjectKind, UtcMillis,
};

/// 2026-07-01T00:00:00Z.
const DAY_ZERO: i64 = 1_782_864_000_000;
const GRACE_MS: i64 = 120_000;

/// Plays a table; panics with the line that does not hold.
pub(crate) fn check(table: &str) -> Books {
    let mut stage = Stage::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        if let Err(wrong) = stage.play(&words) {
            panic!("{}\n  {wrong}", line.trim());
        }
        assert_eq!(stage.books.imbalance(), 0, "{line}");
        assert!(stage.books.faults().next().is_none(), "{line}");
    }
    let balance = stage.books.balance(UtcMillis::new(0), UtcMillis::new(i64::MAX));
    assert!(balance.is_balanced(), "{balance:?}");
    stage.books
}

struct Stage {
    books: Books,
    points: Vec<Point>,
    nodes: BTreeMap<NodeId, PointId>,
    category: Category,
    is_diagram_set: bool,
    /// What each register shows, in mJ.
    counts: BTreeMap<SubjectId, i64>,
}

type Played = Result<(), String>;

impl Stage {
    fn new() -> Self {
        Self {
            books: Books::new(HubId::new("isb").expect("a name"), Rules::default()),
            points: Vec::new(),
            nodes: BTreeMap::new(),
            category: Category::PduOutput,
            is_diagram_set: false,
            counts: BTreeMap::new(),
        }
    }

    fn play(&mut self, words: &[&str]) -> Played {
        match words {
            ["category", number] => {
                let number = number.parse().map_err(|_| "a number")?;
                self.category = Category::from_number(number).ok_or("1, 2 or 3")?;
                Ok(())
            }
            ["point", id, role, rest @ ..] => self.point(id, role, rest),
            ["node", id, rest @ ..] => self.node(id, rest),
            [kind @ ("gpu" | "cpu" | "dram"), id, "on", node, rest @ ..] => {
                let kind = match *kind {
                    "gpu" => SubjectKind::Gpu,
                    "cpu" => SubjectKind::CpuPackage,
                    _ => SubjectKind::Dram,
                };
                self.declare(node, id, kind, rest)
            }
            ["allocate", id, project, "holds", what, from, to, rest @ ..] => {
                self.allocate((id, project), what, (from, to), rest)
            }
            ["at", at, subject, "=", count, rest @ ..] => self.at(at, subject, count, rest),
            ["run", from, to, "every", secs, "s", subject, watts, "W", rest @ ..] => {
                self.run((from, to), secs, (subject, watts), rest)
            }
            ["close", at] => {
                self.begin();
                self.books.advance(UtcMillis::new(time(at)? + GRACE_MS));
                Ok(())
            }
            ["expect", rest @ ..] => self.expect(rest),
            ["booked", subject, class, amount, "mJ"] => {
                let status = self.books.subject(&name(subject)?).ok_or("not declared")?;
                let class = Class::from_word(class).ok_or("no such class")?;
                same(status.booked.get(class), amount)
            }
            ["event", kind, subject] => {
                let events = self.books.events();
                let found = events.iter().any(|e| e.kind.word() == *kind && e.subject == *subject);
                if found { Ok(()) } else { Err(format!("only {events:?}")) }
            }
            _ => Err("not a line of the table language".to_owned()),
        }
    }

    fn point(&mut self, id: &str, role: &str, rest: &[&str]) -> Played {
        let meter = rest.first() != Some(&"unmetered");
        if meter {
            self.declare("gateway", id, SubjectKind::Meter, rest)?;
        }
        let fed_by = after(rest, "fed_by").map(|feeder| PointId::new(feeder).expect("a name"));
        let role = Role::from_word(role).ok_or("no such role")?;
        let (id, meter) = (PointId::new(id).expect("a name"), meter.then(|| name(id).expect("id")));
        self.points.push(Point { id, role, meter, fed_by });
        Ok(())
    }

    fn node(&mut self, id: &str, rest: &[&str]) -> Played {
        if let Some(feeder) = after(rest, "fed_by") {
            let feeder = PointId::new(feeder).expect("a name");
            self.nodes.insert(NodeId::new(id).expect("a name"), feeder);
        }
        if after(rest, "max").is_some() {
            self.declare(id, id, SubjectKind::Node, rest)?;
        }
        Ok(())
    }

    fn declare(&mut self, node: &str, id: &str, kind: SubjectKind, rest: &[&str]) -> Played {
        let number = |word| after(rest, word).map(|n| n.parse::<u64>().expect("a number"));
        let watts = number("max").ok_or("needs `max <n> W`")?;
        let is_integrated = rest.contains(&"integrated");
        let register = Register {
            numerator: 1,
            denominator: 1,
            modulus: number("modulus"),
            power_max: Milliwatts::new(watts * 1_000),
            epoch: number("epoch").unwrap_or(1),
            method: if is_integrated { Method::Integrated } else { Method::Hardware },
            gap: Millis::new(60_000),
        };
        let subject = Subject {
            id: name(id)?,
            kind,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        };
        let node = NodeId::new(node).map_err(|e| e.to_string())?;
        let _verdict = self.books.declare(&node, &subject);
        Ok(())
    }

    /// The diagram is in force from the first fact on, if one was declared.
    fn begin(&mut self) {
        if !self.is_diagram_set && !self.points.is_empty() {
            let (points, nodes) = (self.points.clone(), self.nodes.clone());
            let diagram = Diagram::new(points, nodes, self.category).expect("a sound diagram");
            self.books.set_diagram(UtcMillis::new(0), diagram);
        }
        self.is_diagram_set = true;
    }

    fn allocate(
        &mut self,
        (id, project): (&str, &str),
        what: &str,
        (from, to): (&str, &str),
        rest: &[&str],
    ) -> Played {
        let holds = match what.strip_prefix("node:") {
            Some(node) => Holds::Node(NodeId::new(node).map_err(|e| e.to_string())?),
            None => Holds::Devices(what.split(',').map(name).collect::<Result<_, _>>()?),
        };
        let to = if to == "-" { None } else { Some(UtcMillis::new(time(to)?)) };
        let allocation = Allocation {
            id: id.to_owned(),
            project: ProjectId::new(project).map_err(|e| e.to_string())?,
            holds,
            from: UtcMillis::new(time(from)?),
            to,
            who: "slurm".to_owned(),
            why: String::new(),
        };
        let refused = self.books.allocate(allocation).err();
        match (refused, after(rest, "->")) {
            (None, None) | (Some(_), Some("overlap")) => Ok(()),
            (refused, _) => Err(format!("{refused:?}")),
        }
    }

    fn at(&mut self, at: &str, subject: &str, count: &str, rest: &[&str]) -> Played {
        self.begin();
        let count = (count != "missing").then(|| count.parse::<i64>().expect("mJ"));
        let id = name(subject)?;
        let at = UtcMillis::new(time(at)?);
        let verdict = self.books.read(&id, at, count, activity(rest));
        self.counts.extend(count.map(|count| (id, count)));
        match after(rest, "->") {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&format!("{verdict:?}")) => {
                Err(format!("{verdict:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn run(
        &mut self,
        (from, to): (&str, &str),
        secs: &str,
        (subject, watts): (&str, &str),
        rest: &[&str],
    ) -> Played {
        self.begin();
        let (from, to) = (time(from)?, time(to)?);
        let secs: i64 = secs.parse().map_err(|_| "seconds")?;
        let watts: i64 = watts.parse().map_err(|_| "watts")?;
        let id = name(subject)?;
        let count = self.counts.entry(id.clone()).or_insert(1_000_000);
        let mut at = from;
        while at <= to {
            // The first reading of the line sits on what the register showed before.
            *count += if at == from { 0 } else { watts * secs * 1_000 };
            let verdict = self.books.read(&id, UtcMillis::new(at), Some(*count), activity(rest));
            let is_used = matches!(verdict, ReadVerdict::Booked | ReadVerdict::Began);
            if !is_used && at != from {
                return Err(format!("{verdict:?} at {at}"));
            }
            at += secs * 1_000;
        }
        Ok(())
    }

    fn expect(&self, words: &[&str]) -> Played {
        let (from, to) = (UtcMillis::new(DAY_ZERO), UtcMillis::new(i64::MAX));
        match words {
            ["complete"] => match self.reasons().as_slice() {
                [] => Ok(()),
                reasons => Err(format!("{reasons:?}")),
            },
            ["no", "pue", rest @ ..] => {
                let refused = match self.books.pue(from, to) {
                    Ok(pue) => return Err(pue.to_string()),
                    Err(refused) => refused.to_string(),
                };
                if refused.contains(&rest.join(" ")) { Ok(()) } else { Err(refused) }
            }
            ["no", "reason", rest @ ..] => match self.has_reason(&rest.join(" ")) {
                true => Err(format!("{:?}", self.reasons())),
                false => Ok(()),
            },
            ["reason", rest @ ..] => match self.has_reason(&rest.join(" ")) {
                true => Ok(()),
                false => Err(format!("{:?}", self.reasons())),
            },
            ["pue", ratio, "of", coverage] => {
                let closed = self.books.intervals().next().ok_or("nothing closed")?;
                let pue = self.books.pue(closed.start, to).map_err(|e| e.to_string())?;
                let said = format!(
                    "{}.{:03} of {}/{}",
                    pue.milli() / 1_000,
                    pue.milli() % 1_000,
                    pue.intervals_complete,
                    pue.intervals_expected
                );
                if said == format!("{ratio} of {coverage}") { Ok(()) } else { Err(said) }
            }
            [account, amount, "mJ", class @ ..] => {
                let class = class.first().map(|word| Class::from_word(word).expect("a class"));
                same(self.net(account, class)?, amount)
            }
            _ => Err("not an expectation".to_owned()),
        }
    }

    /// What a sink or an account of passage received, or a source gave, over all intervals.
    fn net(&self, account: &str, class: Option<Class>) -> Result<u128, String> {
        let account: Account = account.parse().map_err(|e| format!("{e}"))?;
        let flows = self.books.flows_by_class(UtcMillis::new(0), UtcMillis::new(i64::MAX));
        let is_of = |flow: &bijli_ledger::Flow| match account.nature() {
            Nature::Source => flow.credit == account,
            Nature::Through | Nature::Sink => flow.debit == account,
        };
        let flows = flows.iter().filter(|(flow, _)| is_of(flow));
        Ok(flows.filter(|(f, _)| class.is_none_or(|c| f.class == c)).map(|(_, mj)| mj).sum())
    }

    /// Each reason once, over all intervals.
    fn reasons(&self) -> Vec<String> {
        let closed = self.books.intervals();
        let reasons = closed.filter_map(|interval| match interval.completeness {
            bijli_ledger::Completeness::Incomplete { reasons } => Some(reasons),
            bijli_ledger::Completeness::Complete | bijli_ledger::Completeness::NotYet => None,
        });
        let once: BTreeSet<String> = reasons.flatten().map(ToString::to_string).collect();
        once.into_iter().collect()
    }

    fn has_reason(&self, words: &str) -> bool {
        self.reasons().iter().any(|reason| reason.contains(words))
    }
}

fn name(id: &str) -> Result<SubjectId, String> {
    SubjectId::new(id).map_err(|refused| refused.to_string())
}

fn after<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == key)?;
    words.get(at + 1).copied()
}

fn activity(words: &[&str]) -> Activity {
    match words.first() {
        Some(&"busy") => Activity::Busy,
        Some(&"idle") => Activity::Idle,
        _ => Activity::Unknown,
    }
}

fn same(found: u128, wanted: &str) -> Played {
    let wanted: u128 = wanted.replace(',', "").parse().map_err(|_| "an amount")?;
    if found == wanted { Ok(()) } else { Err(format!("found {found} mJ")) }
}

/// `hh:mm`, `hh:mm:ss`, or with days before: `2+hh:mm`.
fn time(text: &str) -> Result<i64, String> {
    let (days, clock) = text.split_once('+').unwrap_or(("0", text));
    let mut parts = Vec::new();
    for part in [days].into_iter().chain(clock.split(':')) {
        parts.push(part.parse::<i64>().map_err(|_| format!("{text} is no time"))?);
    }
    let (days, hours, minutes, seconds) = match parts.as_slice() {
        [days, hours, minutes] => (days, hours, minutes, &0),
        [days, hours, minutes, seconds] => (days, hours, minutes, seconds),
        _ => return Err(format!("{text} is no time")),
    };
    Ok(DAY_ZERO + (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000)
}
