//! What a cooling unit, a PDU or a single sensor tells beside its own energy and power: coolant at
//! each connector, each outlet, each configured sensor.
//!
//! Each of these is a meter of its own, named after the device's: `isb/cdu1/primary-1`. What its
//! document tells when it is first read is what is offered; each value that is missing later costs
//! only itself.

use bijli_wire::Quantity;

use super::http::Http;
use super::json::Json;
use super::settings::RedfishConfig;
use super::survey::{
    Failure, KILOWATT_HOURS, Link, Number, Path, Unit, WATTS, document, members, parsed, perhaps,
};

/// Meters of one device. A rack PDU has up to 48 outlets, and each is a document at each tick.
const PARTS_MAX: usize = 96;

/// A meter of its own within the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Behind the device's name: `primary-1`, `outlet-A7`, `sensor-AmbientTemp`.
    pub(super) name: String,
    pub(super) values: Vec<(Quantity, Number)>,
    /// What the device says of how it measures.
    pub(super) evidence: Option<String>,
}

type Row = (Path, Quantity, Unit);

const MILLI: Unit = (1_000, 1);
/// Litres per minute to millilitres per second.
const PER_MINUTE: Unit = (50, 3);
const KILOWATTS: Unit = (1_000_000, 1);
const JOULES: Unit = (1_000, 1);
/// Of a part to millionths.
const SHARE: Unit = (1_000_000, 1);
const PERCENT: Unit = (10_000, 1);

/// CoolantConnector of DSP8010: the names carry their units.
const OF_CONNECTOR: [Row; 6] = [
    (&["SupplyTemperatureCelsius"], Quantity::SupplyTemperature, MILLI),
    (&["ReturnTemperatureCelsius"], Quantity::ReturnTemperature, MILLI),
    (&["FlowLitersPerMinute"], Quantity::Flow, PER_MINUTE),
    (&["HeatRemovedkW"], Quantity::HeatRemoved, KILOWATTS),
    (&["SupplyPressurekPa"], Quantity::SupplyPressure, MILLI),
    (&["ReturnPressurekPa"], Quantity::ReturnPressure, MILLI),
];

/// Outlet of DSP8010.
const OF_OUTLET: [Row; 6] = [
    (&["EnergykWh"], Quantity::EnergyRegister, KILOWATT_HOURS),
    (&["PowerWatts"], Quantity::PowerInstant, WATTS),
    (&["Voltage"], Quantity::Voltage, MILLI),
    (&["CurrentAmps"], Quantity::Current, MILLI),
    (&["FrequencyHz"], Quantity::Frequency, MILLI),
    (&["PowerWatts", "PowerFactor"], Quantity::PowerFactor, SHARE),
];

/// Collections whose members are meters of their own, and what these are called.
const COLLECTIONS: [(&str, &str, &[Row]); 3] = [
    ("PrimaryCoolantConnectors", "primary", &OF_CONNECTOR),
    ("SecondaryCoolantConnectors", "secondary", &OF_CONNECTOR),
    ("Outlets", "outlet", &OF_OUTLET),
];

/// A Sensor's `ReadingUnits` (UCUM), what it measures, and the unit.
const OF_SENSOR: [(&str, Quantity, Unit); 10] = [
    ("Cel", Quantity::Temperature, MILLI),
    ("W", Quantity::PowerInstant, WATTS),
    ("kW", Quantity::PowerInstant, KILOWATTS),
    ("V", Quantity::Voltage, MILLI),
    ("A", Quantity::Current, MILLI),
    ("Hz", Quantity::Frequency, MILLI),
    ("L/min", Quantity::Flow, PER_MINUTE),
    ("%", Quantity::Humidity, PERCENT),
    ("J", Quantity::EnergyRegister, JOULES),
    ("kW.h", Quantity::EnergyRegister, KILOWATT_HOURS),
];

