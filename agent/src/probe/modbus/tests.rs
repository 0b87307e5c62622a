//! A meter on loopback, spoken to in raw frames: [`Meter`] is the other side of the wire.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bijli_wire::message::EventKind;
use bijli_wire::{NodeId, UtcMillis};

use super::*;
use crate::clock::Moment;

mod sunspec;

/// What the meter holds and how it misbehaves.
#[derive(Default)]
struct State {
    /// By function code and register.
    words: Mutex<BTreeMap<(u8, u16), u16>>,
    /// Answers to function 43, by object.
    identity: Mutex<BTreeMap<u8, String>>,
    requests: AtomicUsize,
    /// Answers nothing.
    is_silent: AtomicBool,
    /// Closes the connection instead of answering.
    hangs_up: AtomicBool,
}

struct Meter {
    state: Arc<State>,
    address: SocketAddr,
}

impl Meter {
    fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), Arc::default())
    }

    fn on(listener: TcpListener, state: Arc<State>) -> Self {
        let address = listener.local_addr().expect("bound");
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(connection, &state));
            }
        });
        Self { state, address }
    }

    fn set(&self, function: u8, first: u16, words: &[u16]) {
        let mut held = self.state.words.lock().unwrap();
        for (register, word) in (first..).zip(words) {
            held.insert((function, register), *word);
        }
    }

    fn set_f32(&self, first: u16, value: f32) {
        let [a, b, c, d] = value.to_be_bytes();
        self.set(4, first, &[u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
    }

    fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

/// MBAP: transaction, protocol 0, length, unit; then function, first register, count. Or function
/// 43, and then 14, what is asked, the first object.
fn serve(mut connection: TcpStream, state: &State) {
    let mut head = [0_u8; 6];
    while connection.read_exact(&mut head).is_ok() {
        let mut request = head.to_vec();
        request.resize(6 + usize::from(head[5]), 0);
        connection.read_exact(&mut request[6..]).expect("the rest");
        state.requests.fetch_add(1, Ordering::SeqCst);
        if state.hangs_up.load(Ordering::SeqCst) {
            return;
        }
        if state.is_silent.load(Ordering::SeqCst) {
            continue;
        }
        let body = match request[7] {
            43 => identity(&request, state),
            _ => registers(&request, state),
        };
        let length = u16::try_from(body.len() + 1).unwrap().to_be_bytes();
        let head = [request[0], request[1], 0, 0, length[0], length[1], request[6]];
        if connection.write_all(&[&head[..], &body].concat()).is_err() {
            return;
        }
    }
}

fn registers(request: &[u8], state: &State) -> Vec<u8> {
    let function = request[7];
    let first = u16::from_be_bytes([request[8], request[9]]);
    let count = u16::from_be_bytes([request[10], request[11]]);
    let held = state.words.lock().unwrap();
    let words: Option<Vec<u16>> =
        (first..first + count).map(|register| held.get(&(function, register)).copied()).collect();
    drop(held);
    match words {
        Some(words) => {
            let bytes = words.iter().flat_map(|word| word.to_be_bytes());
            [function, u8::try_from(count * 2).unwrap()].into_iter().chain(bytes).collect()
        }
        None => vec![function | 0x80, 2],
    }
}

fn identity(request: &[u8], state: &State) -> Vec<u8> {
    let held = state.identity.lock().unwrap();
    let (code, first) = (request[9], request[10]);
    let asked = |id: &u8| if code == 4 { *id == first } else { *id < 3 };
    let objects: Vec<(&u8, &String)> = held.iter().filter(|(id, _)| asked(id)).collect();
    if objects.is_empty() {
        return vec![43 | 0x80, 1];
    }
    let mut body = vec![43, 14, code, 0x81, 0, 0, u8::try_from(objects.len()).unwrap()];
    for (id, text) in objects {
        body.extend([*id, u8::try_from(text.len()).unwrap()]);
        body.extend(text.bytes());
    }
    body
}

const SDM630: &str = r#"
meter = "sim/incomer"
address = "ADDRESS"
every = "5s"
timeout = "300ms"
power_max = "2 MW"
model = "SDM630"
registers = [
  { quantity = "voltage", function = "input", register = 0, type = "f32", unit = "V", part = 1 },
  { quantity = "voltage", function = "input", register = 2, type = "f32", unit = "V", part = 2 },
  { quantity = "power_instant", function = "input", register = 52, type = "f32", unit = "W" },
  { quantity = "energy_register", function = "input", register = 72, type = "f32", unit = "kWh" },
]
"#;

fn config(text: &str, address: SocketAddr) -> ModbusConfig {
    toml::from_str(&text.replace("ADDRESS", &address.to_string())).expect("a configuration")
}

fn probe(text: &str, address: SocketAddr) -> ModbusProbe {
    let context = Context::new(NodeId::new("gw").unwrap(), 1, String::new());
    ModbusProbe::new(&config(text, address), &context)
}

fn sdm630() -> Meter {
    let meter = Meter::start();
    for (register, value) in [(0, 230.1), (2, 229.7), (52, 98_424.5), (72, 123_456.7)] {
        meter.set_f32(register, value);
    }
    meter
}

fn read(probe: &mut ModbusProbe, ms: u64) -> Vec<Option<i64>> {
    let now = Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) };
    let mut samples = probe.read(&[Cadence::Hot, Cadence::Every(Millis::new(5_000))], now);
    assert_eq!(samples.len(), 1);
    samples.remove(0).values
}

