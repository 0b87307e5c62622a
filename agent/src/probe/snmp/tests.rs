//! A device on loopback that speaks version 2c in raw datagrams: [`Device`] is the other side of
//! the wire, and lies where no third-party agent would. The real ones are in `tests/snmp.rs`.
#![expect(clippy::disallowed_methods, reason = "the file of a community")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bijli_wire::{NodeId, UtcMillis};
use proptest::prelude::*;

use super::*;

/// What it shows and how it misbehaves.
#[derive(Clone, Default)]
struct State {
    /// Type and bytes of each value, by the bytes of its name.
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    is_silent: bool,
    /// So many values are in an answer, and no more.
    values_max: Option<usize>,
    /// Instead of an answer.
    noise: Option<Vec<u8>>,
}

struct Device {
    state: Arc<Mutex<State>>,
    requests: Arc<AtomicUsize>,
    address: SocketAddr,
    secrets: tempfile::TempDir,
}

impl Device {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let state: Arc<Mutex<State>> = Arc::default();
        let requests: Arc<AtomicUsize> = Arc::default();
        let (shared, counted) = (Arc::clone(&state), Arc::clone(&requests));
        std::thread::spawn(move || {
            let mut datagram = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                counted.fetch_add(1, Ordering::SeqCst);
                let state = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(answer) = answer(&datagram[..length], &state) {
                    socket.send_to(&answer, from).expect("sent");
                }
            }
        });
        let secrets = tempfile::tempdir().expect("a folder");
        std::fs::write(secrets.path().join("community"), "public\n").expect("written");
        Self { state, requests, address, secrets }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("not poisoned"));
    }

    fn set(&self, name: &str, value: i32) {
        self.set_raw(name, tlv(0x02, &value.to_be_bytes()));
    }

    fn set_raw(&self, name: &str, value: Vec<u8>) {
        self.change(|state| drop(state.values.insert(bytes_of(name), value)));
    }

    fn probe(&self, profile: &str, meters: &str) -> SnmpProbe {
        let text = format!(
            "address = \"{}\"\nprofile = \"{profile}\"\ncommunity_file = \"{}\"\n\
             timeout = \"150ms\"\nmeters = [{meters}]\n",
            self.address,
            self.secrets.path().join("community").display()
        );
        let config: SnmpConfig = toml::from_str(&text).expect("a configuration");
        config.check().expect("whole");
        let node = NodeId::new("gw").expect("a name");
        let context = Context::new(node, 1, String::new());
        let state_dir = Some(self.secrets.path().to_owned());
        SnmpProbe::new(&config, &Context { state_dir, ..context })
    }
}

