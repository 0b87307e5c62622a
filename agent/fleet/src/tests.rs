//! The fleet as a whole: what must hold in every second, and that registers, rows and truth agree.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{
    Batch, BatchSeq, HubId, Millis, ProjectId, Quantity, SpoolEpoch, SubjectId, SubjectKind,
    UtcMillis, codec,
};

use crate::{Feed, FeedError, Fleet, FleetSpec, Job, Role, Supply, Truth};

/// Eight minutes before an interval's edge, and on no round moment.
const START: UtcMillis = UtcMillis::new(1_800_000_000_000 + 7 * 60_000 + 3_000);
const QUARTER: Millis = Millis::new(900_000);

fn small(seed: u64) -> FleetSpec {
    let (nodes, gpus_per_node, pdus) = (3, 4, 2);
    FleetSpec { nodes, gpus_per_node, pdus, seed, ..FleetSpec::demo(START) }
}

fn fleet(spec: FleetSpec) -> Fleet {
    Fleet::new(spec).expect("a good specification")
}

/// Energy of one register in the period of `inside`.
fn energy(inside: &Truth, subject: &str) -> u64 {
    let subject = SubjectId::new(subject).expect("a name");
    inside.energy(&subject).expect("it has a register").get()
}

/// Energy at all points of a role.
fn at_role(fleet: &Fleet, inside: &Truth, role: Role) -> u64 {
    let points = fleet.points().filter(|point| point.role == role);
    points.map(|point| energy(inside, point.meter.as_str())).sum()
}

/// Everything that is true of the last second, which `inside` is about.
fn check_second(fleet: &Fleet, inside: &Truth) {
    let [grid, generator, ups_in, ups_out, pdus, cooling, lighting] = [
        Role::Grid,
        Role::Generator,
        Role::UpsIn,
        Role::UpsOut,
        Role::Pdu,
        Role::Cooling,
        Role::Lighting,
    ]
    .map(|role| at_role(fleet, inside, role));
    let store = inside.store;
    assert_eq!(grid + generator, ups_in + cooling + lighting);
    assert_eq!(
        ups_in + store.drawn.get(),
        ups_out + store.ups_loss.get() + store.charged.get(),
        "the UPS makes nothing"
    );
    let bars_loss = ups_out.checked_sub(pdus).expect("no PDU makes energy");
    assert!(bars_loss > 0 && bars_loss < ups_out / 100);
    for pdu in fleet.points().filter(|point| point.role == Role::Pdu) {
        let fed = fleet.placements().filter(|(_, feeder)| *feeder == pdu.id);
        let fed: u64 = fed.map(|(node, _)| energy(inside, node.as_str())).sum();
        let out = energy(inside, pdu.meter.as_str());
        let loss = out.checked_sub(fed).expect("no PDU makes energy");
        assert!(loss > 0 && loss < fed / 100);
    }
    for (sender, (node, _)) in fleet.senders().iter().zip(fleet.placements()) {
        let devices = sender.schema.subjects.iter().filter(|one| one.kind != SubjectKind::Node);
        let devices: u64 = devices.map(|device| energy(inside, device.id.as_str())).sum();
        assert!(energy(inside, node.as_str()) > devices, "boards and fans draw something");
    }
    check_supply(fleet.supply(), [grid, generator, ups_in, cooling, lighting], store.drawn.get());
}

fn check_supply(supply: Supply, powers: [u64; 5], drawn: u64) {
    let runs = powers.map(|power| power > 0);
    let expected = match supply {
        Supply::Grid => [true, false, true, true, true],
        Supply::Generator => [false, true, true, true, true],
        Supply::Battery => [false; 5],
    };
    assert_eq!((runs, drawn > 0), (expected, supply == Supply::Battery), "{supply:?}");
}

