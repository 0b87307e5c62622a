//! A random hub: its diagram, its subjects, what their registers say, who held what; and the same
//! facts in any interleaving of the nodes.

use std::collections::BTreeMap;

use bijli_ledger::{
    Activity, Allocation, Books, Calibration, Category, Diagram, Gain, Holds, Point, PointId,
    RegisterHandle, Role, Rules,
};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{
    HubId, Method, Millis, Milliwatts, NodeId, ProjectId, SubjectId, SubjectKind, UtcMillis,
};

/// 2026-07-01T10:07:00Z: in the middle of an interval.
const START: i64 = 1_782_900_420_000;
const SPAN_MS: i64 = 3 * 3_600_000;

/// splitmix64: small, and the same on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn time(&mut self, bound: i64) -> i64 {
        i64::try_from(self.below(bound.unsigned_abs())).unwrap()
    }
}

/// One thing that the books are told.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    Read(RegisterHandle, UtcMillis, Option<i64>, Activity),
    Allocate(Allocation),
    Calibrate(Calibration),
    /// The node declares these, and what it had besides it has no more.
    Has(NodeId, Vec<Subject>),
    Advance(UtcMillis),
}

impl Fact {
    pub(crate) fn tell(&self, books: &mut Books) {
        match self {
            Self::Read(handle, at, count, activity) => {
                let _verdict = books.read_at(*handle, *at, *count, *activity);
            }
            // An overlap is refused and changes nothing; which one, their order decides.
            Self::Allocate(allocation) => {
                let _verdict = books.allocate(allocation.clone());
            }
            Self::Calibrate(calibration) => {
                let _verdict = books.calibrate(calibration.clone());
            }
            Self::Has(node, subjects) => {
                let _declared = books.declare_all(node, subjects);
            }
            Self::Advance(now) => {
                books.advance(*now);
            }
        }
    }
}

/// A GPU that is put into another node in the middle of everything.
struct Move {
    id: SubjectId,
    at: UtcMillis,
    /// What the node that had it has still.
    from: (NodeId, Vec<Subject>),
    to: (NodeId, Vec<Subject>),
    /// What it is read under there.
    handle: RegisterHandle,
}

