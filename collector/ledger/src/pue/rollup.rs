//! One figure of several hubs: the ratio of sums, and the mean that the European Union makes.

use bijli_wire::HubId;

use super::doubt::{Counted, Relative, Uncertainty, divided, square};
use super::show::{rounded, value};
use super::sum::counted;
use super::{Pue, Term, Unstated};

/// In which way hubs are put together. The two differ: 130/100 and 16/10 are 1.327 and 1.333.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// Sum of E_DC over sum of E_IT: what one hub with all their equipment would have.
    Sums,
    /// The hubs' PUEs weighted by their E_DC, as Regulation (EU) 2024/1364 aggregates.
    TotalEnergy,
}

impl Weighting {
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Sums => "sum of E_DC over sum of E_IT",
            Self::TotalEnergy => "mean weighted by total energy, as (EU) 2024/1364 aggregates",
        }
    }
}

/// Several hubs' figures of one kind, category and period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUp {
    figures: Vec<(HubId, Pue)>,
}

/// Why figures cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotMix {
    #[error("there is no figure to put together")]
    Nothing,
    #[error("{what} of {first} and {other} differ: {ours} and {theirs}")]
    Differ { what: &'static str, first: HubId, other: HubId, ours: String, theirs: String },
}

/// Puts figures together.
///
/// # Errors
/// They differ in kind, category, standard or period, and would mean nothing together.
pub fn roll_up(figures: Vec<(HubId, Pue)>) -> Result<RollUp, CannotMix> {
    let (first, ours) = figures.first().ok_or(CannotMix::Nothing)?;
    for (other, theirs) in &figures {
        let of = |pue: &Pue| {
            [
                ("the kinds", pue.kind.to_string()),
                ("the categories", pue.category.number().to_string()),
                ("the standards", pue.policy.standard.clone().unwrap_or_default()),
                ("the periods", pue.policy.zone().period(pue.from, pue.to)),
            ]
        };
        let pairs = of(ours).into_iter().zip(of(theirs));
        if let Some(((what, ours), (_, theirs))) = pairs.into_iter().find(|(a, b)| a != b) {
            let (first, other) = (first.clone(), other.clone());
            return Err(CannotMix::Differ { what, first, other, ours, theirs });
        }
    }
    Ok(RollUp { figures })
}

impl RollUp {
    #[must_use]
    pub fn figures(&self) -> &[(HubId, Pue)] {
        &self.figures
    }

    #[must_use]
    pub fn total(&self) -> u128 {
        self.figures.iter().fold(0, |sum: u128, (_, pue)| sum.saturating_add(pue.total))
    }

    #[must_use]
    pub fn it(&self) -> u128 {
        self.figures.iter().fold(0, |sum: u128, (_, pue)| sum.saturating_add(pue.it))
    }

    /// The only form in which it is printed:
    /// `PUE2 of isb, khi (2026-07-01/2027-06-30) = 1.33 ± 0.02, sum of E_DC over sum of E_IT`.
    #[must_use]
    pub fn shown(&self, weighting: Weighting) -> String {
        let Some((_, first)) = self.figures.first() else { return String::new() };
        let names: Vec<&str> = self.figures.iter().map(|(hub, _)| hub.as_str()).collect();
        let period = first.policy.zone().period(first.from, first.to);
        let (kind, category) = (&first.kind, first.category.number());
        let uncertainty = self.uncertainty(weighting);
        let value = value(&|scale| self.at(weighting, scale), uncertainty.as_ref().ok());
        let why = uncertainty.err().map(|why| format!(" ({why})")).unwrap_or_default();
        let (names, words) = (names.join(", "), weighting.words());
        format!("{kind}{category} of {names} ({period}) = {value}{why}, {words}")
    }

    /// Its uncertainty, k = 2.
    ///
    /// # Errors
    /// That of one of the hubs is not stated.
    pub fn uncertainty(&self, weighting: Weighting) -> Result<Uncertainty, Unstated> {
        let terms = self.figures.iter().map(|(hub, pue)| {
            Terms::of(pue)
                .map_err(|why| Unstated::Hub { hub: hub.to_string(), why: why.to_string() })
        });
        let terms: Vec<Terms> = terms.collect::<Result<_, _>>()?;
        Ok(match weighting {
            Weighting::Sums => of_sums(self.total(), self.it(), &terms),
            Weighting::TotalEnergy => of_mean(self, &terms),
        })
    }

