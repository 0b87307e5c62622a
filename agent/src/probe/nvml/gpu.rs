//! One GPU: what it offers, its plan of reading, and the tick.

use std::sync::Arc;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};

use super::{Ask, Fields, GpuError, GpuLibrary, GpuReader, Identity};
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::{
    Cadence, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted, epoch, short,
};

/// Readings further apart than this are bridged: five missed ticks.
const GAP: Millis = Millis::new(5_000);
/// A power reading is never held longer than this.
const HOLD_MAX: Millis = Millis::new(3_000);
/// More than any GPU draws, for one that does not tell its limit.
const POWER_UNKNOWN_MAX: Milliwatts = Milliwatts::new(1_500_000);
/// A handle that has been dead for this many ticks is opened again.
const DEAD_TICKS_MAX: u32 = 30;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    FieldEnergy,
    FieldAverage,
    FieldInstant,
    FieldMemoryTemperature,
    Ask(Ask),
    /// Our own register over the power of this source.
    Integrate(PowerSource),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PowerSource {
    Average,
    Instant,
    Usage,
}

/// One planned series.
#[derive(Clone, Copy, Debug)]
struct Step {
    cadence: Cadence,
    quantity: Quantity,
    source: Source,
}

/// The questions of one call each: cadence, quantity, question.
const QUESTIONS: [(Cadence, Quantity, Ask); 12] = [
    (Cadence::Hot, Quantity::Temperature, Ask::Celsius),
    (Cadence::Hot, Quantity::GpuUtilization, Ask::Utilization),
    (Cadence::Warm, Quantity::PowerLimit, Ask::PowerLimit),
    (Cadence::Warm, Quantity::MemoryUsed, Ask::MemoryUsed),
    (Cadence::Warm, Quantity::MemorySize, Ask::MemorySize),
    (Cadence::Warm, Quantity::MemoryUtilization, Ask::MemoryUtilization),
    (Cadence::Warm, Quantity::ClockSm, Ask::ClockSm),
    (Cadence::Warm, Quantity::ClockMemory, Ask::ClockMemory),
    (Cadence::Warm, Quantity::ThrottleReasons, Ask::ThrottleReasons),
    (Cadence::Warm, Quantity::ProcessCount, Ask::Processes),
    (Cadence::Cold, Quantity::EccCorrected, Ask::EccCorrected),
    (Cadence::Cold, Quantity::EccUncorrected, Ask::EccUncorrected),
];

/// Reads one GPU.
pub struct GpuProbe {
    name: String,
    uuid: String,
    library: Arc<dyn GpuLibrary>,
    /// Epoch of the hardware register: another boot or driver is another count.
    epoch: u64,
    start: u64,
    reader: Option<Box<dyn GpuReader>>,
    plan: Vec<Step>,
    own_register: PowerRegister,
    dead_ticks: u32,
    trouble: Option<String>,
}

impl std::fmt::Debug for GpuProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpuProbe").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

impl GpuProbe {
    pub(super) fn new(
        uuid: &str,
        library: Arc<dyn GpuLibrary>,
        (boot, driver): (&str, &str),
    ) -> Self {
        Self {
            name: format!("nvml:{uuid}"),
            uuid: uuid.to_owned(),
            library,
            epoch: epoch(&[boot, driver, uuid]),
            start: 0,
            reader: None,
            plan: Vec::new(),
            own_register: PowerRegister::new(Rule::Previous, Some(HOLD_MAX)),
            dead_ticks: 0,
            trouble: None,
        }
    }

    /// The agent's start, for the epoch of a register of our own.
    pub(super) fn with_start(mut self, start: u64) -> Self {
        self.start = start;
        self
    }

    fn register(&self, identity: &Identity) -> Option<Register> {
        let power_max = match identity.power_mw_max {
            Some(limit) if limit > 0 => Milliwatts::new(limit),
            Some(_) | None => POWER_UNKNOWN_MAX,
        };
        let energy = self.plan.iter().find(|step| step.quantity == Quantity::EnergyRegister)?;
        Some(match energy.source {
            Source::Integrate(_) => {
                self.own_register.declare(&self.uuid, self.start, (power_max, GAP))
            }
            Source::FieldEnergy
            | Source::FieldAverage
            | Source::FieldInstant
            | Source::FieldMemoryTemperature
            | Source::Ask(_) => Register {
                numerator: 1,
                denominator: 1,
                modulus: None,
                power_max,
                epoch: self.epoch,
                method: Method::Hardware,
                gap: GAP,
            },
        })
    }

