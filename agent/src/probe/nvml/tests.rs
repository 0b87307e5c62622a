//! The probe on tables of answers: what it offers, reads, notes and says.

use bijli_wire::message::EventKind;
use bijli_wire::{Method, Milliwatts, NodeId, Quantity, UtcMillis};

use super::fake::{FakeGpu, Machine};
use super::gpu::DEAD_TICKS_MAX;
use super::library::{Ask, DriverNews, Field, MODULE, NEWS_XID};
use super::*;
use crate::clock::Moment;

const ALL: [Cadence; 3] = [Cadence::Hot, Cadence::Warm, Cadence::Cold];

fn context() -> Context {
    Context::new(NodeId::new("n1").expect("a name"), 9, "boot".to_owned())
}

fn finder(machine: &Machine) -> NvmlProbe {
    let machine = machine.clone();
    NvmlProbe::with_library(&context(), Box::new(move || Ok(machine.open())))
}

fn probe(gpu: FakeGpu) -> (Machine, GpuProbe) {
    let uuid = gpu.uuid.clone();
    let machine = Machine::of(vec![gpu]);
    let session = Arc::clone(&finder(&machine).session);
    (machine, GpuProbe::new(&uuid, session, &context()))
}

fn at(ms: u64) -> Tick {
    Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) }
}

fn values(
    probe: &mut dyn Probe,
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
    values.iter().find(|(q, _)| *q == quantity).unwrap_or_else(|| panic!("{quantity:?}")).1
}

fn kinds(probe: &mut dyn Probe) -> Vec<EventKind> {
    probe.happened().iter().map(|one| one.kind).collect()
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
    values(&mut probe, &description, 0);
    let read = values(&mut probe, &description, 1_000);
    for (quantity, value) in [
        (Quantity::EnergyRegister, 5_000_000),
        (Quantity::PowerAverage, 300_000),
        (Quantity::PowerInstant, 310_000),
        (Quantity::Temperature, 45_000),
        (Quantity::TemperatureMargin, 41_000),
        (Quantity::SlowdownMargin, -2_000),
        (Quantity::MemoryTemperature, 47_000),
        (Quantity::GpuUtilization, 970_000),
        (Quantity::MemoryUtilization, 310_000),
        (Quantity::ClockSm, 1_980_000_000),
        (Quantity::ThrottleReasons, 1 << 40),
        (Quantity::ThrottlePowerCap, 9_000_000_000),
        (Quantity::ProcessCount, 2),
        (Quantity::EccCorrected, 17),
        (Quantity::RemapPending, 1),
        (Quantity::NvlinkReplays, 8),
        (Quantity::NvlinkLinks, 2),
        (Quantity::PcieWidth, 16),
        (Quantity::PowerIntegral, 300_000),
        (Quantity::ReadTime, 12),
    ] {
        assert_eq!(of(&read, quantity), Some(value), "{quantity:?}");
    }
    assert_eq!(probe.trouble(), None);
}