#[test]
fn a_meter_is_read_in_as_few_requests_as_it_allows() {
    let meter = sdm630();
    let mut probe = probe(SDM630, meter.address);
    let description = probe.describe().expect("answers");
    let register = description.subjects[0].register.expect("a register");
    assert_eq!((register.numerator, register.denominator, register.modulus), (1, 1, None));
    assert_eq!(register.method, Method::Hardware);
    assert_eq!(register.power_max, Milliwatts::new(2_000_000_000));
    let energy = description.notes.iter().find(|note| note.how == How::Register).expect("noted");
    assert!(energy.words.ends_with("in steps of up to 14.717 Wh"), "{}", energy.words);
    let before = meter.requests();
    let values = read(&mut probe, 0);
    assert_eq!(values, [Some(230_100), Some(229_700), Some(98_424_500), Some(444_444_131_250_000)]);
    assert_eq!(meter.requests() - before, 3, "two voltages share a request");
    meter.set_f32(72, f32::NAN);
    meter.set_f32(52, -5.0);
    assert_eq!(read(&mut probe, 5_000), [Some(230_100), Some(229_700), None, None]);
}

#[test]
fn an_integer_register_is_shipped_as_the_meter_counts() {
    let text = r#"
meter = "isb/ups-in"
address = "ADDRESS"
power_max = "1 MW"
registers = [
  { quantity = "energy_register", function = "holding", register = 10, type = "u32",
    word_order = "CDAB", unit = "Wh", scale = "10" },
  { quantity = "power_average", function = "holding", register = 12, type = "u16",
    unit = "kW", scale = "0.1" },
]
"#;
    let meter = Meter::start();
    meter.set(3, 10, &[0xffff, 0xffff, 1_234]);
    let mut probe = probe(text, meter.address);
    let register = probe.describe().expect("answers").subjects[0].register.expect("a register");
    assert_eq!((register.numerator, register.denominator), (36_000_000, 1));
    assert_eq!(register.modulus, Some(1 << 32));
    assert_eq!(read(&mut probe, 0), [Some(4_294_967_295), Some(123_400_000)]);
    meter.set(3, 10, &[3, 0]);
    assert_eq!(read(&mut probe, 5_000)[0], Some(3), "the ledger sees the wrap");
}

#[test]
fn a_meter_without_an_energy_register_is_integrated() {
    let text = r#"
meter = "isb/chiller"
address = "ADDRESS"
power_max = "1 MW"
registers = [
  { quantity = "power_instant", function = "input", register = 52, type = "f32", unit = "kW" },
]
"#;
    let meter = Meter::start();
    meter.set_f32(52, 10.0);
    let mut probe = probe(text, meter.address);
    let description = probe.describe().expect("answers");
    let register = description.subjects[0].register.expect("our own");
    assert_eq!((register.method, register.denominator), (Method::Sampled, 2));
    assert_eq!(description.notes[0].how, How::Integrated);
    assert_eq!(read(&mut probe, 0), [Some(0), Some(10_000_000)]);
    meter.set_f32(52, 20.0);
    // (10 kW + 20 kW) x 5 s in half millijoules.
    assert_eq!(read(&mut probe, 5_000), [Some(150_000_000), Some(20_000_000)]);
    assert_eq!(read(&mut probe, 15_001), [None, Some(20_000_000)], "a silence of two readings");
    assert!(probe.wants_describe());
    let again = probe.describe().expect("answers").subjects[0].register.expect("our own");
    assert_ne!(again.epoch, register.epoch);
    assert_eq!(read(&mut probe, 16_000), [Some(0), Some(20_000_000)]);
}