/// The parts of one BER value: its type, its content, what follows.
fn part(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
    let (kind, first) = (bytes[0], usize::from(bytes[1]));
    let (length, from) = match first {
        0..=127 => (first, 2),
        _ => {
            let count = first - 128;
            let digits = bytes[2..2 + count].iter();
            (digits.fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
        }
    };
    (kind, &bytes[from..from + length], &bytes[from + length..])
}

fn tlv(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("small").to_be_bytes();
    [&[kind, 0x82, length[0], length[1]], content].concat()
}

fn bytes_of(name: &str) -> Vec<u8> {
    let ObjectId(parts) = ObjectId::parse(name).expect("a name");
    let mut bytes = vec![u8::try_from(parts[0] * 40 + parts[1]).expect("small")];
    for part in &parts[2..] {
        let digits = (0..5).rev().map(|digit| (part >> (7 * digit)) & 0x7f);
        let digits: Vec<u32> = digits.skip_while(|digit| *digit == 0).collect();
        let digits = if digits.is_empty() { vec![0] } else { digits };
        let last = digits.len() - 1;
        let digit = |(at, digit): (usize, &u32)| if at < last { digit | 0x80 } else { *digit };
        let encoded = digits.iter().enumerate().map(digit);
        bytes.extend(encoded.map(|digit| u8::try_from(digit).expect("seven bits and a mark")));
    }
    bytes
}

fn answer(request: &[u8], state: &State) -> Option<Vec<u8>> {
    if state.is_silent {
        return None;
    }
    if let Some(noise) = &state.noise {
        return Some(noise.clone());
    }
    let (_, message, _) = part(request);
    let (_, _version, rest) = part(message);
    let (_, community, rest) = part(rest);
    let (_, pdu, _) = part(rest);
    let (_, id, rest) = part(pdu);
    let (_, _status, rest) = part(rest);
    let (_, _index, rest) = part(rest);
    let (_, mut asked, _) = part(rest);
    let mut answers = Vec::new();
    for _ in 0..state.values_max.unwrap_or(usize::MAX) {
        if asked.is_empty() {
            break;
        }
        let (_, binding, rest) = part(asked);
        let (_, name, _) = part(binding);
        let value = state.values.get(name).cloned().unwrap_or_else(|| vec![0x81, 0]);
        answers.extend(tlv(0x30, &[tlv(0x06, name), value].concat()));
        asked = rest;
    }
    let none = tlv(0x02, &[0]);
    let pdu = [tlv(0x02, id), none.clone(), none, tlv(0x30, &answers)].concat();
    let message = [tlv(0x02, &[1]), tlv(0x04, community), tlv(0xa2, &pdu)].concat();
    Some(tlv(0x30, &message))
}

const METER: &str = "{ meter = \"sim/pdu\", power_max = \"11 kW\" }";
const POWER: &str = "1.3.6.1.4.1.318.1.1.26.4.3.1.5.1";
const ENERGY: &str = "1.3.6.1.4.1.318.1.1.26.4.3.1.9.1";
const FACTOR: &str = "1.3.6.1.4.1.318.1.1.26.4.3.1.17.1";
const SERIAL: &str = "1.3.6.1.4.1.318.1.1.26.2.1.9.1";

fn rpdu2() -> Device {
    let device = Device::start();
    for (name, value) in [(POWER, 982), (ENERGY, 845_213), (FACTOR, 98)] {
        device.set(name, value);
    }
    device.set_raw(SERIAL, tlv(0x04, b"ZA1"));
    device.set_raw(SYS_UP_TIME, tlv(0x43, &[1, 0, 0]));
    device
}

fn read(probe: &mut SnmpProbe, ms: u64) -> Vec<Option<i64>> {
    let now = Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) };
    let mut samples = probe.read(&[Cadence::Hot, Cadence::Every(Millis::new(5_000))], now);
    assert_eq!(samples.len(), 1);
    samples.remove(0).values
}

fn told(probe: &mut SnmpProbe) -> Vec<(EventKind, u32)> {
    probe.happened().iter().map(|one| (one.kind, one.code)).collect()
}

const WHOLE: [Option<i64>; 3] = [Some(845_213), Some(9_820_000), Some(980_000)];

#[test]
fn a_device_is_described_with_its_scale_and_read_in_one_request() {
    let device = rpdu2();
    let mut probe = device.probe("apc-rpdu2", METER);
    let description = probe.describe().expect("answers");
    assert_eq!(description.subjects[0].serial, "ZA1");
    let register = description.subjects[0].register.expect("a register");
    assert_eq!((register.numerator, register.denominator), (360_000_000, 1));
    assert_eq!((register.modulus, register.method), (None, Method::Hardware));
    assert_eq!(register.power_max, Milliwatts::new(11_000_000));
    let before = device.requests.load(Ordering::SeqCst);
    assert_eq!(read(&mut probe, 0), WHOLE);
    assert_eq!(device.requests.load(Ordering::SeqCst), before + 1);
    assert_eq!(probe.trouble(), None);
}

/// Goal: whatever is wrong with one value costs that value, says why, and is never zero.
#[test]
fn what_is_wrong_with_a_value_costs_it_alone_and_is_said() {
    let device = rpdu2();
    let mut probe = device.probe("apc-rpdu2", METER);
    probe.describe().expect("answers");
    for (value, words) in [
        (vec![0x80, 0], "the device has no such object"),
        (vec![0x81, 0], "the device has no such object"),
        (tlv(0x04, b"982"), "not a number but a text"),
        (tlv(0x40, &[10, 0, 0, 9]), "not a number but an address"),
        (tlv(0x02, &[0xff]), "-1 cannot be true"),
    ] {
        device.set_raw(POWER, value);
        let [energy, _, factor] = WHOLE;
        assert_eq!(read(&mut probe, 0), [energy, None, factor], "{words}");
        let said = probe.trouble().expect("in trouble");
        let of = "sim/pdu: power instant (rPDU2DeviceStatusPower) is missing: ";
        assert_eq!(said, format!("{of}{words}"));
    }
    device.set(POWER, 982);
    assert_eq!((read(&mut probe, 0), probe.trouble()), (WHOLE.to_vec(), None));
}