pub(crate) struct World {
    diagram: Option<Diagram>,
    subjects: Vec<(NodeId, Subject)>,
    /// The readings of each node (or gateway), in its own order.
    streams: Vec<Vec<Fact>>,
    allocations: Vec<Fact>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = &mut Dice(seed);
        let mut points = Points::default();
        points.draw(dice);
        let mut subjects = points.meters();
        let nodes: Vec<NodeId> =
            (0..1 + dice.below(4)).map(|n| NodeId::new(&format!("n{n}")).unwrap()).collect();
        let mut placed = BTreeMap::new();
        for node in &nodes {
            equip(dice, node, &mut subjects);
            if !dice.one_in(6) {
                placed.insert(node.clone(), points.any_feeder(dice));
            }
        }
        let category = Category::from_number(1 + u8::try_from(dice.below(3)).unwrap()).unwrap();
        let diagram = Diagram::new(points.list, placed, category).expect("drawn soundly");
        let diagram = (!dice.one_in(8)).then_some(diagram);
        let allocations = allocations(dice, &nodes, &subjects);
        let mut world = Self { diagram, subjects, streams: Vec::new(), allocations };
        world.read(dice);
        world
    }

    /// Books that know the diagram and the subjects.
    pub(crate) fn books(&self) -> Books {
        self.books_with(Rules::default())
    }

    pub(crate) fn books_with(&self, rules: Rules) -> Books {
        let mut books = Books::new(HubId::new("isb").unwrap(), rules);
        if let Some(diagram) = &self.diagram {
            books.set_diagram(UtcMillis::new(0), diagram.clone());
        }
        for (node, subject) in &self.subjects {
            let _verdict = books.declare(node, subject);
        }
        books
    }

    /// Of every GPU, over all time. A hub without one is given a name that nobody has.
    pub(crate) fn calibration(&self, ppm: u32) -> Calibration {
        let gpus = self.subjects.iter().filter(|(_, one)| one.kind == SubjectKind::Gpu);
        let gpus = gpus.map(|(_, one)| one.id.clone());
        Calibration {
            id: "C1".to_owned(),
            devices: gpus.chain([SubjectId::new("nobody").unwrap()]).collect(),
            gain: Gain::from_ppm(ppm).unwrap(),
            doubt_ppm: 9_000,
            from: UtcMillis::new(0),
            to: None,
            who: "A. Khan".to_owned(),
            why: "compared".to_owned(),
        }
    }

    pub(crate) fn end(&self) -> UtcMillis {
        UtcMillis::new(START + SPAN_MS)
    }

    /// Lets everything close, and what was late be posted.
    pub(crate) fn settle(&self, books: &mut Books) {
        let after_all = self.end().get() + 2 * 3_600_000;
        let now = books.now().map_or(after_all, |now| now.get().max(after_all));
        for minutes in [0, 10, 20] {
            books.advance(UtcMillis::new(now + minutes * 60_000));
        }
    }

    /// All facts, the nodes' interleaved by a seed, the time passing in between at random.
    pub(crate) fn facts(&self, seed: u64) -> Vec<Fact> {
        let dice = &mut Dice(seed ^ 0xFAC7);
        let mut queues: Vec<_> = self.streams.iter().map(|stream| stream.iter()).collect();
        queues.push(self.allocations.iter());
        let mut facts = Vec::new();
        let mut now = START;
        let slack = SPAN_MS / i64::try_from(1 + self.streams.len()).unwrap() / 6;
        while !queues.is_empty() {
            let queue = usize::try_from(dice.below(queues.len() as u64)).unwrap();
            let run = 1 + dice.below(40);
            let taken: Vec<Fact> =
                queues[queue].by_ref().take(usize::try_from(run).unwrap()).cloned().collect();
            if taken.is_empty() {
                drop(queues.swap_remove(queue));
                continue;
            }
            facts.extend(taken);
            if dice.one_in(3) {
                now += dice.time(slack.max(1));
                facts.push(Fact::Advance(UtcMillis::new(now)));
            }
        }
        facts
    }

    /// What every register says over the span, per node in the order of time.
    fn read(&mut self, dice: &mut Dice) {
        let subjects = self.subjects.clone();
        let mut by_node: BTreeMap<NodeId, Vec<(UtcMillis, Fact)>> = BTreeMap::new();
        let books = self.books();
        let moved = self.draw_move(dice);
        for (node, subject) in &subjects {
            let Some(register) = subject.register else { continue };
            let handle = books.handle(&subject.id).expect("declared");
            let moved = moved.as_ref().filter(|moved| moved.id == subject.id);
            for (at, count, activity) in readings(dice, &register) {
                let (node, handle) = match moved {
                    Some(moved) if at >= moved.at => (&moved.to.0, moved.handle),
                    _ => (node, handle),
                };
                let stream = by_node.entry(node.clone()).or_default();
                stream.push((at, Fact::Read(handle, at, count, activity)));
            }
        }
        if let Some(Move { at, from, to, .. }) = moved {
            for (node, subjects) in [from, to] {
                let stream = by_node.entry(node.clone()).or_default();
                stream.insert(0, (at, Fact::Has(node, subjects)));
            }
        }
        self.streams = by_node
            .into_values()
            .map(|mut stream| {
                stream.sort_by_key(|(at, _)| *at);
                stream.into_iter().map(|(_, fact)| fact).collect()
            })
            .collect();
    }

    /// In one hub of two where there is somewhere to go.
    fn draw_move(&self, dice: &mut Dice) -> Option<Move> {
        let gpus = self.subjects.iter().filter(|(_, one)| one.kind == SubjectKind::Gpu);
        let gpus: Vec<_> = gpus.collect();
        let (from, gpu) =
            gpus.get(usize::try_from(dice.below(2 * gpus.len() as u64 + 1)).unwrap())?;
        let to = gpus.iter().map(|(node, _)| node).find(|node| *node != from)?;
        let of = |node: &NodeId| -> Vec<Subject> {
            let all = self.subjects.iter().filter(|(its, one)| its == node && one.id != gpu.id);
            all.map(|(_, one)| one.clone()).collect()
        };
        let (rest, mut more) = (of(from), of(to));
        let register = gpu.register.map(|register| Register { epoch: 2, ..register });
        more.push(Subject { register, ..gpu.clone() });
        let handle = self.books().declare_all(to, &more).last()?.handle();
        let at = UtcMillis::new(START + dice.time(SPAN_MS));
        Some(Move {
            id: gpu.id.clone(),
            at,
            from: (from.clone(), rest),
            to: (to.clone(), more),
            handle,
        })
    }
}