#[test]
fn a_register_that_the_meter_does_not_have_is_noted_and_not_read_again() {
    let meter = sdm630();
    let text = SDM630.replace("register = 2,", "register = 5000,");
    let mut probe = probe(&text, meter.address);
    let description = probe.describe().expect("the others answer");
    assert_eq!(description.series.len(), 3);
    let missing = description.notes.iter().find(|note| note.how == How::Missing).expect("noted");
    assert_eq!(missing.what, "voltage, part 2");
    assert!(missing.words.starts_with("register 5000: illegal data address"), "{}", missing.words);
    assert_eq!(read(&mut probe, 0).len(), 3);
    assert_eq!(probe.trouble(), None);
}

#[test]
fn a_silent_meter_costs_one_timeout_and_comes_back_after_the_back_off() {
    let meter = sdm630();
    let mut probe = probe(SDM630, meter.address);
    probe.describe().expect("answers");
    meter.state.is_silent.store(true, Ordering::SeqCst);
    let before = meter.requests();
    assert_eq!(read(&mut probe, 0), [None; 4]);
    assert_eq!(meter.requests() - before, 1, "the other requests are not even tried");
    let words = format!("sim/incomer at {}: no answer within 300 ms", meter.address);
    assert_eq!(probe.trouble(), Some(words));
    meter.state.is_silent.store(false, Ordering::SeqCst);
    assert_eq!(read(&mut probe, 999), [None; 4], "still backing off");
    assert!(probe.trouble().expect("words").contains("before the next attempt, after: no answer"));
    assert_eq!(read(&mut probe, 1_000)[0], Some(230_100));
    assert_eq!(probe.trouble(), None);
}

#[test]
fn a_meter_that_hangs_up_is_connected_again() {
    let meter = sdm630();
    let mut probe = probe(SDM630, meter.address);
    probe.describe().expect("answers");
    meter.state.hangs_up.store(true, Ordering::SeqCst);
    assert_eq!(read(&mut probe, 0), [None; 4]);
    assert!(probe.trouble().is_some());
    meter.state.hangs_up.store(false, Ordering::SeqCst);
    assert_eq!(read(&mut probe, 5_000)[3], Some(444_444_131_250_000));
}

#[test]
fn nobody_at_the_address_is_said_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let failed = probe(SDM630, address).describe().expect_err("nobody");
    assert_eq!(failed.to_string(), format!("sim/incomer at {address}: connection refused"));
    // Late start: the meter comes up, the same probe finds it.
    let mut probe = probe(SDM630, address);
    probe.describe().expect_err("nobody yet");
    let Ok(listener) = TcpListener::bind(address) else { return };
    let meter = Meter::on(listener, Arc::default());
    for register in [0, 2, 52, 72] {
        meter.set_f32(register, 1.0);
    }
    assert_eq!(probe.describe().expect("there now").series.len(), 4);
}

#[test]
fn a_wrong_configuration_is_refused_with_the_register() {
    let address = "127.0.0.1:1".parse().expect("an address");
    for (from, to, words) in [
        (
            "\"W\"",
            "\"kWh\"",
            "register 52: \"kWh\" times 1 is no unit of power_instant: use one of mW, W, kW, MW",
        ),
        (
            "\"power_instant\"",
            "\"power\"",
            "register 52: \"power\" is no quantity; for example energy_register, power_instant, \
             voltage",
        ),
        (
            "part = 2",
            "part = 1",
            "voltage, part 1, is read from register 0 and from 2; give phases parts of their own",
        ),
        ("register = 72", "register = 65535", "register 65535: it reaches beyond register 65535"),
        ("\"2 MW\"", "\"0 MW\"", "`power_max` must be above zero"),
        (
            "\"sim/incomer\"",
            "\"sim incomer\"",
            "subject id \"sim incomer\" has the character ' '; use letters, digits and . _ - : /",
        ),
        (
            "unit = \"kWh\"",
            "unit = \"kWh\", scale = \"-1\"",
            "register 72: scale \"-1\" is no decimal number such as \"0.1\"",
        ),
    ] {
        let text = SDM630.replace(from, to);
        assert_eq!(config(&text, address).check(), Err(words.to_owned()), "{to}");
    }
    assert_eq!(config(SDM630, address).check(), Ok(()));
    let unknown = SDM630.replace("model", "modell");
    assert!(toml::from_str::<ModbusConfig>(&unknown).is_err());
}