    fn value(&mut self, source: Source, quantity: Quantity, tick: &mut Asked<'_>) -> Option<i64> {
        let answer = match source {
            Source::FieldEnergy => tick.field(|fields| &fields.energy_mj),
            Source::FieldAverage => tick.field(|fields| &fields.power_average_mw),
            Source::FieldInstant => tick.field(|fields| &fields.power_instant_mw),
            Source::FieldMemoryTemperature => tick.field(|fields| &fields.memory_celsius),
            Source::Ask(question) => tick.ask(question),
            Source::Integrate(power) => {
                let power = match power {
                    PowerSource::Average => tick.field(|fields| &fields.power_average_mw),
                    PowerSource::Instant => tick.field(|fields| &fields.power_instant_mw),
                    PowerSource::Usage => tick.ask(Ask::Power),
                };
                let power = power.and_then(|mw| in_unit(Quantity::PowerAverage, mw));
                let power = power.and_then(|mw| u64::try_from(mw).ok()).map(Milliwatts::new);
                return self.own_register.step(power, tick.at);
            }
        };
        answer.and_then(|value| in_unit(quantity, value))
    }
}

impl Probe for GpuProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let refuse =
            |reason: String| ProbeError::Device { device: format!("GPU {}", self.uuid), reason };
        let id = SubjectId::new(&self.uuid).map_err(|source| ProbeError::Name { source })?;
        let mut reader = self.library.open(&self.uuid).map_err(|e| refuse(e.to_string()))?;
        let identity = reader.identity();
        let (plan, notes) = survey(reader.as_mut()).map_err(|e| refuse(e.to_string()))?;
        self.own_register.begin_stretch();
        self.plan = plan;
        self.reader = Some(reader);
        (self.dead_ticks, self.trouble) = (0, None);
        let subject = Subject {
            id,
            kind: SubjectKind::Gpu,
            label: identity.index.map(|index| index.to_string()).unwrap_or_default(),
            model: short(&identity.name),
            serial: short(&identity.serial),
            register: self.register(&identity),
        };
        let series = self.plan.iter().map(|step| Offer {
            cadence: step.cadence,
            subject: 0,
            quantity: step.quantity,
            part: 0,
        });
        let series = series.collect();
        let mut notes = notes;
        if identity.is_mig {
            notes.push(Note::new(
                How::NotOffered,
                "energy of a MIG instance",
                "the driver meters the whole GPU only; the books split it by allocation",
            ));
        }
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let Some(mut reader) = self.reader.take() else { return Vec::new() };
        let mut tick = Asked {
            reader: reader.as_mut(),
            at: Millis::new(now.monotonic.get()),
            fields: None,
            answered: 0,
            trouble: None,
        };
        let mut samples = Vec::with_capacity(due.len());
        for cadence in due {
            let mut values = Vec::with_capacity(self.plan.len());
            for index in 0..self.plan.len() {
                let Some(step) = self.plan.get(index).copied() else { continue };
                if step.cadence == *cadence {
                    values.push(self.value(step.source, step.quantity, &mut tick));
                }
            }
            if !values.is_empty() {
                samples.push(Sample { cadence: *cadence, at: None, values });
            }
        }
        self.dead_ticks = if tick.answered > 0 { 0 } else { self.dead_ticks.saturating_add(1) };
        self.trouble = tick.trouble;
        self.reader = Some(reader);
        samples
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.own_register.is_broken() || self.dead_ticks >= DEAD_TICKS_MAX
    }
}

/// One tick's conversation: the field batch is asked at most once.
struct Asked<'a> {
    reader: &'a mut dyn GpuReader,
    at: Millis,
    fields: Option<Result<Fields, GpuError>>,
    answered: u32,
    trouble: Option<String>,
}

