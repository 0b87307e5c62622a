//! Where a server, a cooling unit or a PDU tells energy and power, in the order of how much it is
//! worth, and reading it.
//!
//! # Invariants
//! - A link is a path below `/redfish/` of the server itself. One that leaves it is never followed.
//! - A sum is a sum of all its terms or nothing: half of the power supplies are no server.
//! - A document that fails (5xx, cut, late) is a failure; only one that is not there, or does not
//!   tell, makes room for the next source.

use super::equipment::{self, Part};
use super::http::Http;
use super::json::Json;
use super::leaks;
use super::memory::Memory;
use super::settings::RedfishConfig;

const LINK_BYTES_MAX: usize = 512;
const SUPPLIES_MAX: usize = 32;

/// How many of the catalogue's unit one of the server's is.
pub(super) type Unit = (u64, u64);
const JOULES: Unit = (1_000, 1);
pub(super) const KILOWATT_HOURS: Unit = (3_600_000_000, 1);
pub(super) const WATTS: Unit = (1_000, 1);

/// Steps from a document to a member of it.
pub(super) type Path = &'static [&'static str];

/// Where a document is, on the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link(String);

impl Link {
    /// `None` for any other address.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or(text);
        let is_path = text.starts_with("/redfish/")
            && text.len() <= LINK_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'?')
            && !text.split('/').any(|step| step == "..");
        is_path.then(|| Self(text.to_owned()))
    }

    /// That of a member, as `{"@odata.id": "/redfish/v1/..."}`. `Ok(None)`: there is none.
    pub(super) fn of(json: Json<'_>, member: &str) -> Result<Option<Self>, Failure> {
        json.member(member).map_or(Ok(None), Self::within)
    }

    fn within(json: Json<'_>) -> Result<Option<Self>, Failure> {
        let Some(text) = json.member("@odata.id").and_then(Json::text) else { return Ok(None) };
        Self::new(&text).map(Some).ok_or(Failure::Leaves { link: text })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{reason}")]
    Unreachable { reason: String },
    #[error("it refuses user and password, or wants some (HTTP {status})")]
    Denied { status: u16 },
    #[error("{link}: there is no such document (HTTP 404)")]
    Absent { link: String },
    #[error("{link}: HTTP {status}")]
    Faulty { link: String, status: u16 },
    #[error("{link}: its answer is no JSON object, or ends too early")]
    Nonsense { link: String },
    #[error("the link {link:?} leaves the server: not followed")]
    Leaves { link: String },
    #[error("{words}")]
    Useless { words: String },
}

/// A number of the server: where, and in which unit. Several are summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    places: Vec<(Link, Path)>,
    unit: Unit,
    /// For people: `EnvironmentMetrics, EnergykWh`.
    pub(super) source: &'static str,
}

impl Number {
    pub(super) fn one(link: Link, path: Path, unit: Unit) -> Self {
        Self { places: vec![(link, path)], unit, source: path.first().copied().unwrap_or_default() }
    }
}

/// A document that may tell both: the member that leads to it, its energies in the order of how
/// fine they are, and what its power is called.
struct Meter {
    member: &'static str,
    energies: &'static [(Path, Unit, &'static str)],
    power: &'static str,
}

const ENVIRONMENT: Meter = Meter {
    member: "EnvironmentMetrics",
    energies: &[
        (&["EnergyJoules"], JOULES, "EnvironmentMetrics, EnergyJoules"),
        (&["EnergykWh"], KILOWATT_HOURS, "EnvironmentMetrics, EnergykWh"),
    ],
    power: "EnvironmentMetrics, PowerWatts",
};
/// PowerDistributionMetrics of a PDU.
const DISTRIBUTION: Meter = Meter {
    member: "Metrics",
    energies: &[(&["EnergykWh"], KILOWATT_HOURS, "Metrics, EnergykWh")],
    power: "Metrics, PowerWatts",
};
const POWER: Path = &["PowerWatts"];
const INPUT: Path = &["InputPowerWatts"];
const CONSUMED: Path = &["PowerControl", "0", "PowerConsumedWatts"];