#[test]
fn every_second_of_three_hours_balances() {
    let mut fleet = fleet(small(11));
    let (mut before, mut seen) = (fleet.truth(), BTreeMap::new());
    for _ in 0..3 * 3_600 {
        fleet.step();
        let now = fleet.truth();
        check_second(&fleet, &now.since(&before).expect("a second later"));
        *seen.entry(format!("{:?}", fleet.supply())).or_insert(0) += 1;
        before = now;
    }
    // About thirty sheddings of ten seconds and two minutes.
    assert!((150..500).contains(&seen["Battery"]), "{seen:?}");
    assert!((2_400..4_800).contains(&seen["Generator"]), "{seen:?}");
}

#[test]
fn other_sizes_balance_too() {
    for (nodes, gpus_per_node, pdus) in [(1, 0, 1), (1, 1, 1), (7, 3, 7), (120, 2, 5)] {
        let mut fleet = fleet(FleetSpec { nodes, gpus_per_node, pdus, ..small(3) });
        for _ in 0..200 {
            let before = fleet.truth();
            fleet.step();
            check_second(&fleet, &fleet.truth().since(&before).expect("a second later"));
        }
    }
}

/// All batches of all senders over some seconds, through the wire and back.
fn history(fleet: &mut Fleet, seconds: usize) -> (Vec<Batch>, Vec<Vec<u8>>, Vec<Job>) {
    let epoch = SpoolEpoch::new(*b"a simulated hub.");
    let senders = fleet.senders().to_vec();
    let feed = |sender| Feed::new(fleet, sender, epoch, 5).expect("there is such a sender");
    let mut feeds: Vec<Feed> = (0..senders.len()).map(feed).collect();
    let (mut batches, mut bodies, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for second in 0..=seconds {
        if second > 0 {
            fleet.step();
        }
        jobs.extend(fleet.allocations_changed().iter().cloned());
        for (feed, sender) in feeds.iter_mut().zip(&senders) {
            let full = feed.take(fleet);
            assert_eq!(feed.take(fleet), None, "once in a second");
            let rest = if second == seconds { feed.finish() } else { None };
            for batch in full.into_iter().chain(rest) {
                let body = codec::encode_batch(&batch).expect("within the limits");
                let (id, schema) = codec::decode_schema(&sender.schema_body).expect("ours");
                assert_eq!((id, &schema), (sender.schema_id, &sender.schema));
                let read = codec::open(&body).expect("ours").read(id, &schema).expect("ours");
                assert_eq!(read, batch);
                batches.push(batch);
                bodies.push(body);
            }
        }
    }
    (batches, bodies, jobs)
}

/// Readings of a quantity by subject, in the order of time.
type Readings = BTreeMap<SubjectId, Vec<(UtcMillis, i64)>>;

fn readings(fleet: &Fleet, batches: &[Batch], quantity: Quantity) -> Readings {
    let mut readings = Readings::new();
    let senders = fleet.senders();
    for batch in batches {
        let schema = &senders.iter().find(|sender| sender.node == batch.node).expect("ours").schema;
        for matrix in &batch.matrices {
            for (series, column) in schema.groups[matrix.group].series.iter().zip(&matrix.columns) {
                let values =
                    matrix.times.iter().zip(column).map(|(at, value)| (*at, value.expect("read")));
                if series.quantity == Some(quantity) {
                    readings
                        .entry(schema.subjects[series.subject].id.clone())
                        .or_default()
                        .extend(values);
                }
                let spec = series.quantity.expect("known").spec();
                assert!(column.iter().flatten().all(|value| spec.admits(*value)), "{}", spec.name);
            }
        }
    }
    readings
}

/// What a register counted between two readings, in mJ, as its schema declares it.
fn counted(fleet: &Fleet, subject: &SubjectId, shown: &[(UtcMillis, i64)]) -> u64 {
    let subjects = fleet.senders().iter().flat_map(|sender| &sender.schema.subjects);
    let declared = subjects.filter(|one| one.id == *subject).find_map(|one| one.register);
    let declared = declared.expect("it has a register");
    let counts: i64 = shown
        .windows(2)
        .map(|pair| match pair[1].1 - pair[0].1 {
            wrapped @ ..0 => {
                wrapped + i64::try_from(declared.modulus.expect("wraps")).expect("fits")
            }
            increase => increase,
        })
        .sum();
    let counts = counts.cast_unsigned() * declared.numerator;
    assert_eq!(counts % declared.denominator, 0, "whole millijoules between readings");
    counts / declared.denominator
}

#[test]
fn what_the_batches_show_is_the_truth_of_every_register() {
    let mut fleet = fleet(small(1));
    // Until 5 s past a quarter hour, so that the meters' last reading is now.
    let (batches, ..) = history(&mut fleet, 3_602);
    let shown = readings(&fleet, &batches, Quantity::EnergyRegister);
    let truth = fleet.truth();
    assert_eq!((truth.from, truth.to), (START, UtcMillis::new(START.get() + 3_602_000)));
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        truth.energies().map(|(id, _)| id).collect::<Vec<_>>()
    );
    let mut wraps = 0;
    for (subject, shown) in &shown {
        assert_eq!(Some(counted(&fleet, subject, shown)), truth.energy(subject).map(|e| e.get()));
        wraps += shown.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    }
    assert!(wraps > 0, "RAPL registers wrap within the hour");
    assert_eq!(truth.energy(&SubjectId::new("nothing").expect("a name")), None);
}