impl Asked<'_> {
    fn field(&mut self, pick: fn(&Fields) -> &Result<u64, GpuError>) -> Option<u64> {
        let reader = &mut self.reader;
        let answer = match self.fields.get_or_insert_with(|| reader.fields()) {
            Ok(fields) => pick(fields).clone(),
            Err(error) => Err(error.clone()),
        };
        self.take(answer)
    }

    fn ask(&mut self, question: Ask) -> Option<u64> {
        let answer = self.reader.ask(question);
        self.take(answer)
    }

    fn take(&mut self, answer: Result<u64, GpuError>) -> Option<u64> {
        match answer {
            Ok(value) => {
                self.answered = self.answered.saturating_add(1);
                Some(value)
            }
            Err(error) => {
                self.trouble.get_or_insert_with(|| error.to_string());
                None
            }
        }
    }
}

/// The driver's unit to the catalogue's; `None` for what cannot be true.
fn in_unit(quantity: Quantity, value: u64) -> Option<i64> {
    let per_unit = if matches!(quantity, Quantity::Temperature | Quantity::MemoryTemperature) {
        1_000
    } else if matches!(quantity, Quantity::GpuUtilization | Quantity::MemoryUtilization) {
        10_000
    } else if matches!(quantity, Quantity::ClockSm | Quantity::ClockMemory) {
        1_000_000
    } else {
        1
    };
    admitted(quantity, i64::try_from(value).ok()?.checked_mul(per_unit)?)
}

/// What one answer means for the plan.
fn offered(answer: &Result<u64, GpuError>) -> bool {
    match answer {
        Ok(_) | Err(GpuError::Other(_) | GpuError::Lost) => true,
        Err(GpuError::NotSupported | GpuError::NotPermitted) => false,
    }
}

/// Asks everything once, and plans what to ask from now on.
fn survey(reader: &mut dyn GpuReader) -> Result<(Vec<Step>, Vec<Note>), GpuError> {
    let fields = match reader.fields() {
        Err(GpuError::Lost) => return Err(GpuError::Lost),
        Err(error) => Fields {
            energy_mj: Err(error.clone()),
            power_average_mw: Err(error.clone()),
            power_instant_mw: Err(error.clone()),
            memory_celsius: Err(error),
        },
        Ok(fields) => fields,
    };
    let mut plan = Vec::new();
    let mut notes = Vec::new();
    survey_energy(reader, &fields, &mut plan, &mut notes);
    if offered(&fields.memory_celsius) {
        plan.push(hot(Quantity::MemoryTemperature, Source::FieldMemoryTemperature));
    } else {
        let words = "no such sensor on this GPU";
        notes.push(Note::new(How::NotOffered, "memory temperature", words));
    }
    for (cadence, quantity, question) in QUESTIONS {
        let answer = reader.ask(question);
        if answer == Err(GpuError::Lost) {
            return Err(GpuError::Lost);
        }
        if offered(&answer) {
            plan.push(Step { cadence, quantity, source: Source::Ask(question) });
        } else if let Err(error) = answer {
            let what = quantity.spec().name.replace('_', " ");
            let how = match error {
                GpuError::NotPermitted => How::Missing,
                GpuError::NotSupported | GpuError::Lost | GpuError::Other(_) => How::NotOffered,
            };
            notes.push(Note::new(how, &what, error.to_string()));
        }
    }
    Ok((plan, notes))
}

fn hot(quantity: Quantity, source: Source) -> Step {
    Step { cadence: Cadence::Hot, quantity, source }
}

