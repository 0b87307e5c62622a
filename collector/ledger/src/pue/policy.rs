//! What a hub decides about its PUE before there is one: the standard that it is under, how much of
//! it may be estimated, how far an estimate is believed, and where its days begin.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::civil::Offset;
use crate::zone::Zone;

/// A figure is withheld where more than this share of either term is estimated: 5 %, the
/// materiality that verifiers of energy and greenhouse gas statements commonly use (ISO 14064-3
/// asks for one and leaves the number to the engagement).
pub const ESTIMATED_PPM_MAX: u32 = 50_000;
/// Standard uncertainty (k = 1) of what was estimated: 15 %. Our own judgement of a blind stretch
/// of minutes filled at the power before it; no standard states one.
pub const ESTIMATE_DOUBT_PPM: u32 = 150_000;

/// What a hub decides about its PUE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PuePolicy {
    /// Standard and edition in which the figure is reported; `None`: nobody said.
    pub standard: Option<String>,
    /// In millionths of a term.
    pub estimated_ppm_max: u32,
    /// In millionths of the estimated energy, k = 1.
    pub estimate_doubt_ppm: u32,
    /// Where the hub's days and months begin, if no place is declared; else that place's time
    /// without summer time.
    pub offset: Offset,
    /// The place whose clocks the hub follows; `None`: the offset is all that is declared.
    pub place: Option<Zone>,
}

impl PuePolicy {
    /// The clock by which the hub counts days and months.
    #[must_use]
    pub fn zone(&self) -> Cow<'_, Zone> {
        match &self.place {
            Some(zone) => Cow::Borrowed(zone),
            None => Cow::Owned(self.offset.into()),
        }
    }
}

impl Default for PuePolicy {
    fn default() -> Self {
        Self {
            standard: None,
            estimated_ppm_max: ESTIMATED_PPM_MAX,
            estimate_doubt_ppm: ESTIMATE_DOUBT_PPM,
            offset: Offset::UTC,
            place: None,
        }
    }
}