/// An SDM630 whose words lie in `order`, as a profile finds it.
fn turned(meter: &Meter, order: WordOrder, kwh: f32) {
    for (register, value) in
        [(0, 230.1_f32), (2, 229.7), (4, 231.0), (52, 98_424.5), (70, 50.02), (72, kwh)]
    {
        let [a, b, c, d] = value.to_be_bytes();
        let [high, low] = match order {
            WordOrder::Abcd => [[a, b], [c, d]],
            WordOrder::Cdab => [[c, d], [a, b]],
            WordOrder::Badc => [[b, a], [d, c]],
            WordOrder::Dcba => [[d, c], [b, a]],
        };
        meter.set(4, register, &[u16::from_be_bytes(high), u16::from_be_bytes(low)]);
    }
}

const PROFILE: &str = r#"
meter = "sim/incomer"
address = "ADDRESS"
timeout = "300ms"
power_max = "2 MW"
profile = "eastron-sdm630"
serial_object = 128
"#;

fn probe_in(folder: &std::path::Path, address: SocketAddr) -> ModbusProbe {
    let context = Context::new(NodeId::new("gw").unwrap(), 1, String::new());
    let context = Context { state_dir: Some(folder.to_owned()), ..context };
    ModbusProbe::new(&config(PROFILE, address), &context)
}

fn told(probe: &mut ModbusProbe) -> Vec<(EventKind, u32)> {
    probe.happened().iter().map(|one| (one.kind, one.code)).collect()
}

const KWH: Option<i64> = Some(444_444_131_250_000);

#[test]
fn s9_a_profile_finds_the_word_order_and_reads_by_it() {
    for order in WordOrder::ALL {
        let meter = Meter::start();
        turned(&meter, order, 123_456.7);
        let mut probe = probe(PROFILE, meter.address);
        let description = probe.describe().expect("enrolled");
        assert_eq!(description.subjects[0].model, "Eastron SDM630");
        let note = description.notes.iter().find(|note| note.what == "word order");
        assert!(note.expect("noted").words.starts_with(order.name()), "{order:?}");
        let missing = description.notes.iter().filter(|note| note.how == How::Missing);
        assert_eq!(missing.count(), 4, "currents and power factor, which it refuses");
        let values = read(&mut probe, 0);
        let expected = [KWH, Some(98_424_500), Some(50_020), Some(230_100), Some(229_700)];
        assert_eq!(values[..5], expected, "{order:?}");
    }
}

/// Goal: an order that changes under the agent costs rows and never books one; the alarm comes
/// once, also over a restart; the count goes on in its epoch.
#[test]
fn s9_an_order_that_changes_is_held_missing_told_and_found_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let meter = Meter::start();
    turned(&meter, WordOrder::Abcd, 123_456.7);
    let mut probe = probe_in(folder.path(), meter.address);
    let before = probe.describe().expect("enrolled").subjects[0].register;
    assert_eq!(told(&mut probe), []);
    assert_eq!(read(&mut probe, 0)[0], KWH);
    turned(&meter, WordOrder::Cdab, 123_456.7);
    assert!(read(&mut probe, 5_000).iter().all(Option::is_none), "nothing of this row is true");
    let trouble = probe.trouble().expect("words");
    assert!(trouble.contains("word order ABCD makes no sense any more (ABCD 0.00 V"), "{trouble}");
    assert!(probe.wants_describe());
    // `check` and a crash before it was told take no alarm away.
    for _ in 0..2 {
        let mut other = probe_in(folder.path(), meter.address);
        other.describe().expect("enrolled");
    }
    let after = probe.describe().expect("enrolled anew").subjects[0].register;
    assert_eq!(told(&mut probe), [(EventKind::MeterChanged, 1)]);
    assert_eq!(after, before, "one and the same count");
    assert_eq!(read(&mut probe, 10_000)[0], KWH);
    let mut next = probe_in(folder.path(), meter.address);
    next.describe().expect("enrolled");
    assert_eq!(told(&mut next), [], "it was told");
}

