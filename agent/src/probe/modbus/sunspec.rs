//! `profile = "sunspec"`: a meter that says itself where its numbers are.
//!
//! A SunSpec device shows "SunS" at one of three places, and behind it one model after the other,
//! each with its number and length, up to model 0xFFFF. The offsets here are those of the SunSpec
//! Alliance's own files (github.com/sunspec/models, `json/model_1`, `201` to `204`, `211` to `214`;
//! the eight meters share two layouts). Where "SunS" may lie, how the list ends, and which numbers
//! mean "not implemented" is not in those files: it is from makers' and users' public sources.
//!
//! # Invariants
//! - What is used of the model is read in one request, scale factors included. A factor that is
//!   not the one that was found makes the row missing, and the meter is described anew.
//! - What is not implemented is not a series. A count of zero is none: SunSpec has no other word
//!   for a count that is not kept.

use std::collections::BTreeMap;

use super::decode::{NumberType, WordOrder};
use super::link::{self, Failure, Function, Identification, Link, Span};
use super::settings::RegisterConfig;
use crate::probe::{How, Note};

/// The name of the profile.
pub(super) const NAME: &str = "sunspec";

/// Where the list may begin, the usual place first.
const PLACES: [u16; 3] = [40_000, 50_000, 0];
const SUNS: [u16; 2] = [0x5375, 0x6e53];
const COMMON: u16 = 1;
const END: u16 = 0xffff;
/// More than any device has.
const MODELS_MAX: usize = 64;
const NOT_IMPLEMENTED: u16 = 0x8000;
/// Powers of ten.
const FACTORS: std::ops::RangeInclusive<i16> = -10..=10;

/// One number of a meter model. Offsets count from the model's own number.
struct Point {
    quantity: &'static str,
    part: u32,
    unit: &'static str,
    /// In models 201 to 204: the number and its scale factor.
    scaled: (u16, u16),
    /// In models 211 to 214.
    float: u16,
}

const fn point(
    (quantity, part): (&'static str, u32),
    unit: &'static str,
    scaled: (u16, u16),
    float: u16,
) -> Point {
    Point { quantity, part, unit, scaled, float }
}

const POINTS: [Point; 6] = [
    // TotWhImp, TotWh_SF
    point(("energy_register", 0), "Wh", (46, 54), 68),
    // W, W_SF
    point(("power_instant", 0), "W", (18, 22), 28),
    // Hz, Hz_SF
    point(("frequency", 0), "Hz", (16, 17), 26),
    // PhVphA, PhVphB, PhVphC, V_SF
    point(("voltage", 1), "V", (8, 15), 12),
    point(("voltage", 2), "V", (9, 15), 14),
    point(("voltage", 3), "V", (10, 15), 16),
];
/// One past the last word that is used, of either layout.
const SCALED_END: u16 = 55;
const FLOAT_END: u16 = 70;
/// Offsets and lengths of the common model's texts: Mn, Md, Vr, SN.
const TEXTS: [(u16, u16); 4] = [(2, 16), (18, 16), (42, 8), (50, 16)];

/// What is read in one request, and the scale factors that were found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) span: Span,
    factors: Vec<(Span, u16)>,
}

impl Block {
    /// Why this row is not to be believed; `None`: nothing speaks against it.
    pub(super) fn contradiction(&self, words: &BTreeMap<Span, Vec<u16>>) -> Option<String> {
        self.factors.iter().find_map(|(span, before)| {
            let now = *link::part(words, *span)?.first()?;
            let at = span.first;
            let [now, before] = [now, *before].map(|word| i16::from_be_bytes(word.to_be_bytes()));
            (now != before).then(|| format!("the scale factor at {at} was {before} and is {now}"))
        })
    }
}

/// A meter that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) block: Block,
    pub(super) registers: Vec<RegisterConfig>,
    pub(super) told: Identification,
    pub(super) notes: Vec<Note>,
}

