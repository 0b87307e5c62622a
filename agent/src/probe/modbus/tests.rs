//! A meter on loopback, spoken to in raw frames: [`Meter`] is the other side of the wire.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bijli_wire::{NodeId, UtcMillis};

use super::*;
use crate::clock::Moment;

/// What the meter holds and how it misbehaves.
#[derive(Default)]
struct State {
    /// By function code and register.
    words: Mutex<BTreeMap<(u8, u16), u16>>,
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

/// MBAP: transaction, protocol 0, length, unit; then function, first register, count.
fn serve(mut connection: TcpStream, state: &State) {
    let mut request = [0_u8; 12];
    while connection.read_exact(&mut request).is_ok() {
        state.requests.fetch_add(1, Ordering::SeqCst);
        if state.hangs_up.load(Ordering::SeqCst) {
            return;
        }
        if state.is_silent.load(Ordering::SeqCst) {
            continue;
        }
        let function = request[7];
        let first = u16::from_be_bytes([request[8], request[9]]);
        let count = u16::from_be_bytes([request[10], request[11]]);
        let held = state.words.lock().unwrap();
        let words: Option<Vec<u16>> = (first..first + count)
            .map(|register| held.get(&(function, register)).copied())
            .collect();
        drop(held);
        let body = match words {
            Some(words) => {
                let bytes = words.iter().flat_map(|word| word.to_be_bytes());
                [function, u8::try_from(count * 2).unwrap()].into_iter().chain(bytes).collect()
            }
            None => vec![function | 0x80, 2],
        };
        let length = u16::try_from(body.len() + 1).unwrap().to_be_bytes();
        let head = [request[0], request[1], 0, 0, length[0], length[1], request[6]];
        if connection.write_all(&[&head[..], &body].concat()).is_err() {
            return;
        }
    }
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
