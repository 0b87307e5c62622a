//! `pue`: the figure as the API shows it, then everything that it rests on; of several hubs, one
//! figure in both ways that are in use (`together`).

use clap::Args;
use serde::Deserialize;

use super::layout::{Amount, Table, WIDTH, field, period, share, wrapped};
use super::{AnswerError, Period, Said, Scope, URL, together};

/// What stands for every hub.
const ALL: &str = "all";

#[derive(Debug, Args)]
pub struct Ask {
    /// Hubs are listed by `status`. More than one, or all: one figure of them together.
    #[arg(long, required = true)]
    hub: Vec<String>,
    #[command(flatten)]
    period: Period,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/hubs/{hub}/pue`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    hub: String,
    from: String,
    to: String,
    pue: Option<Figure>,
    no_pue: Option<WhyNot>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    kind: String,
    category: u8,
    standard: Option<String>,
    wp49: String,
    /// The only form in which it may be printed.
    shown: String,
    total_mj: Amount,
    it_mj: Amount,
    intervals_complete: u32,
    intervals_expected: u32,
    coverage: Coverage,
    by_source: Vec<Source>,
    store_drawn_mj: Amount,
    estimated_mj: Amount,
    estimated: Estimated,
    uncertainty: Option<Uncertainty>,
    uncertainty_unstated: Option<String>,
    residual: Residual,
    meters: Vec<Meter>,
    status: String,
    intervals_provisional: u32,
    adjustments: u64,
    withheld: Vec<Withheld>,
}

#[derive(Debug, Deserialize)]
struct Coverage {
    time: String,
    energy: String,
    gap_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Estimated {
    share: String,
    share_max: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Uncertainty {
    independent: String,
    correlated: String,
}

#[derive(Debug, Deserialize)]
struct Residual {
    unexplained_mj: Amount,
    contradicted_mj: Amount,
    outside_mj: Amount,
}

#[derive(Debug, Deserialize)]
struct Meter {
    meter: String,
    term: String,
    energy_mj: Amount,
    serial: Option<String>,
    class: Option<String>,
    ct_class: Option<String>,
    calibration_due: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Source {
    source: String,
    energy_mj: Amount,
}

#[derive(Debug, Deserialize)]
struct Withheld {
    reason: String,
    intervals: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct WhyNot {
    pub(super) code: String,
    pub(super) message: String,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let hub = match asked.hub.as_slice() {
        [hub] if hub != ALL => hub.clone(),
        hubs => {
            let is_all = hubs.iter().any(|hub| hub == ALL);
            let hubs = (!is_all).then_some(hubs);
            return together::answer(&asked.url, hubs, &asked.period, asked.json).await;
        }
    };
    let scope = Scope { hub, period: asked.period.clone(), url: asked.url.clone() };
    let told = scope.ask::<Answer>("pue").await?;
    let said = told.json_or(asked.json, Answer::show);
    Ok(Said { has_figure: told.read.pue.is_some(), ..said })
}

/// Why there is none, above whatever was asked.
pub(super) fn show_none(why: Option<&WhyNot>, asked: &str) -> String {
    let (code, message) = match why {
        Some(why) => (why.code.as_str(), why.message.as_str()),
        None => ("unknown", "the collector does not say why"),
    };
    let mut text = wrapped(&format!("no PUE: {message}"), WIDTH).join("\n") + "\n\n";
    text.push_str(asked);
    text.push_str(&field("code", code));
    text
}

/// Both bounds, or why there are none.
pub(super) fn doubt(known: Option<&Uncertainty>, unstated: Option<&str>) -> String {
    match known {
        Some(Uncertainty { independent, correlated }) => format!(
            "±{independent} if meters err independently, ±{correlated} if all of a term err alike \
             (k = 2)"
        ),
        None => format!("not stated: {}", unstated.unwrap_or("the collector does not say why")),
    }
}

impl Answer {
    pub(super) fn show(&self) -> String {
        let Some(figure) = &self.pue else {
            let asked = field("hub", &self.hub) + &period(&self.from, &self.to);
            return show_none(self.no_pue.as_ref(), &asked);
        };
        let mut text = wrapped(&figure.shown, WIDTH).join("\n") + "\n\n";
        text.push_str(&field("hub", &self.hub));
        text.push_str(&figure.fields(&self.from, &self.to));
        text.push('\n');
        text.push_str(&figure.terms());
        text.push('\n');
        text.push_str(&figure.meters());
        text
    }
}

impl Figure {
    fn fields(&self, from: &str, to: &str) -> String {
        let kind = match self.kind.as_str() {
            "iPUE" => "iPUE: interim, over another period than twelve measured months",
            "PUE" => "PUE: over twelve consecutive measured months",
            other => other,
        };
        let mut text = field("kind", kind);
        text.push_str(&field("category", &self.category.to_string()));
        text.push_str(&field("standard", self.standard.as_deref().unwrap_or("not declared")));
        text.push_str(&field("level", &format!("{} (WP49)", self.wp49)));
        text.push_str(&period(from, to));
        text.push_str(&self.coverage());
        let doubt = doubt(self.uncertainty.as_ref(), self.uncertainty_unstated.as_deref());
        text.push_str(&field("uncertainty", &doubt));
        let Estimated { share, share_max } = &self.estimated;
        let words = format!("{share} of a term at most; there is no figure above {share_max}");
        text.push_str(&field("estimated", &words));
        let (status, open, changed) = (&self.status, self.intervals_provisional, self.adjustments);
        let words = format!(
            "{status}: {open} intervals can still be corrected, {changed} corrections so far"
        );
        text.push_str(&field("status", &words));
        text
    }

    fn coverage(&self) -> String {
        let (complete, expected) = (self.intervals_complete, self.intervals_expected);
        let Coverage { time, energy, gap_ms } = &self.coverage;
        let counted = format!(
            "{complete} of {expected} intervals count: {time} of the time, {energy} of the energy \
             that is known"
        );
        let mut text = field("coverage", &counted);
        if *gap_ms > 0 {
            text.push_str(&field("longest gap", &minutes(*gap_ms)));
        }
        let mut unexplained = expected.saturating_sub(complete);
        for Withheld { reason, intervals } in &self.withheld {
            unexplained = unexplained.saturating_sub(*intervals);
            text.push_str(&field("not counted", &format!("{intervals}: {reason}")));
        }
        if unexplained > 0 {
            text.push_str(&field("not counted", &format!("{unexplained}: not booked")));
        }
        text
    }

    /// Numerator and denominator, the supplies apart, and what is in neither.
    fn terms(&self) -> String {
        let (total, it) = (self.total_mj.get(), self.it_mj.get());
        let mut table = Table::new(1, ["energy", "amount", "mJ", "share"]);
        let mut row = |name: &str, amount: Amount, share: String| {
            table.row([name.to_owned(), amount.human(), amount.exact(), share]);
        };
        row("numerator: into the data centre", self.total_mj, String::new());
        for Source { source, energy_mj } in &self.by_source {
            row(&format!("  from {source}"), *energy_mj, share(energy_mj.get(), total));
        }
        row("denominator: IT", self.it_mj, String::new());
        row("estimated part of the two", self.estimated_mj, {
            share(self.estimated_mj.get(), total.saturating_add(it))
        });
        row("UPS stores gave, in neither", self.store_drawn_mj, String::new());
        let unexplained = self.residual.unexplained_mj;
        row("no meter explains", unexplained, share(unexplained.get(), total));
        for (name, amount) in [
            ("meters contradict, in neither", self.residual.contradicted_mj),
            ("not in the diagram, in neither", self.residual.outside_mj),
        ] {
            if amount.get() > 0 {
                row(name, amount, String::new());
            }
        }
        table.show()
    }

    /// What counted, by what is known of it.
    fn meters(&self) -> String {
        let head = ["meter", "of", "class", "CT class", "serial", "calibration due", "amount"];
        let mut table = Table::new(6, head);
        for meter in &self.meters {
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            table.row([
                meter.meter.clone(),
                meter.term.clone(),
                or(&meter.class),
                or(&meter.ct_class),
                or(&meter.serial),
                or(&meter.calibration_due),
                meter.energy_mj.human(),
            ]);
        }
        table.show()
    }
}

/// Gaps are whole intervals, mostly of minutes.
fn minutes(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ => format!("{} s", ms / 1_000),
    }
}