#[test]
fn one_failed_value_costs_only_itself_and_a_sentinel_is_missing() {
    let (machine, mut probe) = probe(FakeGpu::h100("GPU-a"));
    let description = probe.describe().expect("answers");
    machine.change(|gpu| {
        let unknown = Err(GpuError::Other("unknown error".to_owned()));
        gpu.fields.insert(Field::POWER_INSTANT, unknown);
        gpu.set(Field::of_gpu(82), i64::from(u32::MAX));
        gpu.set(Field::ENERGY, 9_223_372_036_854_775_794);
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
    let (machine, mut probe) = probe(gpu);
    let description = probe.describe().expect("answers");
    assert!(description.series.iter().all(|o| o.quantity != Quantity::GpuUtilization));
    let missing = description.notes.iter().find(|note| note.how == How::NotOffered);
    let words = &missing.expect("a note").words;
    assert!(words.contains("gpu utilization") && words.contains("ecc corrected"), "{words}");
    machine.asked();
    values(&mut probe, &description, 0);
    let asked = machine.asked();
    assert!(!asked.contains(&Ask::Utilization) && asked.contains(&Ask::Celsius));
    assert!(!asked.contains(&Ask::Energy), "the field has it");
}

#[test]
fn without_the_energy_field_the_call_is_used() {
    let mut gpu = FakeGpu::h100("GPU-a");
    gpu.fields.clear();
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
    gpu.fields.remove(&Field::ENERGY);
    if !average {
        gpu.fields.remove(&Field::POWER_AVERAGE);
    }
    gpu.answers.remove(&Ask::Energy);
    gpu
}

/// Guards against codecarbon #1316: a GPU without a register was booked as 0 kWh.
#[test]
fn without_any_register_power_is_integrated() {
    let rows = [(true, 300_000, Method::Integrated), (false, 310_000, Method::Sampled)];
    for (average, per_second, method) in rows {
        let (_, mut probe) = probe(without_register(average));
        let description = probe.describe().expect("answers");
        let register = description.subjects[0].register.expect("a register of our own");
        assert_eq!(register.method, method);
        assert_eq!(description.notes[0].how, How::Integrated);
        let counts: Vec<Option<i64>> = (0..3)
            .map(|s| of(&values(&mut probe, &description, s * 1_000), Quantity::EnergyRegister))
            .collect();
        assert_eq!(counts, [Some(0), Some(per_second), Some(2 * per_second)]);
    }
}

/// Guards against a GPU whose average fails for good: its energy was nobody's, though the driver's
/// other readings of its power answered.
#[test]
fn what_fails_gives_way_to_what_answers() {
    let fails = || Err(GpuError::Other("unknown error".to_owned()));
    let energy_and_average = [Field::ENERGY, Field::POWER_AVERAGE];
    let all = [Field::ENERGY, Field::POWER_AVERAGE, Field::POWER_INSTANT];
    let rows: [(&[Field], Method, i64); 3] = [
        (&[Field::ENERGY], Method::Integrated, 300_000),
        (&energy_and_average, Method::Sampled, 310_000),
        (&all, Method::Sampled, 300_000),
    ];
    for (failing, method, per_second) in rows {
        let mut gpu = FakeGpu::h100("GPU-a");
        failing.iter().for_each(|field| drop(gpu.fields.insert(*field, fails())));
        gpu.answers.insert(Ask::Energy, fails());
        let (_, mut probe) = probe(gpu);
        let description = probe.describe().expect("answers");
        let register = description.subjects[0].register.expect("one of our own");
        assert_eq!(register.method, method, "{failing:?}");
        values(&mut probe, &description, 0);
        let read = values(&mut probe, &description, 1_000);
        assert_eq!(of(&read, Quantity::EnergyRegister), Some(per_second), "{failing:?}");
    }
}

/// Without anything that answers, the register is what is hoped for.
#[test]
fn a_register_that_fails_is_asked_on_where_no_power_answers() {
    let mut gpu = FakeGpu::h100("GPU-a");
    for field in [Field::ENERGY, Field::POWER_AVERAGE, Field::POWER_INSTANT] {
        gpu.fields.insert(field, Err(GpuError::Other("unknown error".to_owned())));
    }
    gpu.answers.insert(Ask::Energy, Err(GpuError::Other("unknown error".to_owned())));
    gpu.answers.remove(&Ask::Power);
    let (machine, mut probe) = probe(gpu);
    let description = probe.describe().expect("answers");
    assert_eq!(description.subjects[0].register.expect("one").method, Method::Hardware);
    machine.change(|gpu| drop(gpu.answers.insert(Ask::Energy, Ok(7))));
    let read = values(&mut probe, &description, 0);
    assert_eq!(of(&read, Quantity::EnergyRegister), Some(7));
}

#[test]
fn a_silence_of_an_integrated_gpu_asks_for_a_new_epoch() {
    let (machine, mut probe) = probe(without_register(true));
    let before = probe.describe().expect("answers");
    values(&mut probe, &before, 0);
    values(&mut probe, &before, 1_000);
    machine.lose("GPU-a");
    assert_eq!(of(&values(&mut probe, &before, 2_000), Quantity::EnergyRegister), None);
    assert_eq!(probe.trouble(), Some(GpuError::Lost.to_string()));
    machine.heal("GPU-a");
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
    let (machine, mut probe) = probe(FakeGpu::h100("GPU-a"));
    let description = probe.describe().expect("answers");
    machine.lose("GPU-a");
    for tick in 0..u64::from(DEAD_TICKS_MAX) {
        assert!(!probe.wants_describe());
        let read = values(&mut probe, &description, tick * 1_000);
        assert!(read.iter().all(|(_, value)| value.is_none()));
    }
    assert!(probe.wants_describe());
    let words = probe.describe().expect_err("lost").to_string();
    assert_eq!(words, "GPU GPU-a does not answer: the GPU fell off the bus or needs a reset");
    machine.heal("GPU-a");
    probe.describe().expect("back");
    assert!(!probe.wants_describe());
}

/// Guards against Zeus #181: a register far below the power beside it was booked.
#[test]
fn a_register_that_stands_still_is_replaced_by_the_integral_and_says_so() {
    let (machine, mut probe) = probe(FakeGpu::h100("GPU-a"));
    let before = probe.describe().expect("answers");
    let mut second = 0_u64;
    while !probe.wants_describe() {
        values(&mut probe, &before, second * 1_000);
        second += 1;
        assert!(second < 40, "it stands still");
    }
    assert_eq!(kinds(&mut probe), [EventKind::RegisterDistrusted]);
    let after = probe.describe().expect("answers");
    let register = |description: &Description| description.subjects[0].register.expect("one");
    assert_eq!(register(&after).method, Method::Integrated);
    assert_ne!(register(&after).epoch, register(&before).epoch);
    let read = values(&mut probe, &after, second * 1_000);
    assert_eq!(of(&read, Quantity::DistrustedRegister), Some(5_000_000));
    // It counts as it should for an hour, and is believed again under another epoch.
    let mut count = 5_000_000;
    loop {
        count += 300_000;
        second += 1;
        assert!(second < 4_000, "it was right for an hour");
        machine.change(|gpu| gpu.set(Field::ENERGY, count));
        values(&mut probe, &after, second * 1_000);
        if kinds(&mut probe) == [EventKind::RegisterTrusted] {
            break;
        }
    }
    assert!(probe.wants_describe());
    let back = probe.describe().expect("answers");
    assert_eq!(register(&back).method, Method::Hardware);
    assert_ne!(register(&back).epoch, register(&before).epoch, "no difference across");
}

/// GH200: the GPU's scope tells no power, and the count is the module's.
#[test]
fn a_superchip_that_tells_its_module_only_is_metered_as_one_and_says_so() {
    let mut gpu = FakeGpu::h100("GPU-a");
    gpu.fields.remove(&Field::POWER_AVERAGE);
    gpu.fields.remove(&Field::POWER_INSTANT);
    gpu.set(Field { number: 185, scope: MODULE }, 640_000);
    let (_, mut probe) = probe(gpu);
    let description = probe.describe().expect("answers");
    let subject = &description.subjects[0];
    assert_eq!(subject.model, "NVIDIA H100 (whole module)");
    assert_eq!(subject.register.expect("one").power_max, Milliwatts::new(3_000_000));
    let read = values(&mut probe, &description, 0);
    assert_eq!(of(&read, Quantity::ModulePower), Some(640_000));
    assert!(read.iter().all(|(quantity, _)| *quantity != Quantity::PowerAverage));
}

#[test]
fn a_module_beside_its_gpu_is_shown_and_never_its_energy() {
    let mut gpu = FakeGpu::h100("GPU-a");
    gpu.set(Field { number: 185, scope: MODULE }, 640_000);
    let (_, mut probe) = probe(gpu);
    let description = probe.describe().expect("answers");
    assert_eq!(description.subjects[0].register.expect("one").power_max, Milliwatts::new(700_000));
    values(&mut probe, &description, 0);
    let read = values(&mut probe, &description, 1_000);
    assert_eq!(of(&read, Quantity::PowerIntegral), Some(300_000), "of the GPU, not the module");
}

/// Guards against a board without a module that showed one, because its power failed otherwise.
#[test]
fn a_module_that_only_fails_is_no_module() {
    let mut gpu = FakeGpu::h100("GPU-a");
    let unknown = Err(GpuError::Other("unknown error".to_owned()));
    gpu.fields.insert(Field::MODULE_AVERAGE, unknown);
    let (_, mut probe) = probe(gpu);
    let description = probe.describe().expect("answers");
    assert!(description.series.iter().all(|offer| offer.quantity != Quantity::ModulePower));
}

/// Fixture (o), Zeus #181: a register that counts 43 % too little. What it counted until it was
/// found out stays as it was read; from then on power is integrated.
#[test]
fn o_a_register_43_percent_low_is_replaced_after_five_minutes() {
    let (machine, mut probe) = probe(FakeGpu::h100("GPU-a"));
    let description = probe.describe().expect("answers");
    let mut second = 0_u32;
    while !probe.wants_describe() {
        machine.change(|gpu| gpu.set(Field::ENERGY, 5_000_000 + i64::from(second) * 171_000));
        values(&mut probe, &description, u64::from(second) * 1_000);
        second += 1;
        assert!(second < 400, "it is far off");
    }
    assert!(second > 300, "{second}");
    let happened = probe.happened();
    assert_eq!(happened[0].kind, EventKind::RegisterDistrusted);
    let words = &happened[0].text;
    assert!(words.contains("counted 51300 J and the power beside it 90000 J"), "{words}");
    let after = probe.describe().expect("answers");
    assert_eq!(after.subjects[0].register.expect("one").method, Method::Integrated);
    assert!(after.notes[0].words.contains("is not believed"), "{}", after.notes[0].words);
}

#[test]
fn what_the_driver_tells_becomes_events() {
    let (machine, mut probe) = probe(FakeGpu::h100("GPU-a"));
    let description = probe.describe().expect("answers");
    machine.change(|gpu| {
        gpu.news =
            vec![DriverNews { kind: NEWS_XID, data: 79 }, DriverNews { kind: 0x200, data: 0 }];
    });
    values(&mut probe, &description, 0);
    let happened = probe.happened();
    let told: Vec<(EventKind, u32, &str)> =
        happened.iter().map(|one| (one.kind, one.code, one.text.as_str())).collect();
    assert_eq!(told[0].0, EventKind::GpuXid);
    assert_eq!(told[0].1, 79);
    assert_eq!(told[1], (EventKind::GpuEvent, 0x200, "storm of corrected ECC errors"));
    assert!(happened.iter().all(|one| one.subject.as_ref().is_some_and(|s| s.as_str() == "GPU-a")));
}

#[test]
fn another_mig_layout_is_told_and_described_again() {
    let (machine, mut probe) = probe(FakeGpu::h100("GPU-a"));
    let description = probe.describe().expect("answers");
    values(&mut probe, &description, 0);
    assert!(!probe.wants_describe());
    machine.change(|gpu| {
        gpu.answers.insert(Ask::MigInstances, Ok(7));
        gpu.answers.remove(&Ask::Utilization);
    });
    values(&mut probe, &description, 60_000);
    assert_eq!(kinds(&mut probe), [EventKind::InventoryChanged]);
    assert!(probe.wants_describe());
    let after = probe.describe().expect("answers");
    assert!(after.series.iter().all(|offer| offer.quantity != Quantity::GpuUtilization));
}

fn names(found: &[Box<dyn Probe>]) -> Vec<String> {
    found.iter().map(|gpu| gpu.name().to_owned()).collect()
}

#[test]
fn each_gpu_is_handed_out_once_and_a_lost_one_costs_only_itself() {
    let machine = Machine::of(vec![FakeGpu::h100("GPU-a"), FakeGpu::h100("GPU-b")]);
    machine.lose("GPU-a");
    let mut probe = NvmlProbe { expected: Some(2), ..finder(&machine) };
    let description = probe.describe().expect("opens");
    assert!(description.notes.iter().any(|note| note.what == "GPU 0"));
    assert_eq!(names(&probe.found()), ["nvml:GPU-b"]);
    let told = probe.happened();
    assert_eq!(told[0].text, "1 GPUs, 2 expected");
    let read = values(&mut probe, &description, 0);
    assert_eq!(of(&read, Quantity::GpusSeen), Some(1));
    assert_eq!(of(&read, Quantity::GpusExpected), Some(2));
    assert!(!probe.wants_describe());
    machine.heal("GPU-a");
    values(&mut probe, &description, 60_000);
    assert!(probe.wants_describe());
    probe.describe().expect("still open");
    assert_eq!(names(&probe.found()), ["nvml:GPU-a"]);
    assert_eq!(probe.happened()[0].text, "1 GPUs before, 2 now, 2 expected");
    probe.describe().expect("still open");
    assert!(probe.found().is_empty());
}

/// Guards against two GPUs of one index in the metrics: one leaves, and another moves up.
#[test]
fn who_left_has_no_index_any_more() {
    let gpu = |uuid, index| {
        let mut gpu = FakeGpu::h100(uuid);
        gpu.identity.index = Some(index);
        gpu
    };
    let machine = Machine::of(vec![gpu("GPU-a", 0), gpu("GPU-b", 1)]);
    let mut finder = finder(&machine);
    finder.describe().expect("opens");
    let mut found = finder.found();
    let label = |gpu: &mut Box<dyn Probe>| gpu.describe().map(|d| d.subjects[0].label.clone());
    let labels: Vec<String> = found.iter_mut().map(|gpu| label(gpu).expect("answers")).collect();
    assert_eq!(labels, ["0", "1"]);
    machine.lose("GPU-a");
    machine.change(|gpu| gpu.identity.index = Some(0));
    assert_eq!(label(&mut found[1]).expect("answers"), "0");
    assert!(found[0].wants_describe());
    let left = found[0].describe().expect("what is known of it");
    assert_eq!((left.subjects[0].label.as_str(), left.series.len()), ("", 0));
    assert_eq!(left.subjects[0].id.as_str(), "GPU-a");
    assert!(!found[0].wants_describe());
    found[0].describe().expect_err("it is still lost");
}

/// Goal: an upgraded driver is used without a restart, and its counts are another epoch.
#[test]
fn a12_a_driver_replaced_under_the_agent_is_opened_anew() {
    let machine = Machine::of(vec![FakeGpu::h100("GPU-a")]);
    let mut probe = finder(&machine);
    probe.describe().expect("opens");
    let mut gpu = probe.found().pop().expect("one GPU");
    let before = gpu.describe().expect("answers");
    machine.reload("590.48.01");
    let read = values(gpu.as_mut(), &before, 0);
    assert!(read.iter().all(|(_, value)| value.is_none()));
    assert!(gpu.wants_describe());
    let after = gpu.describe().expect("the new driver answers");
    let epoch = |description: &Description| description.subjects[0].register.map(|r| r.epoch);
    assert_ne!(epoch(&after), epoch(&before));
    probe.describe().expect("opens");
    assert_eq!(kinds(&mut probe), [EventKind::DriverChanged]);
}

/// Goal: while paused, nothing holds the library.
#[test]
fn a_pause_lets_go_of_the_library_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let machine = Machine::of(vec![FakeGpu::h100("GPU-a")]);
    let mut probe = finder(&machine);
    let description = probe.describe().expect("opens");
    let mut gpu = probe.found().pop().expect("one GPU");
    let of_gpu = gpu.describe().expect("answers");
    let pause = Arc::clone(&probe.context.pause);
    let now = UtcMillis::new(0);
    crate::pause::begin(folder.path(), now, bijli_wire::Millis::new(60_000)).expect("written");
    pause.follow(folder.path(), now);
    assert!(!pause.is_released());
    assert!(values(gpu.as_mut(), &of_gpu, 0).is_empty());
    assert!(matches!(gpu.describe(), Err(ProbeError::Paused)));
    values(&mut probe, &description, 0);
    assert!(pause.is_released(), "nobody holds it");
    crate::pause::end(folder.path()).expect("removed");
    pause.follow(folder.path(), now);
    gpu.describe().expect("opened again");
}

#[test]
fn a_missing_library_is_an_error_with_its_name() {
    let lib_path = Some("/nowhere/libnvml.so".into());
    let config = NvmlConfig { lib_path, ..NvmlConfig::default() };
    let failed = NvmlProbe::new(&config, &context()).describe().expect_err("no such file");
    assert!(failed.to_string().starts_with("cannot load /nowhere/libnvml.so: "), "{failed}");
}
