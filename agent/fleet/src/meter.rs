//! The points of the single-line diagram and the meter at each.

use bijli_wire::id::IdError;
use bijli_wire::{HubId, Quantity, SubjectId};

use crate::register::{Dial, Register};
use crate::rng::noise;

/// What hangs at a point of the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Grid,
    Generator,
    UpsIn,
    UpsOut,
    Pdu,
    Cooling,
    Lighting,
}

impl Role {
    /// The word of the diagram's configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Generator => "generator",
            Self::UpsIn => "ups_in",
            Self::UpsOut => "ups_out",
            Self::Pdu => "pdu",
            Self::Cooling => "cooling",
            Self::Lighting => "lighting",
        }
    }

    /// What its meter tells, in the order of its columns.
    pub(crate) const fn readings(self) -> Readings {
        match self {
            Self::Grid | Self::Generator | Self::UpsOut => ELECTRIC,
            Self::UpsIn => UPS,
            Self::Cooling => COOLING,
            Self::Pdu | Self::Lighting => PLAIN,
        }
    }
}

type Column = (Quantity, fn(&Meter) -> i64);
pub(crate) type Readings = &'static [Column];
const ENERGY: Column = (Quantity::EnergyRegister, |meter| meter.register.shown());
const POWER: Column = (Quantity::PowerInstant, |meter| meter.register.power());
const VOLTAGE: Column = (Quantity::Voltage, |meter| meter.voltage_mv);
const FREQUENCY: Column = (Quantity::Frequency, |meter| meter.frequency_mhz);

const PLAIN: Readings = &[ENERGY, POWER, VOLTAGE];
const ELECTRIC: Readings = &[ENERGY, POWER, VOLTAGE, FREQUENCY];
const UPS: Readings = &[
    ENERGY,
    POWER,
    VOLTAGE,
    FREQUENCY,
    (Quantity::OnBattery, |meter| i64::from(meter.is_on_battery)),
    (Quantity::BatteryCharge, |meter| meter.battery_charge_ppm),
];
const COOLING: Readings = &[
    ENERGY,
    POWER,
    VOLTAGE,
    (Quantity::SupplyTemperature, |meter| meter.supply_mc),
    (Quantity::ReturnTemperature, |meter| meter.return_mc),
    (Quantity::Flow, |meter| meter.flow_ml_per_s),
];

/// A point of the diagram, as a reader of configuration would know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub id: String,
    pub role: Role,
    pub meter: SubjectId,
    /// `None`: a supply, or it hangs on the main board.
    pub fed_by: Option<String>,
}

/// The instrument at a point: its register, and whatever else its kind shows.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    pub(crate) point: Point,
    pub(crate) register: Register,
    pub(crate) voltage_mv: i64,
    pub(crate) frequency_mhz: i64,
    pub(crate) is_on_battery: bool,
    pub(crate) battery_charge_ppm: i64,
    pub(crate) supply_mc: i64,
    pub(crate) return_mc: i64,
    pub(crate) flow_ml_per_s: i64,
}

/// Where a meter stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) hub: &'a HubId,
    pub(crate) point: &'a str,
    pub(crate) role: Role,
    pub(crate) fed_by: Option<&'a str>,
    pub(crate) seed: u64,
}

impl Meter {
    /// The register starts where the seed and the point's name decide.
    pub(crate) fn new(place: Place<'_>, power_mw_max: u64) -> Result<Self, IdError> {
        let name = place.point.bytes();
        let bits = name.fold(place.seed, |hash, byte| noise(hash, u64::from(byte), 0));
        Ok(Self {
            point: Point {
                id: place.point.to_owned(),
                role: place.role,
                meter: SubjectId::new(&format!("{}/{}", place.hub, place.point))?,
                fed_by: place.fed_by.map(str::to_owned),
            },
            register: Register::new(Dial::METER, bits, power_mw_max),
            voltage_mv: 0,
            frequency_mhz: 0,
            is_on_battery: false,
            battery_charge_ppm: 1_000_000,
            supply_mc: 12_000,
            return_mc: 12_000,
            flow_ml_per_s: 0,
        })
    }

    pub(crate) fn show_electric(&mut self, voltage_mv: i64, frequency_mhz: i64) {
        self.voltage_mv = voltage_mv;
        self.frequency_mhz = frequency_mhz;
    }
}
