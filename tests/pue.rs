//! The uncertainty of a PUE against chance itself, and the example of `docs/pue.md` recomputed.

use std::fs;
use std::path::Path;

use bijli_ledger::pue::{Counted, ESTIMATE_DOUBT_PPM, Relative, Terms, Uncertainty};
use bijli_ledger::{AccuracyClass, Category, Limits, Offset, Pue, PueKind, PuePolicy, Role};
use bijli_wire::{Millis, UtcMillis};
use harness::rng::Rng;

/// Draws of one design: the deviation of 2 sigma is then known to about 1 %.
const DRAWS: u32 = 20_000;

/// Meters of both terms, each with energy and limits, and the estimated part of E_IT.
struct Design {
    total: Vec<Counted>,
    it: Vec<Counted>,
    estimated: u128,
}

fn float(number: u128) -> f64 {
    number.to_string().parse().expect("a number")
}

fn energy(meters: &[Counted]) -> u128 {
    meters.iter().map(|one| one.millijoules).sum()
}

/// Anywhere within -1 and 1.
fn rectangle(chance: &mut Rng) -> f64 {
    let steps = 1 << 30;
    2.0 * float(chance.below(steps).into()) / float(steps.into()) - 1.0
}

impl Design {
    fn drawn(chance: &mut Rng) -> Self {
        let limits = [1_000, 2_000, 5_000, 10_000, 20_000];
        let one = |chance: &mut Rng, ct: bool| Limits {
            meter_ppm: limits[chance.index(limits.len())],
            ct_ppm: if ct { limits[chance.index(limits.len())] } else { 0 },
        };
        let mut meters = |count: u64, most: u64| -> Vec<Counted> {
            let with_ct = chance.below(2) == 1;
            let draw = |_| Counted {
                millijoules: u128::from(1_000_000 + chance.below(most)),
                limits: one(chance, with_ct),
            };
            (0..count).map(draw).collect()
        };
        let (total, it) = (meters(3, 100_000_000), meters(7, 20_000_000));
        let estimated = energy(&it) * u128::from(chance.below(40)) / 1_000;
        Self { total, it, estimated }
    }

    fn stated(&self) -> Uncertainty {
        let total = Relative::of(&self.total, 0, ESTIMATE_DOUBT_PPM);
        let it = Relative::of(&self.it, self.estimated, ESTIMATE_DOUBT_PPM);
        Uncertainty::of((energy(&self.total), total), (energy(&self.it), it))
    }

    /// Twice the standard deviation of what meters would show, over many draws.
    fn by_chance(&self, chance: &mut Rng, is_correlated: bool) -> f64 {
        let shown = |chance: &mut Rng, meters: &[Counted]| -> f64 {
            // All chains of a term are off alike, by the same part of what each may be.
            let common = rectangle(chance);
            let of = |one: &Counted, chance: &mut Rng| {
                let (meter, ct) = (one.limits.meter_ppm.into(), one.limits.ct_ppm.into());
                let (meter, ct): (f64, f64) = (meter, ct);
                let off = if is_correlated {
                    common * meter.hypot(ct)
                } else {
                    rectangle(chance) * meter + rectangle(chance) * ct
                };
                float(one.millijoules) * (1.0 + off / 1e6)
            };
            meters.iter().map(|one| of(one, chance)).sum()
        };
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..DRAWS {
            let total = shown(chance, &self.total);
            // An estimate's standard uncertainty, as a rectangle of the same deviation.
            let doubt = f64::from(ESTIMATE_DOUBT_PPM) / 1e6 * 3.0_f64.sqrt();
            let guessed = float(self.estimated) * doubt * rectangle(chance);
            let ratio = total / (shown(chance, &self.it) + guessed);
            sum += ratio;
            squares += ratio * ratio;
        }
        let mean = sum / f64::from(DRAWS);
        2.0 * (squares / f64::from(DRAWS) - mean * mean).sqrt()
    }
}