/// Power and energy, best source first: hardware register, then integrated average, then
/// integrated momentary power.
fn survey_energy(
    reader: &mut dyn GpuReader,
    fields: &Fields,
    plan: &mut Vec<Step>,
    notes: &mut Vec<Note>,
) {
    let has_average = offered(&fields.power_average_mw);
    let has_instant = offered(&fields.power_instant_mw);
    let has_usage = !has_average && !has_instant && offered(&reader.ask(Ask::Power));
    let power = match (has_average, has_instant, has_usage) {
        (true, _, _) => Some(PowerSource::Average),
        (false, true, _) => Some(PowerSource::Instant),
        (false, false, true) => Some(PowerSource::Usage),
        (false, false, false) => None,
    };
    let energy = if offered(&fields.energy_mj) {
        Some(Source::FieldEnergy)
    } else if offered(&reader.ask(Ask::Energy)) {
        Some(Source::Ask(Ask::Energy))
    } else {
        power.map(Source::Integrate)
    };
    if let Some(source) = energy {
        plan.push(hot(Quantity::EnergyRegister, source));
    }
    notes.push(energy_note(energy));
    if has_average {
        plan.push(hot(Quantity::PowerAverage, Source::FieldAverage));
        notes.push(Note::new(How::Read, "average power", "the driver's average over 1 s"));
    } else if power.is_some() {
        let words = "this GPU tells its present power only, not the average over 1 s";
        notes.push(Note::new(How::NotOffered, "average power", words));
    }
    if has_instant {
        plan.push(hot(Quantity::PowerInstant, Source::FieldInstant));
        notes.push(Note::new(How::Read, "present power", "the driver's shortest window"));
    } else if has_usage {
        plan.push(hot(Quantity::PowerInstant, Source::Ask(Ask::Power)));
        let words = "what window it averages over depends on GPU and driver";
        notes.push(Note::new(How::Read, "present power", words));
    } else if has_average {
        let words = "the driver tells the average only";
        notes.push(Note::new(How::NotOffered, "present power", words));
    } else {
        let words = "the driver tells neither average nor present power";
        notes.push(Note::new(How::NotOffered, "power", words));
    }
}

