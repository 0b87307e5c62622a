//! What the demo's terminal shows: one screen of 80 by 24 that is drawn over itself, or a line now
//! and then where there is no terminal. With `--json` it is on stderr.

use std::io::{IsTerminal, Write};

use bijli_ledger::Pue;
use bijli_wire::units::{human_energy, human_power};

use super::HERE;
use super::progress::Phase;
use crate::page::svg::share;
use crate::page::tables::Ends;
use crate::page::view::{Closed, Day, HubView, View, span};
use crate::state::State;

/// The narrowest terminal that shows everything.
const WIDTH: usize = 80;
/// Looks between two lines where there is no terminal.
const LINE_EVERY: u32 = 5;
const BAR: u64 = 30;
/// Characters of a project's name.
const NAME: usize = 18;

#[derive(Debug)]
pub(super) struct Screen {
    is_stderr: bool,
    is_terminal: bool,
    page: String,
    kept: Closed,
    shown: u32,
    last_line: String,
}

impl Screen {
    /// `page` is where the browser finds the same.
    pub(super) fn new(is_stderr: bool, page: String) -> Self {
        let is_terminal = match is_stderr {
            true => std::io::stderr().is_terminal(),
            false => std::io::stdout().is_terminal(),
        };
        Self {
            is_stderr,
            is_terminal,
            page,
            kept: Closed::default(),
            shown: 0,
            last_line: String::new(),
        }
    }