/// Goal: an answer that was cut short, noise, and silence are missing values; and the device is
/// not asked at each tick while it is silent.
#[test]
fn cut_answers_noise_and_silence_are_missing_and_backed_off() {
    let device = rpdu2();
    let mut probe = device.probe("apc-rpdu2", METER);
    probe.describe().expect("answers");
    device.change(|state| state.values_max = Some(1));
    let cut = read(&mut probe, 0);
    assert_eq!(cut.iter().flatten().count(), 0, "{cut:?}: the first asked is the up-time");
    assert!(probe.trouble().expect("said").ends_with("the answer was cut short"));
    device.change(|state| state.values_max = None);
    assert_eq!(read(&mut probe, 0), WHOLE);

    device.change(|state| state.noise = Some(b"\x30\x05noise".to_vec()));
    assert_eq!(read(&mut probe, 1_000), [None; 3]);
    let before = device.requests.load(Ordering::SeqCst);
    assert_eq!(read(&mut probe, 1_500), [None; 3], "backing off");
    assert_eq!(device.requests.load(Ordering::SeqCst), before);
    assert!(probe.trouble().expect("said").contains("waiting 500 ms before the next attempt"));
    device.change(|state| (state.noise, state.is_silent) = (None, true));
    assert_eq!(read(&mut probe, 2_500), [None; 3]);
    let said = probe.trouble().expect("said");
    assert!(said.contains("no answer within 150 ms, 2 times; a wrong community"), "{said}");
    // It may be another one that answers now: first it is asked who it is.
    device.change(|state| state.is_silent = false);
    assert_eq!(read(&mut probe, 60_000), [None; 3]);
    assert!(probe.wants_describe());
    probe.describe().expect("answers");
    assert_eq!(read(&mut probe, 65_000), WHOLE);
    assert!(told(&mut probe).is_empty());
}

#[test]
fn s8_a_count_that_fell_is_read_again_before_it_is_believed() {
    let device = rpdu2();
    let mut probe = device.probe("apc-rpdu2", METER);
    probe.describe().expect("answers");
    assert_eq!(read(&mut probe, 0), WHOLE);
    // Once only: a card that boots shows zero, and then the count again.
    device.set(ENERGY, 0);
    assert_eq!(read(&mut probe, 5_000)[0], None);
    assert!(probe.wants_describe());
    device.set(ENERGY, 845_213);
    probe.describe().expect("answers");
    assert_eq!(read(&mut probe, 10_000), WHOLE);
    assert!(told(&mut probe).is_empty());

    device.set(ENERGY, 3);
    assert_eq!(read(&mut probe, 15_000)[0], None);
    probe.describe().expect("answers");
    assert_eq!(told(&mut probe), [(EventKind::MeterReset, 0)]);
    assert_eq!(read(&mut probe, 20_000)[0], Some(3));
    assert!(!probe.wants_describe() && told(&mut probe).is_empty());
}

/// Goal: a device that restarted is asked who it is; another serial number is another count, and
/// is told also when the agent was restarted meanwhile.
#[test]
fn s8_after_a_restart_another_serial_number_is_another_epoch() {
    let device = rpdu2();
    let mut probe = device.probe("apc-rpdu2", METER);
    let first = probe.describe().expect("answers").subjects[0].register.expect("one").epoch;
    assert_eq!(read(&mut probe, 0), WHOLE);
    assert!(told(&mut probe).is_empty());
    device.set_raw(SYS_UP_TIME, tlv(0x43, &[10]));
    device.set_raw(SERIAL, tlv(0x04, b"ZA2"));
    assert_eq!(read(&mut probe, 5_000), [None; 3], "not believed");
    assert!(probe.wants_describe());
    let again = probe.describe().expect("answers").subjects[0].register.expect("one").epoch;
    assert_ne!(again, first);
    assert_eq!(told(&mut probe), [(EventKind::MeterChanged, 2)]);
    assert_eq!(read(&mut probe, 10_000), WHOLE);

    // Another one that counts less: nobody set anything back.
    device.set_raw(SYS_UP_TIME, tlv(0x43, &[1]));
    device.set_raw(SERIAL, tlv(0x04, b"ZA4"));
    device.set(ENERGY, 7);
    assert_eq!(read(&mut probe, 15_000), [None; 3]);
    probe.describe().expect("answers");
    assert_eq!(told(&mut probe), [(EventKind::MeterChanged, 2)]);
    assert_eq!(read(&mut probe, 20_000)[0], Some(7));

    device.set_raw(SERIAL, tlv(0x04, b"ZA3"));
    let mut later = device.probe("apc-rpdu2", METER);
    later.describe().expect("answers");
    assert_eq!(told(&mut later), [(EventKind::MeterChanged, 2)]);
}