/// Goal: whoever has only batches and jobs comes to the same energy of each project.
#[test]
fn jobs_and_readings_give_each_projects_energy() {
    let mut fleet = fleet(small(2));
    let (batches, _, jobs) = history(&mut fleet, 2 * 3_600);
    let registers = readings(&fleet, &batches, Quantity::EnergyRegister);
    let utilization = readings(&fleet, &batches, Quantity::GpuUtilization);
    let processes = readings(&fleet, &batches, Quantity::ProcessCount);
    // The last word on a job has its end.
    let jobs: BTreeMap<&str, &Job> = jobs.iter().map(|job| (job.id.as_str(), job)).collect();
    let holder = |gpu: &SubjectId, at: UtcMillis| {
        let holds = |job: &&&Job| {
            job.holds.contains(gpu) && job.from <= at && job.to.is_none_or(|to| at < to)
        };
        let mut holders = jobs.values().filter(holds);
        let holder = holders.next().map(|job| job.project.clone());
        assert!(holders.next().is_none(), "nobody shares a GPU");
        holder
    };
    let mut sums: BTreeMap<(Option<ProjectId>, bool), u64> = BTreeMap::new();
    for (gpu, utilization) in &utilization {
        let steps = registers[gpu].windows(2).zip(&utilization[1..]).zip(&processes[gpu][1..]);
        for ((step, (_, utilization)), (_, processes)) in steps {
            assert_eq!(*utilization > 0, *processes > 0);
            let whose = (holder(gpu, step[0].0), *utilization > 0);
            *sums.entry(whose).or_default() += (step[1].1 - step[0].1).cast_unsigned();
        }
    }
    let truth = fleet.truth();
    let mut expected: BTreeMap<(Option<ProjectId>, bool), u64> = BTreeMap::new();
    expected.insert((None, false), truth.unallocated_idle.get());
    for (project, energy) in &truth.projects {
        expected.insert((Some(project.clone()), true), energy.gpu_active.get());
        expected.insert((Some(project.clone()), false), energy.gpu_held_idle.get());
    }
    expected.retain(|_, energy| *energy > 0);
    assert!(expected.len() >= 5, "several projects worked and idled: {expected:?}");
    assert_eq!(sums, expected);
}

#[test]
fn one_seed_has_one_history_and_another_seed_another() {
    let [first, second, other] = [7, 7, 8].map(|seed| history(&mut fleet(small(seed)), 900));
    assert_eq!((&first.1, &first.2), (&second.1, &second.2));
    assert_ne!(first.1, other.1);
    assert_ne!(first.2, other.2);
}