/// What is read at each tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) device: Link,
    pub(super) energy: Option<Number>,
    pub(super) power: Option<Number>,
    pub(super) leaks: Option<leaks::Place>,
    pub(super) parts: Vec<Part>,
}

impl Plan {
    /// Whether the device itself counts energy, or tells power that can be integrated.
    pub(super) const fn is_meter(&self) -> bool {
        self.energy.is_some() || self.power.is_some()
    }
}

/// What was read, in the catalogue's units; a failure costs its own number only.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) who: Memory,
    pub(super) energy: Option<Result<i64, Failure>>,
    pub(super) power: Option<Result<i64, Failure>>,
    pub(super) leaks: Option<Result<leaks::Told, Failure>>,
    /// In the order of the plan.
    pub(super) parts: Vec<Result<i64, Failure>>,
}

/// A document's text, which is a JSON object.
pub(super) async fn document(http: &mut Http, link: &Link) -> Result<String, Failure> {
    let answer = http.get(link.as_str()).await;
    let (status, body) = answer.map_err(|reason| Failure::Unreachable { reason })?;
    let link = link.as_str().to_owned();
    match status {
        200 => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let is_whole = Json::document(&text).is_some();
            if is_whole { Ok(text) } else { Err(Failure::Nonsense { link }) }
        }
        401 | 403 => Err(Failure::Denied { status }),
        404 => Err(Failure::Absent { link }),
        _ => Err(Failure::Faulty { link, status }),
    }
}

/// As [`document`]; `None` where there is none.
pub(super) async fn perhaps(
    http: &mut Http,
    link: Option<&Link>,
) -> Result<Option<String>, Failure> {
    let Some(link) = link else { return Ok(None) };
    match document(http, link).await {
        Err(Failure::Absent { .. }) => Ok(None),
        outcome => outcome.map(Some),
    }
}

pub(super) fn parsed(text: &str) -> Result<Json<'_>, Failure> {
    let nonsense = || Failure::Useless { words: "no JSON object".to_owned() };
    Json::document(text).ok_or_else(nonsense)
}

/// Finds where `config`'s device tells what.
pub(super) async fn survey(http: &mut Http, config: &RedfishConfig) -> Result<Plan, Failure> {
    let device = match (config.equipment_link(), config.chassis_link()) {
        (Some(link), _) | (None, Some(link)) => link,
        (None, None) => only_chassis(http).await?,
    };
    let text = document(http, &device).await?;
    let json = parsed(&text)?;
    let is_chassis = config.equipment.is_none();
    let meters = if is_chassis { [ENVIRONMENT].as_slice() } else { &[DISTRIBUTION, ENVIRONMENT] };
    let (mut energy, mut power) = (None, None);
    for meter in meters {
        let (found_energy, found_power) = own(http, json, meter).await?;
        energy = energy.or(found_energy);
        power = power.or(found_power);
    }
    if power.is_none() && is_chassis {
        power = supplies(http, json).await?;
    }
    if power.is_none() && is_chassis {
        power = legacy(http, json).await?;
    }
    if power.is_none() && !is_chassis {
        power = mains(http, json).await?;
    }
    let leaks = leaks::find(http, json).await?;
    let parts = equipment::parts(http, (&device, json), config).await?;
    let plan = Plan { device, energy, power, leaks, parts };
    if plan.is_meter() || plan.leaks.is_some() || !plan.parts.is_empty() {
        return Ok(plan);
    }
    let what = if is_chassis { "chassis " } else { "" };
    let words = format!("{what}{} tells neither energy nor power", plan.device.as_str());
    Err(Failure::Useless { words })
}

