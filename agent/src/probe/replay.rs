//! A recorded power trace, played as if a meter stood there: for trials, demonstrations and tests
//! against published answers.
//!
//! # Invariants
//! - Rows keep their recorded times, so that a whole trace can be pushed as fast as the spool has
//!   room; or, paced, they are shifted as one block and given out when their time has come.
//! - Every recorded row is integrated. Of rows with one and the same time the last is shown.
//! - Decimal watts become milliwatts exactly; what is no whole number of them refuses the trace.

use bijli_wire::batch::Subject;
use bijli_wire::limits::ROWS_MAX;
use bijli_wire::{Millis, Milliwatts, Quantity, SubjectId, SubjectKind, UtcMillis};
use serde::Deserialize;

use super::{
    Cadence, Context, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted,
    kernel, short,
};
use crate::probe::integrated::PowerRegister;
use bijli_wire::quantity;

pub use self::trace::Format;
pub use crate::probe::integrated::Rule;

mod trace;

/// Recorded once a second, as all known traces are.
const CADENCE: Cadence = Cadence::Recorded(Millis::new(1_000));
const GAP: Millis = Millis::new(5_000);

/// `[[replay]]` of the configuration: one trace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// The subject's id, unique in the hub.
    pub subject: String,
    #[serde(default)]
    pub kind: TraceKind,
    pub file: std::path::PathBuf,
    pub format: Format,
    /// `"-07:00"`: needed for `ptd`, whose times name no zone.
    #[serde(default)]
    pub utc_offset: Option<String>,
    pub integrate: Rule,
    #[serde(default)]
    pub pace: Pace,
    #[serde(deserialize_with = "quantity::de_power")]
    pub power_max: Milliwatts,
    #[serde(default)]
    pub label: String,
    #[serde(default)]
    pub model: String,
}

/// What the trace was recorded at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceKind {
    #[default]
    Meter,
    Node,
    Gpu,
}

/// When rows are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// At once, with their recorded times.
    #[default]
    Recorded,
    /// One after the other, the first of them now.
    Live,
}

/// Plays one trace.
#[derive(Debug)]
pub struct ReplayProbe {
    name: String,
    config: ReplayConfig,
    start: u64,
    rows: Vec<trace::Row>,
    next: usize,
    is_loaded: bool,
    register: PowerRegister,
    /// Added to recorded times when paced.
    shift_ms: Option<i64>,
}

impl ReplayProbe {
    #[must_use]
    pub fn new(config: &ReplayConfig, context: &Context) -> Self {
        Self {
            name: format!("replay:{}", config.subject),
            register: PowerRegister::new(config.integrate, None),
            config: config.clone(),
            start: context.start,
            rows: Vec::new(),
            next: 0,
            is_loaded: false,
            shift_ms: None,
        }
    }

    /// The epoch: recorded times played again are the same count; a paced one is a new count.
    fn epoch_start(&self) -> u64 {
        match self.config.pace {
            Pace::Recorded => 0,
            Pace::Live => self.start,
        }
    }

    fn load(&mut self) -> Result<(), ProbeError> {
        let path = self.config.file.display().to_string();
        let text = kernel::trace(&self.config.file)
            .map_err(|source| ProbeError::File { path: path.clone(), source })?;
        let offset = self.config.utc_offset.as_deref();
        self.rows = trace::rows(&text, self.config.format, offset)
            .map_err(|(line, rule)| ProbeError::Trace { path, line, rule })?;
        self.is_loaded = true;
        Ok(())
    }

    /// Whether `row` may be given out now.
    fn is_due(&self, row: trace::Row, now: UtcMillis) -> bool {
        match self.config.pace {
            Pace::Recorded => true,
            Pace::Live => shifted(row.at, self.shift_ms).is_some_and(|at| at <= now),
        }
    }