#[test]
fn kept_truths_add_up() {
    let mut fleet = fleet(small(4));
    for _ in 0..2 * 3_600 {
        fleet.step();
    }
    let now = fleet.now();
    let mut edges = vec![START];
    let mut edge = START.floor_to(QUARTER).plus(QUARTER).expect("fits");
    while edge < now {
        edges.push(edge);
        edge = edge.plus(QUARTER).expect("fits");
    }
    edges.push(now);
    assert_eq!(edges.len(), 10);
    let parts: Vec<Truth> = edges
        .windows(2)
        .map(|pair| fleet.truth_between(pair[0], pair[1]).expect("both are kept"))
        .collect();
    for (subject, energy) in fleet.truth().energies() {
        let sum: u64 = parts.iter().map(|part| part.energy(subject).expect("known").get()).sum();
        assert_eq!(sum, energy.get());
    }
    let gpu = fleet.senders()[0].schema.subjects.iter().find(|one| one.kind == SubjectKind::Gpu);
    let gpu = &gpu.expect("there are GPUs").id;
    assert!(parts.iter().all(|part| part.energy(gpu).expect("known").get() > 0));
    assert_eq!(fleet.truth_between(START, UtcMillis::new(START.get() + 1_000)), None);
    assert_eq!(fleet.truth_between(now, START), None);
}

#[test]
fn the_demo_hub_is_plausible_over_six_hours() {
    let mut fleet =
        fleet(FleetSpec { truth_every: Millis::new(3_600_000), ..FleetSpec::demo(START) });
    for _ in 0..6 * 3_600 {
        fleet.step();
    }
    let truth = fleet.truth();
    let of = |point: &str| energy(&truth, &format!("sim-lahore/{point}"));
    let (total, it) = (of("incomer") + of("generator"), of("ups-out"));
    let pue_ppm = total * 1_000 / (it / 1_000);
    assert!((1_250_000..1_450_000).contains(&pue_ppm), "PUE {pue_ppm} ppm");
    let ups_share_ppm = truth.store.ups_loss.get() * 1_000 / (it / 1_000);
    assert!((40_000..60_000).contains(&ups_share_ppm), "UPS loss {ups_share_ppm} ppm");
    let it_mean_w = it / (6 * 3_600) / 1_000;
    assert!((40_000..110_000).contains(&it_mean_w), "{it_mean_w} W");
    let idle = truth.unallocated_idle.get();
    assert!(idle > 0 && idle < it / 10);
    assert!(truth.projects.values().all(|one| one.gpu_active > one.gpu_held_idle));
}

/// Goal: an hour of the demo with every batch, cheap enough for any test (this is the one to time).
#[test]
fn an_hour_of_the_demo_has_every_reading() {
    let mut fleet = fleet(FleetSpec::demo(UtcMillis::new(START.get() - 3_000)));
    let epoch = SpoolEpoch::new([2; 16]);
    let feed = |sender| Feed::new(&fleet, sender, epoch, 5).expect("there is such a sender");
    let mut feeds: Vec<Feed> = (0..17).map(feed).collect();
    let (mut batches, mut readings) = (0, 0);
    for _ in 0..3_600 {
        for batch in feeds.iter_mut().filter_map(|feed| feed.take(&fleet)) {
            batches += 1;
            readings += batch.readings();
        }
        fleet.step();
    }
    assert_eq!(batches, 17 * 720);
    let node = 3_600 * (2 + 3 + 8 * 6) + 360 * (7 + 8 * 6) + 60 * (3 + 8 * 4);
    let gateway = 720 * (3 * 4 + 6 + 4 * 3 + 6 + 3);
    assert_eq!(readings, 16 * node + gateway);
}