/// Energy and power of the device itself in one of its documents.
async fn own(
    http: &mut Http,
    device: Json<'_>,
    meter: &Meter,
) -> Result<(Option<Number>, Option<Number>), Failure> {
    let link = Link::of(device, meter.member)?;
    let (Some(link), Some(text)) = (&link, perhaps(http, link.as_ref()).await?) else {
        return Ok((None, None));
    };
    let json = parsed(&text)?;
    let tells = |path: Path| json.at(path).and_then(Json::reading).is_some();
    let number = |path, unit, source| Number { places: vec![(link.clone(), path)], unit, source };
    let mut energies = meter.energies.iter().filter(|(path, ..)| tells(path));
    let energy = energies.next().map(|(path, unit, source)| number(*path, *unit, *source));
    Ok((energy, tells(POWER).then(|| number(POWER, WATTS, meter.power))))
}

/// What all mains of a PDU carry; `None` where one of them does not tell.
async fn mains(http: &mut Http, device: Json<'_>) -> Result<Option<Number>, Failure> {
    let all = Link::of(device, "Mains")?;
    let Some(text) = perhaps(http, all.as_ref()).await? else { return Ok(None) };
    let links = members(parsed(&text)?)?;
    let mut places = Vec::new();
    for link in links.iter().take(SUPPLIES_MAX + 1) {
        let text = document(http, link).await?;
        if parsed(&text)?.at(POWER).and_then(Json::reading).is_none() {
            return Ok(None);
        }
        places.push((link.clone(), POWER));
    }
    let is_whole = !places.is_empty() && links.len() <= SUPPLIES_MAX;
    Ok(is_whole.then_some(Number { places, unit: WATTS, source: "Mains/*, PowerWatts summed" }))
}

async fn only_chassis(http: &mut Http) -> Result<Link, Failure> {
    let Some(all) = Link::new("/redfish/v1/Chassis") else {
        return Err(Failure::Useless { words: "no chassis".to_owned() });
    };
    let text = document(http, &all).await?;
    let links = members(parsed(&text)?)?;
    match links.as_slice() {
        [one] => Ok(one.clone()),
        _ => {
            let names: Vec<&str> = links.iter().map(Link::as_str).collect();
            let words = format!("name one as `chassis`, of {}: {}", links.len(), names.join(", "));
            Err(Failure::Useless { words })
        }
    }
}

pub(super) fn members(json: Json<'_>) -> Result<Vec<Link>, Failure> {
    if json.member("Members@odata.nextLink").is_some() {
        let words = "a collection goes on in another document: not supported".to_owned();
        return Err(Failure::Useless { words });
    }
    let items = json.member("Members").map(Json::items).unwrap_or_default();
    items.into_iter().filter_map(|item| Link::within(item).transpose()).collect()
}

/// What all power supplies that are there draw; `None` where one of them does not tell.
async fn supplies(http: &mut Http, chassis: Json<'_>) -> Result<Option<Number>, Failure> {
    let subsystem = Link::of(chassis, "PowerSubsystem")?;
    let Some(text) = perhaps(http, subsystem.as_ref()).await? else { return Ok(None) };
    let all = Link::of(parsed(&text)?, "PowerSupplies")?;
    let Some(text) = perhaps(http, all.as_ref()).await? else { return Ok(None) };
    let links = members(parsed(&text)?)?;
    let mut places = Vec::new();
    for link in links.iter().take(SUPPLIES_MAX + 1) {
        let text = document(http, link).await?;
        let json = parsed(&text)?;
        let state = json.at(&["Status", "State"]).and_then(Json::text);
        if state.as_deref() == Some("Absent") {
            continue;
        }
        let metrics = Link::of(json, "Metrics")?;
        let Some(text) = perhaps(http, metrics.as_ref()).await? else { return Ok(None) };
        let tells = parsed(&text)?.at(INPUT).and_then(Json::reading).is_some();
        match metrics.filter(|_| tells) {
            Some(metrics) => places.push((metrics, INPUT)),
            None => return Ok(None),
        }
    }
    let source = "PowerSupplies/*/Metrics, InputPowerWatts summed";
    let is_whole = !places.is_empty() && links.len() <= SUPPLIES_MAX;
    Ok(is_whole.then_some(Number { places, unit: WATTS, source }))
}