/// Goal: the integers of the ledger say what twenty thousand hubs with such meters would show, for
/// designs drawn by chance, with and without what makes meters err alike.
#[test]
fn the_uncertainty_is_what_chance_gives() {
    let given = std::env::var("BIJLI_PUE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(7);
    let mut chance = Rng::new(seed);
    for number in 0..12 {
        let design = Design::drawn(&mut chance);
        let stated = design.stated();
        for (is_correlated, micro) in
            [(false, stated.independent_micro), (true, stated.correlated_micro)]
        {
            let found = design.by_chance(&mut chance, is_correlated);
            let stated = float(micro) / 1e6;
            let apart = (found / stated - 1.0).abs();
            assert!(apart < 0.03, "seed {seed}, design {number}: stated {stated}, found {found}");
        }
    }
}

/// Cells of the page's rows that have so many.
fn rows(page: &str, cells: usize) -> Vec<Vec<String>> {
    let row = |line: &str| -> Option<Vec<String>> {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let row: Vec<String> = line.split(" | ").map(str::to_owned).collect();
        (row.len() == cells).then_some(row)
    };
    page.lines().filter_map(row).collect()
}

fn kwh(text: &str) -> u128 {
    text.parse::<u128>().expect("whole kWh") * 3_600_000_000
}

/// The meters of one term of the example.
fn counted(page: &str, term: &str) -> Vec<Counted> {
    let limit = |text: &str| text.parse::<AccuracyClass>().map_or(0, |class| class.limit_ppm());
    let meters = rows(page, 5).into_iter().filter(|row| row[1] == term);
    let one = |row: Vec<String>| Counted {
        millijoules: kwh(&row[4]),
        limits: Limits { meter_ppm: limit(&row[2]), ct_ppm: limit(&row[3]) },
    };
    meters.map(one).collect()
}

/// Ten-thousandths of a percent, rounded to nearest.
fn percent(ppt: u128) -> String {
    let rounded = (ppt + 500_000) / 1_000_000;
    format!("{}.{:04} %", rounded / 10_000, rounded % 10_000)
}

/// Goal: no number of the page that an auditor reads is typed by hand and forgotten.
#[test]
fn the_example_of_the_page_is_recomputed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pue.md");
    let page = fs::read_to_string(path).expect("the page");
    let (total, it) = (counted(&page, "E_DC"), counted(&page, "E_IT"));
    assert_eq!((total.len(), it.len()), (3, 2), "the rows of the example");
    let said = page.lines().find_map(|line| line.strip_prefix("Of E_IT, ")).expect("the estimate");
    let estimated = kwh(said.split(' ').next().expect("a number"));
    let of_total = Relative::of(&total, 0, ESTIMATE_DOUBT_PPM);
    let of_it = Relative::of(&it, estimated, ESTIMATE_DOUBT_PPM);
    let known = Uncertainty::of((energy(&total), of_total), (energy(&it), of_it));
    let micro = |micro: u128| format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let (sum_total, sum_it) = (energy(&total) / 3_600_000_000, energy(&it) / 3_600_000_000);
    let bounds = [known.independent_micro, known.correlated_micro].map(micro).join(" | ");
    let row = |name: &str, of: Relative, sum: u128| {
        format!("| {name} = {sum} kWh | {} | {} |", percent(of.independent), percent(of.correlated))
    };
    for line in [
        row("E_DC", of_total, sum_total),
        row("E_IT", of_it, sum_it),
        format!("| U of {sum_total} / {sum_it}, k = 2 | {bounds} |"),
        format!("    {}", figure(energy(&total), energy(&it), known)),
    ] {
        assert!(page.lines().any(|found| found == line), "docs/pue.md should say: {line}");
    }
}

/// The example as a figure of a hub in Pakistan.
fn figure(total: u128, it: u128, known: Uncertainty) -> Pue {
    let day = 86_400_000_i64;
    let midnight = |days: i64| UtcMillis::new(days * day - 5 * 3_600_000);
    let offset: Offset = "+05:00".parse().expect("an offset");
    Pue {
        total,
        it,
        category: Category::UpsOutput,
        kind: PueKind::Annual,
        from: midnight(20_635),
        to: midnight(21_000),
        policy: PuePolicy { offset, ..PuePolicy::default() },
        interval: Millis::new(900_000),
        intervals_complete: 35_040,
        intervals_expected: 35_040,
        intervals_provisional: 0,
        adjustments: 0,
        known: Terms { total, it },
        gap: Millis::ZERO,
        by_source: [(Role::Grid, total)].into(),
        store_drawn: 0,
        estimated: 0,
        it_estimated: 0,
        unexplained: 0,
        contradicted: 0,
        outside: 0,
        meters: Vec::new(),
        uncertainty: Ok(known),
        withheld: Default::default(),
    }
}