    /// The next row: integrates all rows of its time, shows the last of them.
    fn play(&mut self) -> Option<Sample> {
        let at = self.rows.get(self.next)?.at;
        let mut values = Vec::with_capacity(2);
        while let Some(row) = self.rows.get(self.next).filter(|row| row.at == at) {
            // Recorded times are after 1970 and never step back; the parser saw to both.
            let since_1970 = Millis::new(u64::try_from(row.at.get()).unwrap_or(0));
            let count = self.register.step(Some(row.power), since_1970);
            let power = i64::try_from(row.power.get()).ok();
            values.clear();
            values.push(count.and_then(|count| admitted(Quantity::EnergyRegister, count)));
            values.push(power.and_then(|power| admitted(Quantity::PowerAverage, power)));
            self.next += 1;
        }
        let at = shifted(at, self.shift_ms)?;
        Some(Sample { cadence: CADENCE, at: Some(at), values })
    }
}

impl Probe for ReplayProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        if !self.is_loaded {
            self.load()?;
        }
        let shape = (self.config.power_max, GAP);
        let id = SubjectId::new(&self.config.subject);
        let subject = Subject {
            id: id.map_err(|source| ProbeError::Name { source })?,
            kind: match self.config.kind {
                TraceKind::Meter => SubjectKind::Meter,
                TraceKind::Node => SubjectKind::Node,
                TraceKind::Gpu => SubjectKind::Gpu,
            },
            label: short(&self.config.label),
            model: short(&self.config.model),
            serial: String::new(),
            register: Some(self.register.declare(&self.config.subject, self.epoch_start(), shape)),
        };
        let offer = |quantity| Offer { cadence: CADENCE, subject: 0, quantity, part: 0 };
        let series = vec![offer(Quantity::EnergyRegister), offer(Quantity::PowerAverage)];
        let rule = match self.config.integrate {
            Rule::Previous => "each reading stands for the time since the one before",
            Rule::Trapezoid => "straight lines between readings",
        };
        let words = format!("recorded power, {} readings, integrated: {rule}", self.rows.len());
        let notes = vec![Note::new(How::Integrated, "energy", words)];
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let mut samples = Vec::new();
        if !due.contains(&CADENCE) {
            return samples;
        }
        if self.config.pace == Pace::Live && self.shift_ms.is_none() {
            let first = self.rows.first().map(|row| row.at.get());
            self.shift_ms = first.and_then(|first| now.utc.get().checked_sub(first));
        }
        while samples.len() < ROWS_MAX
            && let Some(row) = self.rows.get(self.next).copied()
            && self.is_due(row, now.utc)
            && let Some(sample) = self.play()
        {
            samples.push(sample);
        }
        samples
    }

    fn is_finished(&self) -> bool {
        self.is_loaded && self.next >= self.rows.len()
    }
}