fn energy_note(energy: Option<Source>) -> Note {
    match energy {
        Some(Source::Integrate(PowerSource::Average)) => {
            let words = "no energy register: average power is integrated each second; \
                         while the agent is down nothing is counted";
            Note::new(How::Integrated, "energy", words)
        }
        Some(Source::Integrate(PowerSource::Instant | PowerSource::Usage)) => {
            let words = "no energy register: present power is integrated each second, which can \
                         be far off for a load that changes faster; nothing is counted while the \
                         agent is down";
            Note::new(How::Integrated, "energy", words)
        }
        Some(
            Source::FieldEnergy
            | Source::FieldAverage
            | Source::FieldInstant
            | Source::FieldMemoryTemperature
            | Source::Ask(_),
        ) => {
            let words = "the GPU's own register, in mJ since the driver was loaded; it counts on \
                         while the agent is down";
            Note::new(How::Register, "energy", words)
        }
        None => {
            let words = "neither an energy register nor any power reading on this GPU";
            Note::new(How::NotOffered, "energy", words)
        }
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! A library of GPUs as tables of answers.

    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Debug)]
    pub(in super::super) struct FakeGpu {
        pub(in super::super) uuid: String,
        pub(in super::super) identity: Identity,
        pub(in super::super) fields: Result<Fields, GpuError>,
        pub(in super::super) answers: BTreeMap<Ask, Result<u64, GpuError>>,
    }

    impl FakeGpu {
        pub(in super::super) fn h100(uuid: &str) -> Self {
            let answers = [
                (Ask::Energy, 5_000_000),
                (Ask::Power, 300_000),
                (Ask::Celsius, 45),
                (Ask::Utilization, 97),
                (Ask::MemoryUtilization, 31),
                (Ask::PowerLimit, 700_000),
                (Ask::MemoryUsed, 64 << 30),
                (Ask::MemorySize, 80 << 30),
                (Ask::ClockSm, 1_980),
                (Ask::ClockMemory, 2_619),
                (Ask::ThrottleReasons, 1 << 40),
                (Ask::Processes, 2),
                (Ask::EccCorrected, 17),
                (Ask::EccUncorrected, 0),
            ];
            Self {
                uuid: uuid.to_owned(),
                identity: Identity {
                    index: Some(3),
                    name: "NVIDIA H100".to_owned(),
                    serial: "165".to_owned(),
                    power_mw_max: Some(700_000),
                    is_mig: false,
                },
                fields: Ok(Fields {
                    energy_mj: Ok(5_000_000),
                    power_average_mw: Ok(300_000),
                    power_instant_mw: Ok(310_000),
                    memory_celsius: Ok(47),
                }),
                answers: answers.into_iter().map(|(ask, value)| (ask, Ok(value))).collect(),
            }
        }
    }

    #[derive(Debug)]
    pub(in super::super) struct FakeLibrary {
        gpus: Mutex<Vec<FakeGpu>>,
        lost: Mutex<BTreeSet<String>>,
        pub(super) asked: Mutex<Vec<Ask>>,
    }

    impl FakeLibrary {
        pub(in super::super) fn of(gpus: Vec<FakeGpu>) -> Arc<LibraryHandle> {
            Arc::new(LibraryHandle(Arc::new(Self {
                gpus: Mutex::new(gpus),
                lost: Mutex::default(),
                asked: Mutex::default(),
            })))
        }
    }

    /// What the probes hold; its readers share the tables.
    #[derive(Clone, Debug)]
    pub(in super::super) struct LibraryHandle(pub(super) Arc<FakeLibrary>);

    impl LibraryHandle {
        pub(in super::super) fn lose(&self, uuid: &str) {
            self.0.lost.lock().unwrap().insert(uuid.to_owned());
        }

        pub(in super::super) fn heal(&self, uuid: &str) {
            self.0.lost.lock().unwrap().remove(uuid);
        }

        pub(super) fn change(&self, change: impl Fn(&mut FakeGpu)) {
            self.0.gpus.lock().unwrap().iter_mut().for_each(change);
        }

        fn gpu(&self, uuid: &str) -> Result<FakeGpu, GpuError> {
            if self.0.lost.lock().unwrap().contains(uuid) {
                return Err(GpuError::Lost);
            }
            let gpus = self.0.gpus.lock().unwrap();
            gpus.iter().find(|gpu| gpu.uuid == uuid).cloned().ok_or(GpuError::Lost)
        }
    }

    impl GpuLibrary for LibraryHandle {
        fn driver_version(&self) -> Result<String, GpuError> {
            Ok("580.105.08".to_owned())
        }

        fn count(&self) -> Result<u32, GpuError> {
            Ok(u32::try_from(self.0.gpus.lock().unwrap().len()).unwrap())
        }

        fn uuid(&self, index: u32) -> Result<String, GpuError> {
            let uuid = self.0.gpus.lock().unwrap()[usize::try_from(index).unwrap()].uuid.clone();
            self.gpu(&uuid).map(|gpu| gpu.uuid)
        }

        fn open(&self, uuid: &str) -> Result<Box<dyn GpuReader>, GpuError> {
            self.gpu(uuid)?;
            Ok(Box::new(Reader { library: self.clone(), uuid: uuid.to_owned() }))
        }
    }

    struct Reader {
        library: LibraryHandle,
        uuid: String,
    }

    impl GpuReader for Reader {
        fn identity(&self) -> Identity {
            self.library.gpu(&self.uuid).map(|gpu| gpu.identity).unwrap_or_default()
        }

        fn fields(&mut self) -> Result<Fields, GpuError> {
            self.library.gpu(&self.uuid)?.fields
        }

        fn ask(&mut self, question: Ask) -> Result<u64, GpuError> {
            self.library.0.asked.lock().unwrap().push(question);
            let gpu = self.library.gpu(&self.uuid)?;
            gpu.answers.get(&question).cloned().unwrap_or(Err(GpuError::NotSupported))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::{FakeGpu, FakeLibrary, LibraryHandle};
    use super::*;
    use crate::clock::Moment;
    use bijli_wire::UtcMillis;

    const ALL: [Cadence; 3] = [Cadence::Hot, Cadence::Warm, Cadence::Cold];

    fn probe(gpu: FakeGpu) -> (Arc<LibraryHandle>, GpuProbe) {
        let uuid = gpu.uuid.clone();
        let library = FakeLibrary::of(vec![gpu]);
        let shared: Arc<dyn GpuLibrary> = library.clone();
        (library, GpuProbe::new(&uuid, shared, ("boot", "580")).with_start(9))
    }

    fn at(ms: u64) -> Tick {
        Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) }
    }

    fn values(
        probe: &mut GpuProbe,
        description: &Description,
        ms: u64,
    ) -> Vec<(Quantity, Option<i64>)> {
        let samples = probe.read(&ALL, at(ms));
        let rows = samples.iter().flat_map(|sample| {
            let offers: Vec<&Offer> = description.of(sample.cadence).collect();
            assert_eq!(offers.len(), sample.values.len());
            offers.into_iter().map(|offer| offer.quantity).zip(sample.values.clone())
        });
        rows.collect()
    }

    fn of(values: &[(Quantity, Option<i64>)], quantity: Quantity) -> Option<i64> {
        values.iter().find(|(q, _)| *q == quantity).expect("offered").1
    }

    #[test]
    fn a_whole_gpu_in_the_units_of_the_catalogue() {
        let (_, mut probe) = probe(FakeGpu::h100("GPU-a"));
        let description = probe.describe().expect("answers");
        let subject = &description.subjects[0];
        assert_eq!((subject.id.as_str(), subject.label.as_str()), ("GPU-a", "3"));
        let register = subject.register.expect("a register");
        assert_eq!(register.method, Method::Hardware);
        assert_eq!((register.numerator, register.denominator), (1, 1));
        assert_eq!(register.power_max, Milliwatts::new(700_000));
        let read = values(&mut probe, &description, 0);
        assert_eq!(read.len(), 16);
        for (quantity, value) in [
            (Quantity::EnergyRegister, 5_000_000),
            (Quantity::PowerAverage, 300_000),
            (Quantity::PowerInstant, 310_000),
            (Quantity::Temperature, 45_000),
            (Quantity::MemoryTemperature, 47_000),
            (Quantity::GpuUtilization, 970_000),
            (Quantity::MemoryUtilization, 310_000),
            (Quantity::ClockSm, 1_980_000_000),
            (Quantity::ThrottleReasons, 1 << 40),
            (Quantity::ProcessCount, 2),
            (Quantity::EccCorrected, 17),
        ] {
            assert_eq!(of(&read, quantity), Some(value), "{quantity:?}");
        }
        assert_eq!(probe.trouble(), None);
    }

    #[test]
    fn one_failed_value_costs_only_itself_and_a_sentinel_is_missing() {
        let (library, mut probe) = probe(FakeGpu::h100("GPU-a"));
        let description = probe.describe().expect("answers");
        library.change(|gpu| {
            let fields = gpu.fields.as_mut().expect("whole");
            fields.power_instant_mw = Err(GpuError::Other("unknown error".to_owned()));
            fields.memory_celsius = Ok(u64::from(u32::MAX));
            fields.energy_mj = Ok(9_223_372_036_854_775_794);
            gpu.answers.insert(Ask::Utilization, Ok(101));
        });
        let read = values(&mut probe, &description, 0);
        assert_eq!(of(&read, Quantity::PowerInstant), None);
        assert_eq!(of(&read, Quantity::MemoryTemperature), None);
        assert_eq!(of(&read, Quantity::EnergyRegister), None);
        assert_eq!(of(&read, Quantity::GpuUtilization), None);
        assert_eq!(of(&read, Quantity::PowerAverage), Some(300_000));
        assert_eq!(probe.trouble(), Some("unknown error".to_owned()));
    }

    #[test]
    fn what_is_not_supported_is_noted_and_not_asked_again() {
        let mut gpu = FakeGpu::h100("GPU-a");
        gpu.answers.remove(&Ask::Utilization);
        gpu.answers.remove(&Ask::EccCorrected);
        let (library, mut probe) = probe(gpu);
        let description = probe.describe().expect("answers");
        assert!(description.series.iter().all(|o| o.quantity != Quantity::GpuUtilization));
        let missing: Vec<&str> = description
            .notes
            .iter()
            .filter(|note| note.how == How::NotOffered)
            .map(|note| note.what.as_str())
            .collect();
        assert_eq!(missing, ["gpu utilization", "ecc corrected"]);
        library.0.asked.lock().unwrap().clear();
        values(&mut probe, &description, 0);
        let asked = library.0.asked.lock().unwrap().clone();
        assert!(!asked.contains(&Ask::Utilization) && asked.contains(&Ask::Celsius));
        assert!(!asked.contains(&Ask::Energy), "the field has it");
    }

    #[test]
    fn without_the_energy_field_the_call_is_used() {
        let mut gpu = FakeGpu::h100("GPU-a");
        gpu.fields = Err(GpuError::NotSupported);
        let (_, mut probe) = probe(gpu);
        let description = probe.describe().expect("answers");
        let register = description.subjects[0].register.expect("a register");
        assert_eq!(register.method, Method::Hardware);
        let read = values(&mut probe, &description, 0);
        assert_eq!(of(&read, Quantity::EnergyRegister), Some(5_000_000));
        assert_eq!(of(&read, Quantity::PowerInstant), Some(300_000));
        assert!(read.iter().all(|(quantity, _)| *quantity != Quantity::PowerAverage));
    }

    fn without_register(average: bool) -> FakeGpu {
        let mut gpu = FakeGpu::h100("GPU-a");
        let fields = gpu.fields.as_mut().expect("whole");
        fields.energy_mj = Err(GpuError::NotSupported);
        if !average {
            fields.power_average_mw = Err(GpuError::NotSupported);
        }
        gpu.answers.remove(&Ask::Energy);
        gpu
    }

    /// Guards against codecarbon #1316: a GPU without a register was booked as 0 kWh.
    #[test]
    fn without_any_register_power_is_integrated() {
        for (average, per_second) in [(true, 300_000), (false, 310_000)] {
            let (_, mut probe) = probe(without_register(average));
            let description = probe.describe().expect("answers");
            let register = description.subjects[0].register.expect("a register of our own");
            assert_eq!(register.method, Method::Integrated);
            assert_eq!(description.notes[0].how, How::Integrated);
            let counts: Vec<Option<i64>> = (0..3)
                .map(|s| of(&values(&mut probe, &description, s * 1_000), Quantity::EnergyRegister))
                .collect();
            assert_eq!(counts, [Some(0), Some(per_second), Some(2 * per_second)]);
        }
    }

    #[test]
    fn a_silence_of_an_integrated_gpu_asks_for_a_new_epoch() {
        let (library, mut probe) = probe(without_register(true));
        let before = probe.describe().expect("answers");
        values(&mut probe, &before, 0);
        values(&mut probe, &before, 1_000);
        library.lose("GPU-a");
        assert_eq!(of(&values(&mut probe, &before, 2_000), Quantity::EnergyRegister), None);
        assert_eq!(probe.trouble(), Some(GpuError::Lost.to_string()));
        library.heal("GPU-a");
        assert_eq!(of(&values(&mut probe, &before, 9_000), Quantity::EnergyRegister), None);
        assert!(probe.wants_describe());
        let after = probe.describe().expect("answers");
        assert!(!probe.wants_describe());
        let epoch = |description: &Description| description.subjects[0].register.map(|r| r.epoch);
        assert_ne!(epoch(&after), epoch(&before));
        assert_eq!(of(&values(&mut probe, &after, 10_000), Quantity::EnergyRegister), Some(0));
    }

    #[test]
    fn a_lost_gpu_is_not_described_and_a_dead_handle_is_opened_again() {
        let (library, mut probe) = probe(FakeGpu::h100("GPU-a"));
        let description = probe.describe().expect("answers");
        library.lose("GPU-a");
        for tick in 0..u64::from(DEAD_TICKS_MAX) {
            assert!(!probe.wants_describe());
            let read = values(&mut probe, &description, tick * 1_000);
            assert!(read.iter().all(|(_, value)| value.is_none()));
        }
        assert!(probe.wants_describe());
        let words = probe.describe().expect_err("lost").to_string();
        assert_eq!(words, "GPU GPU-a does not answer: the GPU fell off the bus or needs a reset");
        library.heal("GPU-a");
        probe.describe().expect("back");
        assert!(!probe.wants_describe());
    }
}