/// Goal: an outlet that is not there when the device is described is noted, and found later.
#[test]
fn what_was_not_there_is_noted_and_looked_for_again() {
    let device = rpdu2();
    let outlet = "{ meter = \"sim/o\", at = \"outlet\", index = \"1\", power_max = \"3 kW\" }";
    let mut probe = device.probe("apc-rpdu2", &format!("{METER}, {outlet}"));
    let description = probe.describe().expect("answers");
    assert_eq!(description.subjects.len(), 1);
    let is_missing = |note: &&Note| note.how == How::Missing && note.what == "sim/o: power instant";
    assert!(description.notes.iter().any(|note| is_missing(&note)), "{:?}", description.notes);
    assert_eq!(read(&mut probe, 0), WHOLE);
    device.set("1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.1", 120);
    read(&mut probe, 599_000);
    assert!(!probe.wants_describe());
    read(&mut probe, 600_000);
    assert!(probe.wants_describe());
    let description = probe.describe().expect("answers");
    assert_eq!(description.subjects.len(), 2);
    let method = description.subjects[1].register.expect("our own").method;
    assert_eq!(method, Method::Sampled);
    let row = read(&mut probe, 605_000);
    assert_eq!(row, [&WHOLE[..], &[Some(0), Some(120_000)]].concat());
    // (120 W + 120 W) / 2 for five seconds, in half millijoules.
    assert_eq!(read(&mut probe, 610_000)[3], Some(1_200_000));
}

/// Guards against a UPS whose power nobody reads, and nobody is told why.
#[test]
fn lines_that_nobody_can_count_are_noted() {
    let device = Device::start();
    device.set("1.3.6.1.2.1.33.1.2.4.0", 93);
    let mut probe = device.probe("ups-mib", METER);
    for (count, words) in [
        (None, "so none is read: the device has no such object"),
        (Some(0), "so none is read: it says 0"),
        (Some(7), "so none is read: it says 7"),
    ] {
        if let Some(count) = count {
            device.set("1.3.6.1.2.1.33.1.4.3.0", count);
        }
        let description = probe.describe().expect("it has a battery");
        let note = description.notes.iter().find(|note| note.what == "lines").expect("noted");
        assert!(note.how == How::Missing && note.words.ends_with(words), "{}", note.words);
    }
    device.set("1.3.6.1.2.1.33.1.4.3.0", 1);
    let description = probe.describe().expect("answers");
    assert!(description.notes.iter().all(|note| note.what != "lines"));
}

/// Goal: a device with nothing of its profile is refused with a reason, not read as empty.
#[test]
fn another_device_than_the_profiles_is_refused() {
    let device = rpdu2();
    let mut probe = device.probe("ups-mib", METER);
    let refused = probe.describe().expect_err("no UPS").to_string();
    assert!(refused.ends_with("it has nothing of profile ups-mib"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any value of any type in the place of a number: a row as long as ever, and nothing in it
    /// that cannot be true.
    #[test]
    fn any_value_is_a_true_number_or_missing(
        kind in prop_oneof![Just(0x02_u8), Just(0x04), Just(0x41), Just(0x46), any::<u8>()],
        content in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let device = rpdu2();
        let mut probe = device.probe("apc-rpdu2", METER);
        probe.describe().expect("answers");
        device.set_raw(POWER, tlv(kind, &content));
        let row = read(&mut probe, 0);
        prop_assert_eq!(row.len(), 3);
        if let Some(power) = row[1] {
            prop_assert!(Quantity::PowerInstant.spec().admits(power));
        }
    }
}
