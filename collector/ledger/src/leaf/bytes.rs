//! The bytes of a leaf. All numbers are little-endian and of fixed width; names carry their length
//! in one byte, words in two.
//!
//! # Layout
//! ```text
//! leaf        version 1 · kind 1 · rule 4 · hub name (empty: all) · first 8 · last 8 · hash 32 ·
//!             body
//! 1 posting   interval 8 · owner · part 2 · parts 2 · entries
//! 2 adjustment  old_leaf 8 · corrects 8 · posting
//! 3 summary   interval 8 · end 8 · revision 4 · old_leaf 8 (all ones: none) · leaves 4 ·
//!             first_entry 8 · entries 4 · supplied 16 · used 16 · pue · count 2 · reasons · more 4
//! 4 pruned    segment 8 · first 8 · last 8 · bytes 8 · sha256 32
//! 6 statement at 8 · about name · text words
//! 9 period    10 restatement: in `period`
//! owner       0 hub · 1 point name · 2 node name
//! entries     count 2 · accounts (names, in the order of accounts) · base 8 · count 4 · lines
//! line        seq - base 4 · debit 2 · credit 2 · class 1 (+128: reversal) · amount 8
//! pue         0 · reason 1 (+ name)    or    1 · category 1 · total 16 · it 16 · store 16 ·
//!             estimated 16 · count 1 · (role 1 · amount 16)
//! reason      1 if a dispute, else 0 · words
//! ```
//! Kinds and numbers are append only.

mod period;

use std::collections::BTreeMap;

use bijli_wire::{HubId, NodeId, UtcMillis};

use super::group::{self, Line};
use super::{
    Body, LEAF_VERSION, Leaf, LeafError, Owner, Peek, Posting, Pruned, PueShown, ReasonShown,
    Snapshot, Source, Statement, Summary,
};
use crate::account::Account;
use crate::class::Class;
use crate::diagram::{Category, PointId, Role};
use crate::pue::Withheld;

const KIND_POSTING: u8 = 1;
const KIND_ADJUSTMENT: u8 = 2;
const KIND_SUMMARY: u8 = 3;
const KIND_PRUNED: u8 = 4;
const KIND_SNAPSHOT: u8 = 5;
const KIND_STATEMENT: u8 = 6;
const KIND_PERIOD: u8 = 9;
const KIND_RESTATEMENT: u8 = 10;
const REVERSAL: u8 = 0x80;
const NO_LEAF: u64 = u64::MAX;
/// What one line takes.
pub(super) const LINE_BYTES: usize = 17;

pub(super) fn encode(leaf: &Leaf) -> Vec<u8> {
    let mut to = Writer(vec![LEAF_VERSION]);
    to.u8(match &leaf.body {
        Body::Posting(_) => KIND_POSTING,
        Body::Adjustment { .. } => KIND_ADJUSTMENT,
        Body::Summary(_) => KIND_SUMMARY,
        Body::Pruned(_) => KIND_PRUNED,
        Body::Snapshot(_) => KIND_SNAPSHOT,
        Body::Statement(_) => KIND_STATEMENT,
        Body::Period(_) => KIND_PERIOD,
        Body::Restatement(_) => KIND_RESTATEMENT,
    });
    to.u32(leaf.rule_version);
    to.name(leaf.hub.as_ref().map_or("", HubId::as_str));
    to.u64(leaf.source.first);
    to.u64(leaf.source.last);
    to.bytes(&leaf.source.hash);
    match &leaf.body {
        Body::Posting(posting) => to.posting(posting),
        Body::Adjustment { old_leaf, corrects, posting } => {
            to.u64(*old_leaf);
            to.u64(*corrects);
            to.posting(posting);
        }
        Body::Summary(summary) => to.summary(summary),
        Body::Pruned(pruned) => {
            let Pruned { segment, first, last, bytes, sha256 } = pruned;
            [segment, first, last, bytes].into_iter().for_each(|number| to.u64(*number));
            to.bytes(sha256);
        }
        Body::Snapshot(Snapshot { bytes, sha256 }) => {
            to.u64(*bytes);
            to.bytes(sha256);
        }
        Body::Statement(Statement { at, about, text }) => {
            to.time(*at);
            to.name(about);
            to.words(text);
        }
        Body::Period(period) => to.period(period),
        Body::Restatement(restatement) => to.restatement(restatement),
    }
    to.0
}