/// A register over the span: steady and jumping power, silence, resets, steps back, nonsense.
fn readings(dice: &mut Dice, register: &Register) -> Vec<(UtcMillis, Option<i64>, Activity)> {
    let power = i64::try_from(register.power_max.get()).unwrap();
    let modulus = register.modulus.map(|modulus| i64::try_from(modulus).unwrap());
    let mut count = dice.time(modulus.unwrap_or(1_000_000_000));
    let mut at = START + dice.time(600_000);
    let mut readings = Vec::new();
    while at < START + SPAN_MS {
        let dt = if dice.one_in(25) { dice.time(2_400_000) } else { 1_000 + dice.time(30_000) };
        at += dt.max(1);
        count += power * dice.time(101) / 100 * dt / 1_000;
        count %= modulus.unwrap_or(i64::MAX);
        let activity = match dice.below(3) {
            0 => Activity::Unknown,
            1 => Activity::Idle,
            _ => Activity::Busy,
        };
        let shown = match dice.below(40) {
            0 => None,
            1 => Some(i64::MAX - 13),
            2 => Some(count.saturating_mul(3) + power * 900),
            3 => {
                count = dice.time(power);
                Some(count)
            }
            4 => {
                count -= count.min(power * dice.time(9));
                Some(count)
            }
            _ => Some(count),
        };
        readings.push((UtcMillis::new(at), shown, activity));
        if dice.one_in(30) {
            readings.push((UtcMillis::new(at), shown, activity));
        }
    }
    readings
}

#[derive(Default)]
struct Points {
    list: Vec<Point>,
}

impl Points {
    fn draw(&mut self, dice: &mut Dice) {
        self.add("incomer", Role::Grid, None, true);
        for (name, role) in [("genset", Role::Generator), ("roof", Role::Solar)] {
            if dice.one_in(3) {
                self.add(name, role, None, !dice.one_in(3));
            }
        }
        for ups in 0..dice.below(3) {
            let (input, output) = (format!("ups{ups}-in"), format!("ups{ups}-out"));
            self.add(&input, Role::UpsIn, None, !dice.one_in(4));
            self.add(&output, Role::UpsOut, Some(&input), !dice.one_in(4));
        }
        for pdu in 0..dice.below(4) {
            let feeder = self.any_feeder(dice).to_string();
            let feeder = (feeder != "main").then_some(feeder);
            self.add(&format!("pdu{pdu}"), Role::Pdu, feeder.as_deref(), !dice.one_in(4));
        }
        for (name, role) in
            [("chiller", Role::Cooling), ("light", Role::Lighting), ("store", Role::Other)]
        {
            if dice.one_in(2) {
                self.add(name, role, None, !dice.one_in(4));
            }
        }
    }