    pub(super) fn show(&mut self, state: &State, phase: Phase) {
        let view = View::of(state, &self.kept);
        let text = if self.is_terminal {
            let clear = if self.shown == 0 { "\x1b[2J" } else { "" };
            let whole = self.whole(&view, &phase_line(phase));
            format!("{clear}{}", over(&whole))
        } else if self.shown == 0 {
            format!("{}page: {}\n", banner(&view), self.page)
        } else if self.shown.is_multiple_of(LINE_EVERY) {
            self.news(line(&view, phase))
        } else {
            String::new()
        };
        self.shown = self.shown.wrapping_add(1);
        let mut out: Box<dyn Write> =
            if self.is_stderr { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        // A closed terminal ends the demo by its signal, not here.
        let _shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// What was said is not said again.
    fn news(&mut self, line: String) -> String {
        if line == self.last_line {
            return String::new();
        }
        self.last_line.clone_from(&line);
        line
    }

    /// The last look, which stays on the terminal.
    pub(super) fn last(&self, state: &State) -> String {
        let view = View::of(state, &self.kept);
        let whole = self.whole(&view, "ended; nothing that it started is left");
        if self.is_terminal { over(&whole) } else { whole }
    }

    fn whole(&self, view: &View, phase: &str) -> String {
        let mut lines = vec![
            banner(view).trim_end().to_owned(),
            format!("page  {:42}  Ctrl-C ends the demo", self.page),
            String::new(),
        ];
        for hub in &view.hubs {
            lines.extend(if hub.id == HERE { here(hub) } else { simulated(hub) });
            lines.push(String::new());
        }
        lines.push(phase.to_owned());
        lines.into_iter().map(|line| fit(&line) + "\n").collect()
    }
}

/// Drawn over what is there, without a flicker.
fn over(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn banner(view: &View) -> String {
    view.banner.as_ref().map(|banner| format!("{banner}\n")).unwrap_or_default()
}

/// Cut to the width, without the blanks that end it.
fn fit(line: &str) -> String {
    let cut: String = line.chars().take(WIDTH).collect();
    cut.trim_end().to_owned()
}

fn phase_line(phase: Phase) -> String {
    match phase {
        Phase::Playing { percent } => {
            let done = BAR * percent.min(100) / 100;
            let bar = |count: u64, of: &str| (0..count).map(|_| of).collect::<String>();
            let (full, empty) = (bar(done, "#"), bar(BAR - done, "."));
            let words = if percent < 99 { "the past is played" } else { "the last of it is sent" };
            format!("[{full}{empty}] {percent:>3} %  history: {words}")
        }
        Phase::Booking => "history: all in; what came late is booked 10 s later".to_owned(),
        Phase::Live => "live: a second per second; each minute one interval closes".to_owned(),
    }
}

/// For logs and pipes.
fn line(view: &View, phase: Phase) -> String {
    let simulated = view.hubs.iter().filter(|hub| hub.id != HERE);
    let words = |hub: &HubView| match phase {
        Phase::Playing { .. } | Phase::Booking => format!("{}\n", phase_line(phase)),
        Phase::Live => {
            let pue = match hub.day.as_deref().map(|day| &day.pue) {
                Some(Ok(pue)) => pue.to_string(),
                Some(Err(why)) => format!("no PUE, {why}"),
                None => "no PUE yet".to_owned(),
            };
            format!("{}: {pue}; {}\n", hub.id, books(hub))
        }
    };
    simulated.map(words).collect()
}

fn row(name: &str, value: &str) -> String {
    format!("  {name:<9} {value}")
}

fn simulated(hub: &HubView) -> Vec<String> {
    let mut lines = vec![format!("{}, hub {}", hub.title, hub.id)];
    let day = hub.day.as_deref().filter(|day| !day.flows.is_empty());
    match day.map(|day| (&day.pue, day)) {
        Some((Ok(pue), day)) => {
            lines.push(row("PUE", &pue_words(pue)));
            lines.push(row("", &pue_terms(pue, day)));
        }
        Some((Err(why), _)) => lines.push(row("PUE", &format!("none: {why}"))),
        None => lines.push(row("PUE", "none yet: nothing is booked")),
    }
    lines.push(row("power now", &power(hub)));
    lines.push(row("books", &books(hub)));
    lines.push(row("nodes", &nodes(hub)));
    if let Some(day) = day {
        lines.push(String::new());
        lines.extend(projects(&Ends::of(&day.flows)));
    }
    lines
}

/// A PUE is never shown without kind, category, period and coverage.
fn pue_words(pue: &Pue) -> String {
    format!(
        "{} {}, category {}, coverage {} of {} intervals",
        pue.kind.word(),
        pue.value(),
        pue.category.number(),
        pue.intervals_complete,
        pue.intervals_expected,
    )
}

fn pue_terms(pue: &Pue, day: &Day) -> String {
    format!(
        "= {} in / {} of IT, {}",
        human_energy(pue.total),
        human_energy(pue.it),
        span(day.period),
    )
}

fn power(hub: &HubView) -> String {
    let words = |power: Option<u64>| power.map_or_else(|| "–".to_owned(), human_power);
    format!("{} in, {} of IT", words(hub.supply_power()), words(hub.it_power()))
}

fn books(hub: &HubView) -> String {
    let ends = hub.day.as_deref().map(|day| Ends::of(&day.flows));
    let (entered, ended) = ends.map_or((0, 0), |ends| (ends.entered(), ends.ended()));
    let (entered, ended) = (human_energy(entered), human_energy(ended));
    match (hub.imbalance, hub.faults.is_empty()) {
        (0, true) => format!("balance to 0 mJ: {entered} in, {ended} used or lost"),
        (out, _) => format!("OUT BY {out} mJ: {entered} in, {ended} used or lost"),
    }
}

fn nodes(hub: &HubView) -> String {
    let machines: Vec<_> = hub.nodes.iter().filter(|node| !node.is_gateway).collect();
    let up = machines.iter().filter(|node| node.is_up).count();
    let gpus: usize = machines.iter().map(|node| node.gpus).sum();
    let hottest = machines.iter().filter_map(|node| node.hottest).max();
    let mut text = format!("{up} of {} report, {gpus} GPUs", machines.len());
    if let Some(hottest) = hottest {
        text.push_str(&format!(", hottest {} °C", hottest / 1_000));
    }
    if !hub.meters.is_empty() {
        text.push_str(&format!("; {} meters", hub.meters.len()));
    }
    text
}

/// Projects, largest first, then what is nobody's.
fn projects(ends: &Ends) -> Vec<String> {
    let line = |name: &str, cells: [&str; 5]| {
        let [active, held, hosts, total, share] = cells;
        let name: String = name.chars().take(NAME).collect();
        format!("  {name:<NAME$} {active:>11} {held:>11} {hosts:>11} {total:>11} {share:>7}")
    };
    let it = ends.it();
    let mut lines = vec![line("project", ["GPUs active", "held idle", "hosts", "total", "of IT"])];
    for (project, parts) in ends.projects_by_size() {
        let total = parts.iter().fold(0, |sum: u128, part| sum.saturating_add(*part));
        let [active, held, host] = parts.map(human_energy);
        let cells = [&active, &held, &host, &human_energy(total), &share(total, it)];
        lines.push(line(project.as_str(), cells.map(String::as_str)));
    }
    for (title, energy) in ends.nobody() {
        lines.push(line(title, ["", "", "", &human_energy(energy), &share(energy, it)]));
    }
    lines
}

/// The real machine in three lines.
fn here(hub: &HubView) -> Vec<String> {
    let entered = hub.day.as_deref().map_or(0, |day| Ends::of(&day.flows).entered());
    let energy = match entered {
        0 => "no energy register to read".to_owned(),
        some => format!("{} booked", human_energy(some)),
    };
    vec![
        format!("{}, hub {}: real, read by an agent that this demo started", hub.title, hub.id),
        row("nodes", &nodes(hub)),
        row("PUE", &format!("none, for no supply meter is declared; {energy}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::hub::{self, NINE};

    fn screen() -> Screen {
        Screen {
            is_stderr: true,
            is_terminal: false,
            page: "http://127.0.0.1:8640/".to_owned(),
            kept: Closed::default(),
            shown: 0,
            last_line: String::new(),
        }
    }

    #[test]
    fn a_screen_fits_a_terminal_and_says_what_a_pue_must_carry() {
        let text = screen().last(&hub::state(NINE, 4));
        for words in [
            "All readings are simulated",
            "http://127.0.0.1:8640/",
            "iPUE 1.33 ± 0.02, category 1, coverage 4 of 4 intervals",
            "2026-08-01 09:00 to 10:00 UTC",
            "balance to 0 mJ",
            "climate",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(text.lines().count() < 24, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn before_anything_is_booked_it_says_so() {
        let state = hub::state(NINE, 0);
        let text = screen().last(&state);
        assert!(text.contains("none yet: nothing is booked"), "{text}");
        let view = View::of(&state, &Closed::default());
        let text = line(&view, Phase::Playing { percent: 50 });
        assert!(text.starts_with("[###############...............]  50 %  history"), "{text}");
    }
}