#[test]
fn s9_a_meter_that_makes_no_sense_is_not_measured() {
    let meter = Meter::start();
    turned(&meter, WordOrder::Abcd, 123_456.7);
    for register in [0, 2, 4] {
        meter.set_f32(register, 11_000.0);
    }
    let mut one = probe(PROFILE, meter.address);
    let refused = one.describe().expect_err("11 kV").to_string();
    assert!(refused.contains("no word order makes sense (ABCD 11000.00 V 50.02 Hz;"), "{refused}");
    let text = format!("{PROFILE}voltage_nominal = \"11 kV\"\n");
    assert!(probe(&text, meter.address).describe().is_ok());
    let text = format!("{PROFILE}word_order = \"ABCD\"\n");
    assert!(probe(&text, meter.address).describe().is_ok());
    // More than 2 MW count in fifty years.
    turned(&meter, WordOrder::Abcd, 9.0e8);
    let refused = one.describe().expect_err("900 GWh").to_string();
    assert!(refused.contains("more than power_max allows in fifty years"), "{refused}");
}

/// Goal: load shedding is normal operation. A dead bus contradicts nothing that was found before.
#[test]
fn a_dead_bus_keeps_the_order_that_was_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let meter = Meter::start();
    turned(&meter, WordOrder::Cdab, 123_456.7);
    let darken = || {
        for register in [0, 2, 4, 70] {
            meter.set(4, register, &[0, 0]);
        }
    };
    darken();
    let refused = probe_in(folder.path(), meter.address).describe().expect_err("never seen alive");
    assert!(refused.to_string().contains("no voltage on the meter"), "{refused}");
    turned(&meter, WordOrder::Cdab, 123_456.7);
    let mut probe = probe_in(folder.path(), meter.address);
    probe.describe().expect("enrolled");
    probe.happened();
    darken();
    assert_eq!(read(&mut probe, 0)[0], KWH);
    let mut next = probe_in(folder.path(), meter.address);
    next.describe().expect("remembered");
    assert_eq!(read(&mut next, 0)[0], KWH);
}

#[test]
fn s8_another_serial_number_is_another_meter_and_another_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let meter = Meter::start();
    turned(&meter, WordOrder::Abcd, 123_456.7);
    let names = [(1, "SDM630"), (2, "V1.9"), (128, "1024")];
    let identity = || names.map(|(id, text)| (id, text.to_owned())).into();
    *meter.state.identity.lock().unwrap() = identity();
    let mut probe = probe_in(folder.path(), meter.address);
    let before = probe.describe().expect("enrolled");
    assert_eq!(before.subjects[0].serial, "1024");
    let words = "SDM630, firmware V1.9, serial 1024";
    assert!(before.notes.iter().any(|note| note.words == words), "{:?}", before.notes);
    let epoch = |description: &Description| description.subjects[0].register.map(|one| one.epoch);
    // Function 43 fails once: the meter is taken for what it was.
    meter.state.identity.lock().unwrap().clear();
    assert_eq!(epoch(&probe.describe().expect("enrolled")), epoch(&before));
    assert_eq!(told(&mut probe), []);
    // It is away and comes back as another one.
    *meter.state.identity.lock().unwrap() = identity();
    meter.state.identity.lock().unwrap().insert(128, "2048".to_owned());
    meter.state.hangs_up.store(true, Ordering::SeqCst);
    assert!(read(&mut probe, 0).iter().all(Option::is_none));
    meter.state.hangs_up.store(false, Ordering::SeqCst);
    assert!(read(&mut probe, 5_000).iter().all(Option::is_none), "it is asked who it is first");
    assert!(probe.wants_describe());
    let after = probe.describe().expect("enrolled");
    assert_ne!(epoch(&after), epoch(&before));
    assert_eq!(after.subjects[0].serial, "2048");
    assert_eq!(told(&mut probe), [(EventKind::MeterChanged, 2)]);
    assert_eq!(read(&mut probe, 10_000)[0], KWH);
}

/// Goal: a configuration of before there were profiles counts on in its epoch.
#[test]
fn the_epoch_of_a_configured_register_is_as_it_always_was() {
    let meter = sdm630();
    let register = probe(SDM630, meter.address).describe().expect("answers").subjects[0].register;
    let identity = "Input 72 F32 Abcd kWh 1";
    assert_eq!(register.map(|one| one.epoch), Some(epoch(&["sim/incomer", "", identity])));
}