    fn add(&mut self, id: &str, role: Role, fed_by: Option<&str>, is_metered: bool) {
        self.list.push(Point {
            id: PointId::new(id).unwrap(),
            role,
            meter: is_metered.then(|| SubjectId::new(id).unwrap()),
            fed_by: fed_by.map(|feeder| PointId::new(feeder).unwrap()),
        });
    }

    /// The board, a UPS output, a PDU, or a load.
    fn any_feeder(&self, dice: &mut Dice) -> PointId {
        let feeds = |p: &&Point| !p.role.is_supply() && p.role != Role::UpsIn;
        let feeders: Vec<&Point> = self.list.iter().filter(feeds).collect();
        let choice = usize::try_from(dice.below(feeders.len() as u64 + 1)).unwrap();
        feeders.get(choice).map_or_else(|| PointId::new("main").unwrap(), |p| p.id.clone())
    }

    fn meters(&self) -> Vec<(NodeId, Subject)> {
        let gateway = |id: &SubjectId| NodeId::new(&format!("gw-{id}")).unwrap();
        let meters = self.list.iter().filter_map(|point| point.meter.as_ref());
        meters.map(|id| (gateway(id), subject(id.as_str(), SubjectKind::Meter, 20_000))).collect()
    }
}

fn equip(dice: &mut Dice, node: &NodeId, subjects: &mut Vec<(NodeId, Subject)>) {
    let mut add =
        |id: String, kind, watts| subjects.push((node.clone(), subject(&id, kind, watts)));
    for gpu in 0..dice.below(4) {
        add(format!("{node}-G{gpu}"), SubjectKind::Gpu, 700);
    }
    if dice.one_in(2) {
        add(node.to_string(), SubjectKind::Node, 3_000);
    }
    if dice.one_in(2) {
        add(format!("{node}/cpu0"), SubjectKind::CpuPackage, 400);
        add(format!("{node}/dram0"), SubjectKind::Dram, 60);
    }
}

fn subject(id: &str, kind: SubjectKind, watts: u64) -> Subject {
    let is_rapl = matches!(kind, SubjectKind::CpuPackage | SubjectKind::Dram);
    let method = if id.ends_with('1') { Method::Integrated } else { Method::Hardware };
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: is_rapl.then_some(262_143_328),
        power_max: Milliwatts::new(watts * 1_000),
        epoch: 1,
        method,
        gap: Millis::new(60_000),
    };
    Subject {
        id: SubjectId::new(id).unwrap(),
        kind,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    }
}

fn allocations(dice: &mut Dice, nodes: &[NodeId], subjects: &[(NodeId, Subject)]) -> Vec<Fact> {
    let is_gpu = |(_, subject): &&(NodeId, Subject)| subject.kind == SubjectKind::Gpu;
    let gpus: Vec<&SubjectId> = subjects.iter().filter(is_gpu).map(|(_, s)| &s.id).collect();
    let mut facts = Vec::new();
    for number in 0..dice.below(12) {
        let pick = |dice: &mut Dice, of: usize| usize::try_from(dice.below(of as u64)).unwrap();
        let holds = if gpus.is_empty() || dice.one_in(3) {
            Holds::Node(nodes[pick(dice, nodes.len())].clone())
        } else {
            let devices = (0..1 + dice.below(3)).map(|_| gpus[pick(dice, gpus.len())].clone());
            Holds::Devices(devices.collect())
        };
        let from = START - 600_000 + dice.time(SPAN_MS);
        let to = (!dice.one_in(5)).then(|| UtcMillis::new(from + 1 + dice.time(SPAN_MS / 2)));
        facts.push(Fact::Allocate(Allocation {
            // Some come twice, with other content.
            id: format!("J{}", number % 9),
            project: ProjectId::new(&format!("p{}", dice.below(4))).unwrap(),
            holds,
            from: UtcMillis::new(from),
            to,
            who: "slurm".to_owned(),
            why: String::new(),
        }));
    }
    facts
}