#[test]
fn everything_says_that_it_is_simulated() {
    let fleet = fleet(FleetSpec::demo(START));
    let mut ids = BTreeSet::new();
    for sender in fleet.senders() {
        assert!(sender.node.as_str().starts_with("sim-"));
        assert!(sender.schema.agent.contains("simulated"));
        for subject in &sender.schema.subjects {
            let id = subject.id.as_str();
            assert!(id.starts_with("sim-") || id.starts_with("GPU-SIM-"), "{id}");
            assert!(subject.model.starts_with("Simulated"));
            assert!(ids.insert(id), "{id} is unique in its hub");
        }
    }
    assert_eq!(fleet.senders().len(), 17);
    assert_eq!(ids.len(), 16 * (1 + 2 + 1 + 8) + 10);
    assert!(fleet.jobs().all(|job| job.id.starts_with("sim-job-")));
    assert_eq!(fleet.jobs().count(), fleet.allocations_changed().len());
}

#[test]
fn the_diagram_as_the_collector_reads_it() {
    let spec = FleetSpec { nodes: 2, gpus_per_node: 1, pdus: 1, ..FleetSpec::demo(START) };
    let fleet = fleet(FleetSpec { hub: HubId::new("sim-x").expect("a name"), ..spec });
    let text = fleet.diagram_toml();
    let begins = "[[hub]]\nid = \"sim-x\"\ntitle = \"Lahore (simulated)\"\npue_category = 1\npue_standard = \"ISO/IEC 30134-2:2026\"\nexpected_nodes = 3\n\n\
                  [[hub.point]]\nid = \"incomer\"\nrole = \"grid\"\nmeter = \"sim-x/incomer\"\n\n";
    assert!(text.starts_with(begins), "{text}");
    for part in [
        "id = \"generator\"\nrole = \"generator\"\nmeter = \"sim-x/generator\"\n\n",
        "id = \"ups-in\"\nrole = \"ups_in\"\nmeter = \"sim-x/ups-in\"\n\n",
        "id = \"ups-out\"\nrole = \"ups_out\"\nmeter = \"sim-x/ups-out\"\nfed_by = \"ups-in\"\n\n",
        "id = \"pdu-1\"\nrole = \"pdu\"\nmeter = \"sim-x/pdu-1\"\nfed_by = \"ups-out\"\n\n",
        "id = \"cooling\"\nrole = \"cooling\"\nmeter = \"sim-x/cooling\"\n\n",
        "id = \"lighting\"\nrole = \"lighting\"\nmeter = \"sim-x/lighting\"\n\n",
    ] {
        assert!(text.contains(&format!("[[hub.point]]\n{part}")), "{part} in {text}");
    }
    assert_eq!(text.matches("[[hub.meter]]").count(), 3, "incomer, generator, UPS output: {text}");
    let ends = "[[hub.node]]\nid = \"sim-n01\"\nfed_by = \"pdu-1\"\n\n\
                [[hub.node]]\nid = \"sim-n02\"\nfed_by = \"pdu-1\"\n";
    assert!(text.ends_with(ends), "{text}");
}

#[test]
fn feeds_are_numbered_and_refuse_what_cannot_be() {
    let mut fleet = fleet(small(1));
    let epoch = SpoolEpoch::new([1; 16]);
    let refused = Feed::new(&fleet, 4, epoch, 5).expect_err("three nodes and a gateway");
    assert_eq!(refused, FeedError::NoSender { sender: 4, count: 4 });
    let refused = Feed::new(&fleet, 0, epoch, 601).expect_err("601 rows");
    assert_eq!(refused, FeedError::Seconds { seconds: 601 });
    let mut feed = Feed::new(&fleet, 0, epoch, 10).expect("a node");
    assert_eq!(feed.finish(), None);
    let mut batches = Vec::new();
    for _ in 0..25 {
        batches.extend(feed.take(&fleet));
        fleet.step();
    }
    batches.extend(feed.finish());
    let hot = batches.iter().map(|batch| (batch.sequence, batch.matrices[0].times.len()));
    let seq = |seq| BatchSeq::new(seq).expect("above zero");
    assert_eq!(hot.collect::<Vec<_>>(), [(seq(1), 10), (seq(2), 10), (seq(3), 5)]);
    assert_eq!(batches[0].earliest(), Some(START));
    assert_eq!(batches[0].matrices.len(), 3, "at the start every group is read");
}