/// A model of the list.
#[derive(Clone, Copy, Debug)]
struct Model {
    number: u16,
    at: u16,
    length: u16,
    /// The common model before it, which says whose it is.
    common: Option<u16>,
}

/// Finds the one meter that the device has.
pub(super) fn discover(link: &mut Link) -> Result<Found, Failure> {
    let wrong = |reason: String| Failure::Unreachable { reason };
    let base = base(link)?.ok_or_else(|| {
        let places = PLACES.map(|place| place.to_string()).join(", ");
        wrong(format!("no SunSpec device: no \"SunS\" at {places}"))
    })?;
    let meters = meters(link, base)?;
    match meters.as_slice() {
        [meter] => found(link, *meter),
        [] => Err(wrong("the SunSpec device lists no meter (model 201-204, 211-214)".to_owned())),
        several => {
            let each = several.iter().map(|one| format!("{} at {}", one.number, one.at));
            let each = each.collect::<Vec<String>>().join(", ");
            Err(wrong(format!("several meters ({each}): write its registers instead of a profile")))
        }
    }
}

fn base(link: &mut Link) -> Result<Option<u16>, Failure> {
    for place in PLACES {
        match link.read(holding(place, 2)) {
            Ok(words) if words == SUNS => return Ok(Some(place)),
            Ok(_) | Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

fn meters(link: &mut Link, base: u16) -> Result<Vec<Model>, Failure> {
    let (mut at, mut common, mut meters) = (base + 2, None, Vec::new());
    for _ in 0..MODELS_MAX {
        let head = link.read(holding(at, 2))?;
        let [number, length] = head.as_slice() else { break };
        let (number, length) = (*number, *length);
        match number {
            END => return Ok(meters),
            COMMON => common = Some(at),
            201..=204 | 211..=214 => meters.push(Model { number, at, length, common }),
            _ => {}
        }
        let Some(next) = at.checked_add(2).and_then(|at| at.checked_add(length)) else { break };
        at = next;
    }
    let reason = format!("the list of models from {base} has no end");
    Err(Failure::Unreachable { reason })
}

fn found(link: &mut Link, meter: Model) -> Result<Found, Failure> {
    let Model { number, at, length, common } = meter;
    let is_float = number > 210;
    let end = if is_float { FLOAT_END } else { SCALED_END };
    if u32::from(length) + 2 < u32::from(end) || at > u16::MAX - FLOAT_END {
        let reason = format!("model {number} at {at} has only {length} registers");
        return Err(Failure::Unreachable { reason });
    }
    let span = holding(at + 2, end - 2);
    let read = BTreeMap::from([(span, link.read(span)?)]);
    let mut found = Found {
        block: Block { span, factors: Vec::new() },
        registers: Vec::new(),
        told: common.map_or_else(|| Ok(Identification::default()), |at| texts(link, at))?,
        notes: vec![Note::new(
            How::Read,
            "profile",
            format!("SunSpec model {number}, at register {at}"),
        )],
    };
    for point in &POINTS {
        let register = match is_float {
            true => float(point, at, &read),
            false => scaled(point, at, &read, &mut found.block.factors)?,
        };
        match register {
            Some(register) => found.registers.push(register),
            None => {
                let what = point.quantity.replace('_', " ");
                found.notes.push(Note::new(How::NotOffered, &what, "the meter does not keep it"));
            }
        }
    }
    Ok(found)
}

fn float(point: &Point, at: u16, read: &BTreeMap<Span, Vec<u16>>) -> Option<RegisterConfig> {
    let words = link::part(read, holding(at + point.float, 2))?;
    let [high, low] = *words else { return None };
    let value = f32::from_bits(u32::from(high) << 16 | u32::from(low));
    (!value.is_nan()).then(|| register(point, at + point.float, NumberType::F32, 0))
}

fn scaled(
    point: &Point,
    at: u16,
    read: &BTreeMap<Span, Vec<u16>>,
    factors: &mut Vec<(Span, u16)>,
) -> Result<Option<RegisterConfig>, Failure> {
    let (number, factor) = (at + point.scaled.0, holding(at + point.scaled.1, 1));
    let is_energy = point.quantity == "energy_register";
    let kind = if is_energy { NumberType::U32 } else { NumberType::I16 };
    let words = link::part(read, holding(number, kind.words())).unwrap_or_default();
    let is_kept = match words {
        [word] => *word != NOT_IMPLEMENTED,
        words => words.iter().any(|word| *word != 0),
    };
    let raw = link::part(read, factor).and_then(<[u16]>::first).copied().unwrap_or_default();
    let is_told = raw != NOT_IMPLEMENTED;
    let power = if is_told { i16::from_be_bytes(raw.to_be_bytes()) } else { 0 };
    if !FACTORS.contains(&power) {
        let reason = format!("the scale factor at {} is {power}, which none is", factor.first);
        return Err(Failure::Unreachable { reason });
    }
    if is_kept && !factors.iter().any(|(span, _)| *span == factor) {
        factors.push((factor, raw));
    }
    Ok(is_kept.then(|| register(point, number, kind, power)))
}

fn register(point: &Point, register: u16, kind: NumberType, power: i16) -> RegisterConfig {
    RegisterConfig {
        quantity: point.quantity.to_owned(),
        function: Function::Holding,
        register,
        kind,
        word_order: Some(WordOrder::Abcd),
        unit: point.unit.to_owned(),
        scale: ten_to(power),
        part: point.part,
    }
}

/// As an exact decimal.
fn ten_to(power: i16) -> String {
    let zeros = |count: u16| "0".repeat(usize::from(count));
    match power {
        0.. => format!("1{}", zeros(power.unsigned_abs())),
        _ => format!("0.{}1", zeros(power.unsigned_abs() - 1)),
    }
}

/// Who the meter is, by the common model before it.
fn texts(link: &mut Link, at: u16) -> Result<Identification, Failure> {
    let mut texts = Vec::new();
    for (offset, words) in TEXTS {
        let bytes = link.read(holding(at + offset, words))?;
        let bytes: Vec<u8> = bytes.iter().flat_map(|word| word.to_be_bytes()).collect();
        texts.push(link::told(&bytes));
    }
    let [maker, model, firmware, serial] = texts.try_into().unwrap_or_default();
    let product = [maker, model].into_iter().flatten().collect::<Vec<String>>().join(" ");
    Ok(Identification { product: (!product.is_empty()).then_some(product), firmware, serial })
}

const fn holding(first: u16, words: u16) -> Span {
    Span { function: Function::Holding, first, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_are_exact() {
        for (power, text) in [(0, "1"), (3, "1000"), (-1, "0.1"), (-3, "0.001")] {
            assert_eq!(ten_to(power), text);
        }
    }

    #[test]
    fn every_point_lies_within_what_is_read() {
        for point in &POINTS {
            let words = if point.quantity == "energy_register" { 2 } else { 1 };
            assert!(point.scaled.0 + words <= SCALED_END && point.scaled.1 < SCALED_END);
            assert!(point.float + 2 <= FLOAT_END);
        }
    }

    #[test]
    fn another_scale_factor_contradicts() {
        let (block, factor) = (holding(100, 4), holding(103, 1));
        let block = Block { span: block, factors: vec![(factor, 0xffff)] };
        let row = |last| BTreeMap::from([(block.span, vec![1, 2, 3, last])]);
        assert_eq!(block.contradiction(&row(0xffff)), None);
        let words = block.contradiction(&row(0)).expect("another");
        assert_eq!(words, "the scale factor at 103 was -1 and is 0");
        assert_eq!(block.contradiction(&BTreeMap::new()), None, "not read is no contradiction");
    }
}