/// Finds the meters within a device whose own document is `device`.
pub(super) async fn parts(
    http: &mut Http,
    (link, device): (&Link, Json<'_>),
    config: &RedfishConfig,
) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for (member, name, rows) in COLLECTIONS {
        let all = Link::of(device, member)?;
        let Some(text) = perhaps(http, all.as_ref()).await? else { continue };
        for one in members(parsed(&text)?)? {
            let text = document(http, &one).await?;
            let json = parsed(&text)?;
            let values = told(json, &one, rows);
            if !values.is_empty() {
                parts.push(Part { name: named(name, json, &one), values, evidence: None });
            }
            bounded(&parts)?;
        }
    }
    for id in &config.sensors {
        let place = format!("{}/Sensors/{id}", link.as_str());
        let Some(one) = Link::new(&place) else { return Err(Failure::Leaves { link: place }) };
        parts.push(sensor(http, id, &one).await?);
        bounded(&parts)?;
    }
    Ok(parts)
}

fn bounded(parts: &[Part]) -> Result<(), Failure> {
    let words = || format!("it has more than {PARTS_MAX} outlets, connectors and sensors");
    (parts.len() <= PARTS_MAX).then_some(()).ok_or_else(|| Failure::Useless { words: words() })
}

/// What the document tells now, of what it may tell.
fn told(json: Json<'_>, link: &Link, rows: &[Row]) -> Vec<(Quantity, Number)> {
    let has = |path: Path| json.at(path).and_then(Json::reading).is_some();
    let rows = rows.iter().filter(|(path, ..)| has(path));
    rows.map(|(path, quantity, unit)| (*quantity, Number::one(link.clone(), path, *unit))).collect()
}

/// `outlet-A7`, by the Id, in the letters that a name can have.
fn named(kind: &str, json: Json<'_>, link: &Link) -> String {
    let last = || link.as_str().rsplit('/').next().unwrap_or_default().to_owned();
    let id = json.member("Id").and_then(Json::text).unwrap_or_else(last);
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    format!("{kind}-{}", id.chars().take(32).map(letter).collect::<String>())
}

async fn sensor(http: &mut Http, id: &str, link: &Link) -> Result<Part, Failure> {
    let text = document(http, link).await?;
    let json = parsed(&text)?;
    let useless = |words: String| Failure::Useless { words };
    let unit = json.member("ReadingUnits").and_then(Json::text).unwrap_or_default();
    let kind = json.member("ReadingType").and_then(Json::text);
    let known = OF_SENSOR.iter().find(|(known, ..)| *known == unit);
    // A percentage may be of anything.
    let known = known.filter(|_| unit != "%" || kind.as_deref() == Some("Humidity"));
    let Some((_, quantity, scale)) = known else {
        let kind = kind.unwrap_or_else(|| "no type".to_owned());
        return Err(useless(format!("sensor {id:?} tells {kind} in {unit:?}: not supported")));
    };
    if json.member("Reading").and_then(Json::decimal).is_none() {
        return Err(useless(format!("sensor {id:?} tells no reading now")));
    }
    let values = vec![(*quantity, Number::one(link.clone(), &["Reading"], *scale))];
    Ok(Part { name: named("sensor", json, link), values, evidence: evidence(json) })
}

/// What an auditor asks of a sensor, as far as it says.
fn evidence(json: Json<'_>) -> Option<String> {
    let number = |name: &str| Some(json.member(name)?.written());
    let text = |name: &str| json.member(name).and_then(Json::text);
    let said = [
        ("accuracy", number("Accuracy").map(|accuracy| format!("{accuracy} %"))),
        ("reading accuracy", number("ReadingAccuracy")),
        ("calibrated", text("CalibrationTime")),
        ("is a", text("Implementation")),
    ];
    let said = said.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value?)));
    let said = said.collect::<Vec<_>>().join(", ");
    (!said.is_empty()).then_some(said)
}