/// What every leaf begins with.
struct Head {
    kind: u8,
    rule_version: u32,
    hub: Option<HubId>,
}

fn head(from: &mut Reader<'_>) -> Result<Head, LeafError> {
    match from.u8("version")? {
        LEAF_VERSION => {}
        found => return Err(LeafError::Version { found }),
    }
    let kind = from.u8("kind")?;
    let rule_version = from.u32("rule version")?;
    let hub = from.parsed("hub", |name| match name {
        "" => Ok(None),
        name => HubId::new(name).map(Some),
    })?;
    if hub.is_none() != matches!(kind, KIND_PRUNED | KIND_SNAPSHOT) {
        return Err(LeafError::Field { field: "hub" });
    }
    Ok(Head { kind, rule_version, hub })
}

pub(super) fn peek(bytes: &[u8]) -> Result<Peek, LeafError> {
    let Head { kind, hub, rule_version: _ } = head(&mut Reader(bytes))?;
    Ok(Peek { hub, is_within_posting: matches!(kind, KIND_POSTING | KIND_ADJUSTMENT) })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Leaf, LeafError> {
    let mut from = Reader(bytes);
    let Head { kind, rule_version, hub } = head(&mut from)?;
    let (first, last) = (from.u64("first record")?, from.u64("last record")?);
    let source = Source { first, last, hash: from.hash("hash")? };
    let body = match kind {
        KIND_POSTING => Body::Posting(from.posting()?),
        KIND_ADJUSTMENT => {
            let (old_leaf, corrects) = (from.u64("old leaf")?, from.u64("corrected entry")?);
            Body::Adjustment { old_leaf, corrects, posting: from.posting()? }
        }
        KIND_SUMMARY => Body::Summary(from.summary()?),
        KIND_PRUNED => Body::Pruned(Pruned {
            segment: from.u64("segment")?,
            first: from.u64("first record")?,
            last: from.u64("last record")?,
            bytes: from.u64("bytes")?,
            sha256: from.hash("hash of the segment")?,
        }),
        KIND_SNAPSHOT => Body::Snapshot(Snapshot {
            bytes: from.u64("bytes")?,
            sha256: from.hash("hash of the snapshot")?,
        }),
        KIND_STATEMENT => Body::Statement(Statement {
            at: from.time("time")?,
            about: from.parsed("subject", |about| Ok::<_, LeafError>(about.to_owned()))?,
            text: from.words("text")?,
        }),
        KIND_PERIOD => Body::Period(Box::new(from.period()?)),
        KIND_RESTATEMENT => Body::Restatement(Box::new(from.restatement()?)),
        found => return Err(LeafError::Kind { found }),
    };
    if !from.0.is_empty() {
        return Err(LeafError::NotCanonical);
    }
    Ok(Leaf { rule_version, hub, source, body })
}

/// Numbers of supplies in a leaf. Append only.
const fn role_number(role: Role) -> u8 {
    match role {
        Role::Grid => 1,
        Role::Generator => 2,
        Role::Solar => 3,
        Role::UpsIn => 4,
        Role::UpsOut => 5,
        Role::Pdu => 6,
        Role::Cooling => 7,
        Role::Lighting => 8,
        Role::Other => 9,
    }
}

/// Bytes of a posting besides its lines.
pub(super) fn accounts_bytes<'a>(accounts: impl Iterator<Item = &'a Account>) -> usize {
    accounts.fold(0, |sum: usize, account| {
        sum.saturating_add(account.to_string().len()).saturating_add(1)
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    fn u16(&mut self, number: usize) {
        self.bytes(&u16::try_from(number).expect("the maker splits before").to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn u128(&mut self, number: u128) {
        self.bytes(&number.to_le_bytes());
    }

    fn time(&mut self, at: UtcMillis) {
        self.bytes(&at.get().to_le_bytes());
    }

    fn name(&mut self, name: &str) {
        self.u8(u8::try_from(name.len()).expect("a name has at most 96 bytes, an account 128"));
        self.bytes(name.as_bytes());
    }

    fn words(&mut self, words: &str) {
        self.u16(words.len());
        self.bytes(words.as_bytes());
    }

    fn owner(&mut self, owner: &Owner) {
        match owner {
            Owner::Hub => self.u8(0),
            Owner::Point(point) => {
                self.u8(1);
                self.name(point.as_str());
            }
            Owner::Node(node) => {
                self.u8(2);
                self.name(node.as_str());
            }
        }
    }

    fn posting(&mut self, posting: &Posting) {
        self.time(posting.interval);
        self.owner(&posting.owner);
        self.u16(usize::from(posting.part));
        self.u16(usize::from(posting.parts));
        let accounts = group::accounts(&posting.lines);
        self.u16(accounts.len());
        accounts.iter().for_each(|account| self.name(&account.to_string()));
        let numbers: BTreeMap<&Account, usize> =
            accounts.into_iter().enumerate().map(|(number, account)| (account, number)).collect();
        let number = |account: &Account| numbers.get(account).copied().expect("all are listed");
        let base = posting.lines.first().map_or(0, |line| line.seq);
        self.u64(base);
        self.u32(u32::try_from(posting.lines.len()).expect("the maker splits before"));
        for line in &posting.lines {
            let offset = u32::try_from(line.seq.saturating_sub(base));
            self.u32(offset.expect("a posting has fewer than 2^32 entries"));
            self.u16(number(&line.debit));
            self.u16(number(&line.credit));
            self.u8(line.class.number() | if line.is_reversal { REVERSAL } else { 0 });
            self.u64(line.amount);
        }
    }

    fn summary(&mut self, summary: &Summary) {
        self.time(summary.interval);
        self.time(summary.end);
        self.u32(summary.revision);
        self.u64(summary.old_leaf.unwrap_or(NO_LEAF));
        self.u32(summary.leaves);
        self.u64(summary.first_entry);
        self.u32(summary.entries);
        self.u128(summary.supplied);
        self.u128(summary.used);
        self.pue(&summary.pue);
        self.u16(summary.reasons.len());
        for ReasonShown { is_dispute, words } in &summary.reasons {
            self.u8(u8::from(*is_dispute));
            self.words(words);
        }
        self.u32(summary.reasons_more);
    }

    fn pue(&mut self, pue: &PueShown) {
        match pue {
            PueShown::Withheld(withheld) => {
                self.u8(0);
                match withheld {
                    Withheld::NoSupplyMeter => self.u8(1),
                    Withheld::NoItMeter => self.u8(2),
                    Withheld::MissingMeter { meter } => {
                        self.u8(3);
                        self.words(meter);
                    }
                    Withheld::Disputed { point } => {
                        self.u8(4);
                        self.words(point);
                    }
                }
            }
            PueShown::Parts { total, it, by_source, store_drawn, estimated, category } => {
                self.u8(1);
                self.u8(category.number());
                [total, it, store_drawn, estimated].into_iter().for_each(|sum| self.u128(*sum));
                self.u8(u8::try_from(by_source.len()).expect("there are nine roles"));
                for (role, amount) in by_source {
                    self.u8(role_number(*role));
                    self.u128(*amount);
                }
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], LeafError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(LeafError::Cut { field })?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, LeafError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, LeafError> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, LeafError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, LeafError> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn u128(&mut self, field: &'static str) -> Result<u128, LeafError> {
        self.array(field).map(u128::from_le_bytes)
    }

    fn hash(&mut self, field: &'static str) -> Result<[u8; 32], LeafError> {
        self.array(field)
    }

    fn time(&mut self, field: &'static str) -> Result<UtcMillis, LeafError> {
        self.array(field).map(|bytes| UtcMillis::new(i64::from_le_bytes(bytes)))
    }

    fn text(&mut self, length: usize, field: &'static str) -> Result<String, LeafError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(LeafError::Cut { field })?;
        self.0 = rest;
        let text = std::str::from_utf8(head).map_err(|_| LeafError::Field { field })?;
        Ok(text.to_owned())
    }

    fn parsed<T, E>(
        &mut self,
        field: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, LeafError> {
        let length = usize::from(self.u8(field)?);
        parse(&self.text(length, field)?).map_err(|_| LeafError::Field { field })
    }

    fn words(&mut self, field: &'static str) -> Result<String, LeafError> {
        let length = usize::from(self.u16(field)?);
        self.text(length, field)
    }

    fn owner(&mut self) -> Result<Owner, LeafError> {
        match self.u8("owner")? {
            0 => Ok(Owner::Hub),
            1 => self.parsed("owner", PointId::new).map(Owner::Point),
            2 => self.parsed("owner", NodeId::new).map(Owner::Node),
            _ => Err(LeafError::Field { field: "owner" }),
        }
    }

    fn posting(&mut self) -> Result<Posting, LeafError> {
        let interval = self.time("interval")?;
        let owner = self.owner()?;
        let (part, parts) = (self.u16("part")?, self.u16("parts")?);
        if part == 0 || part > parts {
            return Err(LeafError::Field { field: "part" });
        }
        let count = self.u16("number of accounts")?;
        let accounts: Vec<Account> = (0..count)
            .map(|_| self.parsed("account", str::parse::<Account>))
            .collect::<Result<_, _>>()?;
        let base = self.u64("first entry")?;
        let count = self.u32("number of entries")?;
        if count == 0 {
            return Err(LeafError::Field { field: "number of entries" });
        }
        let mut lines: Vec<Line> = Vec::new();
        for _ in 0..count {
            let line = self.line(base, &accounts)?;
            if lines.last().is_some_and(|last| last.seq >= line.seq) {
                return Err(LeafError::Field { field: "order of entries" });
            }
            lines.push(line);
        }
        Ok(Posting { interval, owner, part, parts, lines })
    }

    fn line(&mut self, base: u64, accounts: &[Account]) -> Result<Line, LeafError> {
        let offset = u64::from(self.u32("entry")?);
        let seq = base.checked_add(offset).ok_or(LeafError::Field { field: "entry" })?;
        let mut account = |field| {
            let number = usize::from(self.u16(field)?);
            accounts.get(number).cloned().ok_or(LeafError::Field { field })
        };
        let (debit, credit) = (account("debit")?, account("credit")?);
        let class = self.u8("class")?;
        let is_reversal = class & REVERSAL != 0;
        let class = Class::from_number(class & !REVERSAL);
        let class = class.ok_or(LeafError::Field { field: "class" })?;
        let amount = self.u64("amount")?;
        if amount == 0 {
            return Err(LeafError::Field { field: "amount" });
        }
        Ok(Line { seq, debit, credit, class, amount, is_reversal })
    }

    fn summary(&mut self) -> Result<Summary, LeafError> {
        let (interval, end) = (self.time("interval")?, self.time("end")?);
        let revision = self.u32("revision")?;
        let old_leaf = self.u64("old leaf")?;
        let old_leaf = (old_leaf != NO_LEAF).then_some(old_leaf);
        if old_leaf.is_some() != (revision > 0) {
            return Err(LeafError::Field { field: "old leaf" });
        }
        let leaves = self.u32("number of leaves")?;
        let (first_entry, entries) = (self.u64("first entry")?, self.u32("number of entries")?);
        let (supplied, used) = (self.u128("supplied")?, self.u128("used")?);
        let pue = self.pue()?;
        let count = self.u16("number of reasons")?;
        let mut reasons = Vec::new();
        for _ in 0..count {
            let is_dispute = match self.u8("reason")? {
                0 => false,
                1 => true,
                _ => return Err(LeafError::Field { field: "reason" }),
            };
            reasons.push(ReasonShown { is_dispute, words: self.words("reason")? });
        }
        let reasons_more = self.u32("further reasons")?;
        Ok(Summary {
            interval,
            end,
            revision,
            old_leaf,
            leaves,
            first_entry,
            entries,
            supplied,
            used,
            pue,
            reasons,
            reasons_more,
        })
    }

    fn pue(&mut self) -> Result<PueShown, LeafError> {
        const FIELD: &str = "pue";
        if self.u8(FIELD)? == 0 {
            return Ok(PueShown::Withheld(match self.u8(FIELD)? {
                1 => Withheld::NoSupplyMeter,
                2 => Withheld::NoItMeter,
                3 => Withheld::MissingMeter { meter: self.words(FIELD)? },
                4 => Withheld::Disputed { point: self.words(FIELD)? },
                _ => return Err(LeafError::Field { field: FIELD }),
            }));
        }
        let category = Category::from_number(self.u8(FIELD)?);
        let category = category.ok_or(LeafError::Field { field: FIELD })?;
        let (total, it) = (self.u128(FIELD)?, self.u128(FIELD)?);
        let (store_drawn, estimated) = (self.u128(FIELD)?, self.u128(FIELD)?);
        let mut by_source = BTreeMap::new();
        for _ in 0..self.u8(FIELD)? {
            let number = self.u8(FIELD)?;
            let role = Role::ALL.into_iter().find(|role| role_number(*role) == number);
            let role = role.ok_or(LeafError::Field { field: FIELD })?;
            by_source.insert(role, self.u128(FIELD)?);
        }
        Ok(PueShown::Parts { total, it, by_source, store_drawn, estimated, category })
    }
}