    /// In units of `1 / scale`, rounded half up.
    fn at(&self, weighting: Weighting, scale: u128) -> u128 {
        match weighting {
            Weighting::Sums => rounded(self.total().saturating_mul(scale), self.it()),
            Weighting::TotalEnergy => rounded(self.mean_nano().saturating_mul(scale), NANO),
        }
    }

    /// The mean in billionths, each hub's part cut to one.
    fn mean_nano(&self) -> u128 {
        let total = self.total();
        self.figures.iter().fold(0, |sum: u128, (_, pue)| {
            let part = weight(pue.total, total).saturating_mul(nano(pue));
            sum.saturating_add(divided(part, TRILLION))
        })
    }
}

const TRILLION: u128 = 1_000_000_000_000;
const NANO: u128 = 1_000_000_000;

/// In parts per trillion.
fn weight(total: u128, of: u128) -> u128 {
    divided(total.saturating_mul(TRILLION), of)
}

/// One hub's ratio in billionths.
fn nano(pue: &Pue) -> u128 {
    rounded(pue.total.saturating_mul(NANO), pue.it)
}

/// What one term of a hub rests on.
#[derive(Clone, Default)]
struct Rests {
    meters: Vec<Counted>,
    estimated: u128,
    doubt_ppm: u32,
}

impl Rests {
    fn relative(&self) -> Relative {
        Relative::of(&self.meters, self.estimated, self.doubt_ppm)
    }

    /// All meters of all hubs are the meters of one figure. An estimate is doubted as the hub that
    /// doubts it most.
    fn with(mut self, other: &Self) -> Self {
        self.meters.extend(other.meters.iter().copied());
        self.estimated = self.estimated.saturating_add(other.estimated);
        self.doubt_ppm = self.doubt_ppm.max(other.doubt_ppm);
        self
    }
}

/// What both terms of a hub rest on.
struct Terms {
    total: Rests,
    it: Rests,
}

impl Terms {
    fn of(pue: &Pue) -> Result<Self, Unstated> {
        let doubt_ppm = pue.policy.estimate_doubt_ppm;
        let rests = |term, whole, estimated| -> Result<Rests, Unstated> {
            Ok(Rests { meters: counted(term, whole, &pue.meters)?, estimated, doubt_ppm })
        };
        Ok(Self {
            total: rests(Term::Total, pue.total, pue.total_estimated())?,
            it: rests(Term::It, pue.it, pue.it_estimated)?,
        })
    }
}

fn of_sums(total: u128, it: u128, terms: &[Terms]) -> Uncertainty {
    let of_total = terms.iter().fold(Rests::default(), |sum, one| sum.with(&one.total));
    let of_it = terms.iter().fold(Rests::default(), |sum, one| sum.with(&one.it));
    Uncertainty::of((total, of_total.relative()), (it, of_it.relative()))
}

/// The mean moves with E_DC of a hub by w (2 P - mean) and with its E_IT by w P, relatively: the
/// weights are themselves energies. Independent parts add in quadrature; correlated ones of all
/// hubs add up within each term.
fn of_mean(all: &RollUp, terms: &[Terms]) -> Uncertainty {
    let (whole, mean) = (all.total(), all.mean_nano());
    let (mut squares, mut sum_total, mut sum_it) = (0_u128, 0_u128, 0_u128);
    for ((_, pue), Terms { total, it }) in all.figures.iter().zip(terms) {
        let (weight, ratio) = (weight(pue.total, whole), nano(pue));
        let by_total = ratio.saturating_mul(2).abs_diff(mean);
        // Billionths of the figure.
        let moved = |by: u128, relative: u128| {
            divided(divided(weight.saturating_mul(by), TRILLION).saturating_mul(relative), TRILLION)
        };
        let (total, it) = (total.relative(), it.relative());
        squares = squares
            .saturating_add(square(moved(by_total, total.independent)))
            .saturating_add(square(moved(ratio, it.independent)));
        sum_total = sum_total.saturating_add(moved(by_total, total.correlated));
        sum_it = sum_it.saturating_add(moved(ratio, it.correlated));
    }
    let expanded = |nano: u128| nano.saturating_mul(2).div_ceil(1_000);
    let correlated = square(sum_total).saturating_add(square(sum_it)).isqrt();
    Uncertainty {
        independent_micro: expanded(squares.isqrt()),
        correlated_micro: expanded(correlated),
    }
}
