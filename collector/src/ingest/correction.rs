//! Where a batch belongs in time when its sender's clock is wrong. Pure.
//!
//! A sender tells of each batch how long its machine was up, and of itself when, by this
//! collector's clock, its machine was switched on. Both together date the batch without its wall
//! clock. `docs/formats/wire.md` has the rule.

use bijli_wire::batch::Envelope;
use bijli_wire::{Batch, BootId, Table, UtcMillis, limits};

/// The request header that carries a [`Claim`].
pub const HEADER: &str = "bijli-clock";
/// A wall clock this good is left alone, in milliseconds.
const TRUSTED_MS: u64 = 2_000;
/// A batch cannot have been created later than now; what a round trip hides is far less.
const AHEAD_MS_MAX: i64 = 60_000;

/// What a sender knows of this collector's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub boot: BootId,
    /// This collector's UTC when that boot began.
    pub zero_ms: i64,
    /// How far off that may be.
    pub bound_ms: u64,
}

impl Claim {
    /// Reads `<boot> <zero_ms> <bound_ms>`; `None`: it is something else, and is not believed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let claim = Self {
            boot: words.next()?.parse().ok()?,
            zero_ms: words.next()?.parse().ok()?,
            bound_ms: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(claim)
    }
}

/// What must be added to every time of a batch; 0: its sender's clock is good, or nothing better
/// is known.
#[must_use]
pub fn offset_ms(envelope: &Envelope, claim: Option<Claim>, now: UtcMillis) -> i64 {
    let known = || {
        let uptime = envelope.uptime?;
        let claim = claim.filter(|claim| claim.boot == uptime.boot)?;
        let created = claim.zero_ms.checked_add(i64::try_from(uptime.at.get()).ok()?)?;
        let is_plausible =
            created >= limits::EARLIEST_UTC_MS && created <= now.get().saturating_add(AHEAD_MS_MAX);
        let offset = created.checked_sub(envelope.created.get()).filter(|_| is_plausible)?;
        let trusted = TRUSTED_MS.max(claim.bound_ms.saturating_mul(2));
        (offset.unsigned_abs() > trusted).then_some(offset)
    };
    known().unwrap_or(0)
}

/// Moves a batch in time, all of it.
pub fn shift(batch: &mut Batch<Table>, offset_ms: i64) {
    if offset_ms == 0 {
        return;
    }
    let moved = |at: UtcMillis| UtcMillis::new(at.get().saturating_add(offset_ms));
    batch.created = moved(batch.created);
    for table in &mut batch.matrices {
        for time in &mut table.times {
            *time = moved(*time);
        }
    }
    for event in &mut batch.events {
        event.at = moved(event.at);
    }
    // A scheduler's own times are by another clock, but the node's times are all that pairs them.
    for hold in &mut batch.holds {
        hold.at = moved(hold.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bijli_wire::{BatchSeq, ContentHash, HubId, Millis, NodeId, SchemaId, SpoolEpoch, Uptime};

    const NOW: i64 = 1_800_000_000_000;
    const BOOT: BootId = BootId::new([7; 16]);

    fn envelope(created: i64, uptime: Option<u64>) -> Envelope {
        Envelope {
            hub: HubId::new("isb").expect("valid"),
            node: NodeId::new("n1").expect("valid"),
            epoch: SpoolEpoch::new([1; 16]),
            sequence: BatchSeq::FIRST,
            schema: SchemaId::new([2; 32]),
            created: UtcMillis::new(created),
            uptime: uptime.map(|ms| Uptime { boot: BOOT, at: Millis::new(ms) }),
            hash: ContentHash::new([3; 32]),
        }
    }

    #[test]
    fn k1_k2_a_wrong_clock_is_corrected_and_a_good_one_left_alone() {
        let claim = |boot, zero_ms, bound_ms| Some(Claim { boot, zero_ms, bound_ms });
        let zero = NOW - 100_000;
        for (created, uptime, claim, expected) in [
            // Switched on in 1970, a minute and a half ago.
            (90_000, Some(90_000), claim(BOOT, zero, 5), zero),
            // An hour behind, a day ahead.
            (NOW - 3_610_000, Some(90_000), claim(BOOT, zero, 5), 3_600_000),
            (NOW - 10_000 + 86_400_000, Some(90_000), claim(BOOT, zero, 5), -86_400_000),
            // Good to within two seconds, and to within twice the bound.
            (NOW - 12_000, Some(90_000), claim(BOOT, zero, 5), 0),
            (NOW - 12_001, Some(90_000), claim(BOOT, zero, 5), 2_001),
            (NOW - 15_000, Some(90_000), claim(BOOT, zero, 2_500), 0),
            // Of another boot, of an older sender, from the future, from before 2020.
            (90_000, Some(90_000), claim(BootId::new([8; 16]), zero, 5), 0),
            (90_000, None, claim(BOOT, zero, 5), 0),
            (90_000, Some(90_000), None, 0),
            (90_000, Some(90_000), claim(BOOT, NOW, 5), 0),
            (90_000, Some(90_000), claim(BOOT, 5, 5), 0),
            (90_000, Some(u64::MAX), claim(BOOT, zero, 5), 0),
            (i64::MIN, Some(90_000), claim(BOOT, zero, 5), 0),
        ] {
            let found = offset_ms(&envelope(created, uptime), claim, UtcMillis::new(NOW));
            assert_eq!(found, expected, "{created} {uptime:?} {claim:?}");
        }
    }

    #[test]
    fn only_a_whole_claim_is_read() {
        let boot = "07".repeat(16);
        let expected = Claim { boot: BOOT, zero_ms: -5, bound_ms: 6 };
        assert_eq!(Claim::parse(&format!("{boot} -5 6")), Some(expected));
        let odd = [String::new(), boot.clone(), format!("{boot} -5"), format!("{boot} -5 6 7")];
        for text in odd.iter().map(String::as_str).chain(["x 1 2", "07 1 -2"]) {
            assert_eq!(Claim::parse(text), None, "{text}");
        }
    }
}
