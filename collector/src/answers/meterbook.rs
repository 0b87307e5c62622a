//! `meterbook`: what a person read off a meter, written down and listed.

use std::path::PathBuf;

use bijli_wire::Millis;
use bijli_wire::units::human_volume;
use clap::{Args, Subcommand};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::layout::{Amount, Table, field};
use super::{AnswerError, Hubs, Said, Told, URL, query, when};
use crate::ask::{ask, put};
use crate::calendar;
use crate::clock::Clock;
use crate::disk;
use crate::meterbook::{RestartText, TypedText, hex};

#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Writes a reading down. The same --id again corrects it; the old one stays in the journal.
    Add(Box<Add>),
    /// Lists the readings that the books hold, what they were used for, and how far they are from
    /// an agent's register.
    List(List),
}

#[derive(Debug, Args)]
pub struct Add {
    /// May be left out where there is only one hub.
    #[arg(long)]
    hub: Option<String>,
    /// As the diagram names it.
    #[arg(long)]
    meter: String,
    /// What the display shows, with every digit and its unit: "123456.70 kWh".
    #[arg(long)]
    value: String,
    /// When it was read: a time with its offset (2026-11-01T09:00:00+05:00), or now.
    #[arg(long, value_name = "TIME")]
    at: String,
    /// Who stands for it.
    #[arg(long)]
    who: String,
    /// Why it was read, or a remark.
    #[arg(long)]
    why: String,
    /// What the display is multiplied with, for transformers before the meter.
    #[arg(long, default_value_t = 1)]
    factor: u32,
    /// The display passed its last number since the reading before: its digits before the point.
    #[arg(long, value_name = "DIGITS")]
    rollover_digits: Option<u32>,
    /// The meter was swapped or reset at that moment: what the new one shows first; --value is then
    /// the last count of the old one.
    #[arg(long, value_name = "VALUE")]
    restart: Option<String>,
    /// The factor of the new meter [default: --factor].
    #[arg(long, requires = "restart")]
    restart_factor: Option<u32>,
    /// A photograph of the display; its SHA-256 is kept, not the picture.
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// [default: the meter's name and the time of the reading]
    #[arg(long)]
    id: Option<String>,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct List {
    /// Only of this hub [default: of all].
    #[arg(long)]
    hub: Option<String>,
    /// Only of this meter.
    #[arg(long)]
    meter: Option<String>,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `PUT /v1/meterbook`
#[derive(Debug, Deserialize)]
struct Put {
    verdict: String,
    reading: Reading,
}

/// `GET /v1/meterbook`
#[derive(Debug, Deserialize)]
struct Readings {
    readings: Vec<Reading>,
}

#[derive(Debug, Deserialize)]
struct Reading {
    id: String,
    hub: String,
    meter: String,
    at: String,
    value: String,
    factor: Option<u32>,
    restart: Option<RestartText>,
    who: String,
    why: String,
    photo_sha256: Option<String>,
    point: Option<String>,
    #[serde(rename = "use")]
    used: String,
    since: Option<Since>,
    compared: Option<Comparison>,
}

#[derive(Debug, Deserialize)]
struct Since {
    id: String,
    at: String,
    energy_mj: Option<Amount>,
    volume_ml: Option<Amount>,
    too_old_mj: Amount,
}

#[derive(Debug, Deserialize)]
struct Comparison {
    agent_mj: Amount,
    difference: String,
    doubt_mj: Amount,
    is_disputed: bool,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    match asked {
        Ask::Add(asked) => {
            let text = asked.text()?;
            let banner = Hubs::of(&asked.url).await?.banner;
            let (json, read) = put(&asked.url, "/v1/meterbook", text.to_json()).await?;
            Ok(Told { banner, json, read }.json_or(asked.json, Put::show))
        }
        Ask::List(asked) => {
            let parameters = [("hub", &asked.hub), ("meter", &asked.meter)];
            let given = parameters.into_iter().filter_map(|(name, of)| Some((name, of.clone()?)));
            let address = format!("/v1/meterbook{}", query(&given.collect::<Vec<_>>()));
            let banner = Hubs::of(&asked.url).await?.banner;
            let (json, read) = ask(&asked.url, &address).await?;
            Ok(Told { banner, json, read }.json_or(asked.json, Readings::show))
        }
    }
}

impl Add {
    fn text(&self) -> Result<TypedText, AnswerError> {
        let at = match self.at.as_str() {
            // Nobody reads a display to the millisecond.
            "now" => Clock.now().floor_to(Millis::new(1_000)),
            text => when::time("at", text)?,
        };
        let at = calendar::rfc3339(at);
        let factor = self.restart_factor.unwrap_or(self.factor);
        let read = |path: &PathBuf| {
            let refuse = |source| AnswerError::Photo { path: path.clone(), source };
            disk::read_bytes(path).map_err(refuse).map(|bytes| hex(&Sha256::digest(bytes)))
        };
        Ok(TypedText {
            id: self.id.clone().unwrap_or_else(|| format!("{}@{at}", self.meter)),
            hub: self.hub.clone(),
            meter: self.meter.clone(),
            at,
            value: self.value.clone(),
            factor: self.factor,
            rollover_digits: self.rollover_digits,
            restart: self.restart.clone().map(|value| RestartText { value, factor }),
            who: self.who.clone(),
            why: self.why.clone(),
            photo_sha256: self.photo.as_ref().map(read).transpose()?,
        })
    }
}

impl Put {
    fn show(&self) -> String {
        let Self { verdict, reading } = self;
        let mut text = field(verdict, &reading.id);
        text.push_str(&field("meter", &format!("{} of hub {}", reading.meter, reading.hub)));
        text.push_str(&field("shows", &reading.shown()));
        text.push_str(&field("read", &format!("{} by {}", reading.at, reading.who)));
        if let Some(hash) = &reading.photo_sha256 {
            text.push_str(&field("photograph", &format!("SHA-256 {hash}")));
        }
        if let Some(since @ Since { id, at, energy_mj, too_old_mj, .. }) = &reading.since {
            let (name, exact) = match energy_mj {
                Some(energy) => ("energy", format!(" ({} mJ)", energy.exact())),
                None => ("volume", String::new()),
            };
            let counted = since.counted();
            text.push_str(&field(name, &format!("{counted}{exact} since {at} ({id})")));
            if too_old_mj.get() > 0 {
                let lost = format!("{} of it: too old to be booked", too_old_mj.human());
                text.push_str(&field("too late", &lost));
            }
        }
        text.push_str(&field("use", reading.meaning()));
        let is_volume = reading.since.as_ref().is_some_and(|since| since.volume_ml.is_some());
        if reading.point.is_none() && !is_volume {
            let words = "no point of the diagram has this meter: it is in no balance until one has";
            text.push_str(&field("BUT", words));
        }
        if let Some(compared) = &reading.compared {
            text.push_str(&field("compared", &compared.words()));
        }
        text
    }
}

impl Readings {
    fn show(&self) -> String {
        if self.readings.is_empty() {
            return "the meter book has no such reading\n".to_owned();
        }
        let mut text = String::new();
        for of_one in self.readings.chunk_by(|a, b| (&a.hub, &a.meter) == (&b.hub, &b.meter)) {
            let gap = if text.is_empty() { "" } else { "\n" };
            let first = of_one.first();
            let name = first.map(|first| format!("{} of hub {}", first.meter, first.hub));
            text.push_str(&format!("{gap}{}", field("meter", &name.unwrap_or_default())));
            let head = ["read at", "use", "shows", "since", "off the agent's"];
            let mut table = Table::new(2, head);
            for reading in of_one {
                let since = reading.since.as_ref();
                let off = reading.compared.as_ref().map(Comparison::mark);
                table.row([
                    reading.at.clone(),
                    reading.used.clone(),
                    reading.shown(),
                    since.map(Since::counted).unwrap_or_default(),
                    off.unwrap_or_default(),
                ]);
            }
            text.push_str(&table.show());
            for reading in of_one {
                let Reading { id, who, why, .. } = reading;
                text.push_str(&field("", &format!("{id}: {who}, {why}")));
            }
        }
        text
    }
}

impl Reading {
    fn shown(&self) -> String {
        let times = |factor: u32| if factor == 1 { String::new() } else { format!(" x {factor}") };
        let mut text = format!("{}{}", self.value, times(self.factor.unwrap_or(1)));
        if let Some(RestartText { value, factor }) = &self.restart {
            text.push_str(&format!(", then {value}{}", times(*factor)));
        }
        text
    }

    fn meaning(&self) -> &'static str {
        match (self.used.as_str(), &self.since) {
            ("booked", _) => "booked: exact in sum, spread evenly over the time (class bridged)",
            ("witness", _) => {
                "witness: an agent reads this meter; its register is booked, and compared with this"
            }
            (_, None) => "kept: the first of its meter; energy needs a second one",
            (_, Some(_)) => "kept: no point of the diagram has this meter, so nothing is booked",
        }
    }
}

impl Since {
    fn counted(&self) -> String {
        match (self.energy_mj, self.volume_ml) {
            (Some(energy), _) => energy.human(),
            (None, Some(volume)) => human_volume(volume.get()),
            (None, None) => String::new(),
        }
    }
}

impl Comparison {
    fn mark(&self) -> String {
        let mark = if self.is_disputed { "! " } else { "" };
        format!("{mark}{}", self.difference)
    }

    fn words(&self) -> String {
        let Self { agent_mj, difference, doubt_mj, is_disputed } = self;
        let verdict = if *is_disputed { "they contradict each other" } else { "they agree" };
        let (agent, doubt) = (agent_mj.human(), doubt_mj.human());
        format!(
            "{verdict}: the agent's register counted {agent}, typed less agent is {difference}, \
             and display and interval edges explain {doubt}"
        )
    }
}