async fn legacy(http: &mut Http, chassis: Json<'_>) -> Result<Option<Number>, Failure> {
    let link = Link::of(chassis, "Power")?;
    let Some(text) = perhaps(http, link.as_ref()).await? else { return Ok(None) };
    let tells = parsed(&text)?.at(CONSUMED).and_then(Json::reading).is_some();
    let number = |link| Number {
        places: vec![(link, CONSUMED)],
        unit: WATTS,
        source: "legacy Power, PowerConsumedWatts",
    };
    Ok(link.filter(|_| tells).map(number))
}

/// Each document once; who it is comes first.
pub(super) async fn read(http: &mut Http, plan: &Plan, meter: &str) -> Result<Reading, Failure> {
    let text = document(http, &plan.device).await?;
    let json = parsed(&text)?;
    let told = |name: &str| json.member(name).and_then(Json::text);
    let who = Memory {
        meter: meter.to_owned(),
        model: told("Model"),
        serial: told("SerialNumber"),
        firmware: told("FirmwareVersion"),
    };
    let mut seen = Vec::new();
    let energy = match &plan.energy {
        Some(number) => Some(value(http, number, &mut seen).await),
        None => None,
    };
    let power = match &plan.power {
        Some(number) => Some(value(http, number, &mut seen).await),
        None => None,
    };
    let leaks = match &plan.leaks {
        Some(place) => Some(leaks::read(http, place).await),
        None => None,
    };
    let mut parts = Vec::new();
    for (_, number) in plan.parts.iter().flat_map(|part| &part.values) {
        parts.push(value(http, number, &mut seen).await);
    }
    Ok(Reading { who, energy, power, leaks, parts })
}

/// Documents of one round.
type Seen = Vec<(Link, Result<String, Failure>)>;

async fn value(http: &mut Http, number: &Number, seen: &mut Seen) -> Result<i64, Failure> {
    let mut sum = 0_i64;
    for (link, path) in &number.places {
        if !seen.iter().any(|(one, _)| one == link) {
            let text = document(http, link).await;
            seen.push((link.clone(), text));
        }
        let mut found = seen.iter().filter(|(one, _)| one == link).map(|(_, text)| text.clone());
        let text = found.next().unwrap_or(Ok(String::new()))?;
        let reading = Json::document(&text).and_then(|json| json.at(path)?.reading());
        let scaled = reading.and_then(|reading| reading.scaled(number.unit));
        sum = scaled.and_then(|scaled| sum.checked_add(scaled)).ok_or_else(|| {
            let words = format!("{}: no number at {}", link.as_str(), path.join("/"));
            Failure::Useless { words }
        })?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_on_the_server() {
        for good in ["/redfish/v1/", "/redfish/v1/Chassis/1U", "/redfish/v1/C/Power#/P/0"] {
            assert!(Link::new(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "https://other.example/redfish/v1/Chassis/1U",
            "//other.example/redfish/v1",
            "/redfish/../secret",
            "/etc/passwd",
            "/redfish/v1/a b",
            "/redfish/v1/\r\nHost: other",
            "/redfish/v1/Chassis?$expand=.",
        ] {
            assert_eq!(Link::new(bad), None, "{bad}");
        }
        assert_eq!(Link::new(&format!("/redfish/{}", "a".repeat(600))), None);
        let json = Json::document(r#"{"A": {"@odata.id": "http://b/redfish/v1"}}"#).expect("one");
        assert!(matches!(Link::of(json, "A"), Err(Failure::Leaves { .. })));
        assert_eq!(Link::of(json, "B"), Ok(None));
    }
}