fn shifted(at: UtcMillis, shift_ms: Option<i64>) -> Option<UtcMillis> {
    at.get().checked_add(shift_ms.unwrap_or(0)).map(UtcMillis::new)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the traces that they play")]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use bijli_wire::{Method, NodeId};

    /// The first and last lines of a real trace (MLPerf Inference v4.1, 8xH200, PTDaemon).
    const PTD: &str = "\
Time,07-17-2024 09:44:23.305,Watts,2406.500000,Volts,239.166667,Amps,3.478000,PF,0.964409,Mark,x
Time,07-17-2024 09:44:24.305,Watts,2414.600000,Volts,239.170000,Amps,3.489333,PF,0.964431,Mark,x
Time,07-17-2024 09:44:25.306,Watts,2458.700000,Volts,239.160000,Amps,3.553000,PF,0.964510,Mark,x

";

    fn play(text: &str, format: &str, rule: &str, pace: &str) -> (Description, ReplayProbe) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        std::fs::write(&file, text).unwrap();
        let config = format!(
            "subject = \"h200\"\nkind = \"node\"\nfile = {:?}\nformat = \"{format}\"\n\
             utc_offset = \"-07:00\"\nintegrate = \"{rule}\"\npace = \"{pace}\"\n\
             power_max = \"12 kW\"",
            file.display().to_string()
        );
        let config: ReplayConfig = toml::from_str(&config).expect("a configuration");
        let context = Context::new(NodeId::new("n1").unwrap(), 5, String::new());
        let mut probe = ReplayProbe::new(&config, &context);
        let description = probe.describe().expect("a good trace");
        (description, probe)
    }

    fn read(probe: &mut ReplayProbe, utc: i64) -> Vec<(i64, Option<i64>, Option<i64>)> {
        let now = Tick { utc: UtcMillis::new(utc), monotonic: Moment::new(0) };
        let samples = probe.read(&[CADENCE], now);
        let row = |s: &Sample| (s.at.expect("its own").get(), s.values[0], s.values[1]);
        samples.iter().map(row).collect()
    }

    #[test]
    fn a_trace_is_pushed_at_once_with_its_own_times() {
        let (description, mut probe) = play(PTD, "ptd", "previous", "recorded");
        let register = description.subjects[0].register.expect("integrated");
        assert_eq!((register.method, register.denominator), (Method::Integrated, 1));
        assert_eq!(description.subjects[0].kind, SubjectKind::Node);
        assert!(!probe.is_finished());
        // 2414.6 W x 1.000 s, then 2458.7 W x 1.001 s, in mJ rounded down once.
        assert_eq!(
            read(&mut probe, 0),
            [
                (1_721_234_663_305, Some(0), Some(2_406_500)),
                (1_721_234_664_305, Some(2_414_600), Some(2_414_600)),
                (1_721_234_665_306, Some(2_414_600 + 2_461_158), Some(2_458_700)),
            ]
        );
        assert!(probe.is_finished());
        assert!(read(&mut probe, 0).is_empty());
    }

    #[test]
    fn trapezoids_count_half_millijoules() {
        let (description, mut probe) = play(PTD, "ptd", "trapezoid", "recorded");
        assert_eq!(description.subjects[0].register.expect("integrated").denominator, 2);
        let counts: Vec<Option<i64>> = read(&mut probe, 0).iter().map(|row| row.1).collect();
        let first = 2_406_500 + 2_414_600;
        // (2414.6 + 2458.7) W x 1.001 s = 4878.1733 J, in half millijoules.
        assert_eq!(counts, [Some(0), Some(first), Some(first + 4_878_173)]);
    }

    #[test]
    fn paced_rows_come_when_their_time_has_come() {
        let (_, mut probe) = play(PTD, "ptd", "previous", "live");
        let now = 1_800_000_000_000;
        let times = |rows: Vec<(i64, Option<i64>, Option<i64>)>| -> Vec<i64> {
            rows.iter().map(|row| row.0 - now).collect()
        };
        assert_eq!(times(read(&mut probe, now)), [0]);
        assert!(read(&mut probe, now + 999).is_empty());
        assert_eq!(times(read(&mut probe, now + 2_500)), [1_000, 2_001]);
        assert!(probe.is_finished());
    }

    #[test]
    fn rows_of_one_time_are_all_integrated_and_shown_once() {
        let rows = [(0, 1_000), (1, 2_000), (1, 9_000), (2, 1_000)];
        let rows = rows.map(|(s, mw)| format!("{},{mw}\n", 1_000_000_000_000_i64 + s * 1_000));
        let csv = format!("time_ms,power_mw\n{}", rows.concat());
        let (_, mut probe) = play(&csv, "csv", "previous", "recorded");
        assert_eq!(
            read(&mut probe, 0),
            [
                (1_000_000_000_000, Some(0), Some(1_000)),
                (1_000_000_001_000, Some(2_000), Some(9_000)),
                (1_000_000_002_000, Some(3_000), Some(1_000)),
            ]
        );
    }

    #[test]
    fn a_long_trace_comes_in_pieces_that_a_matrix_can_hold() {
        let rows = (0..1_500).map(|s| format!("{},500\n", 1_000_000_000_000_i64 + s * 1_000));
        let csv = format!("time_ms,power_mw\n{}", rows.collect::<String>());
        let (_, mut probe) = play(&csv, "csv", "previous", "recorded");
        let pieces: Vec<usize> = (0..4).map(|_| read(&mut probe, 0).len()).collect();
        assert_eq!(pieces, [600, 600, 300, 0]);
    }
}
