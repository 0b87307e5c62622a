//! The chips under hwmon's folder, and the one sensor that a configuration means.

use std::io;
use std::path::{Path, PathBuf};

use bijli_wire::{Millis, Quantity};

use super::{HwmonConfig, names};
use crate::probe::kernel;

/// What a file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// µW over a while: `powerN_average`.
    PowerAverage,
    /// µW at a moment: `powerN_input`.
    PowerInput,
    /// µJ since the chip began to count: `energyN_input`.
    Energy,
}

impl Kind {
    /// By the file's name; `None`: it is no such file.
    pub(super) fn of(file: &str) -> Option<Self> {
        let (name, what) = file.split_once('_')?;
        let number = |kind: &str| {
            let digits = name.strip_prefix(kind)?;
            (!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(())
        };
        match what {
            "average" => number("power").map(|()| Self::PowerAverage),
            "input" if number("energy").is_some() => Some(Self::Energy),
            "input" => number("power").map(|()| Self::PowerInput),
            _ => None,
        }
    }

    /// Beside the register.
    pub(super) const fn quantity(self) -> Option<Quantity> {
        match self {
            Self::PowerAverage => Some(Quantity::PowerAverage),
            Self::PowerInput => Some(Quantity::PowerInstant),
            Self::Energy => None,
        }
    }
}

/// One file of one chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sensor {
    pub(super) kind: Kind,
    pub(super) file: PathBuf,
    pub(super) label: Option<String>,
    chip: String,
    device: String,
    name: String,
    /// Over which an average goes.
    interval: Option<Millis>,
}

impl Sensor {
    /// What makes its count one and the same.
    pub(super) fn identity(&self) -> String {
        format!("{} {} {}", self.chip, self.device, self.name)
    }

    /// Whether the averages that are read touch each other.
    pub(super) fn leaves_no_time_out(&self, every: Millis) -> bool {
        self.kind == Kind::PowerAverage && self.interval.is_some_and(|interval| interval >= every)
    }

    /// Where it is and how it is read, for people.
    pub(super) fn evidence(&self) -> String {
        let Self { chip, device, name, .. } = self;
        let label = self.label.as_ref().map(|label| format!(", label {label:?}"));
        let over = self.interval.map(|over| format!(", averaged over {} ms", over.get()));
        let (label, over) = (label.unwrap_or_default(), over.unwrap_or_default());
        format!("{name} of chip {chip} on {device}{label}{over}")
    }
}

/// Why a file cannot be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
pub(super) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "only root may read it: give the agent's group read access with a udev or tmpfiles rule"
                .to_owned()
        }
        io::ErrorKind::NotFound => "it is gone".to_owned(),
        _ => error.to_string(),
    }
}

/// Every sensor of power or energy, of every chip.
fn all(root: &Path) -> Vec<Sensor> {
    let of_chip = |folder: String| {
        let folder = root.join(folder);
        let chip = kernel::text(&folder.join("name")).unwrap_or_default();
        let device = std::fs::canonicalize(folder.join("device")).ok();
        let device = device.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        let device = device.unwrap_or("no device").to_owned();
        names(&folder).into_iter().filter_map(move |name| {
            let kind = Kind::of(&name)?;
            let number = name.split('_').next()?;
            let of = |what: &str| kernel::text(&folder.join(format!("{number}_{what}"))).ok();
            let interval = of("average_interval").and_then(|text| text.parse().ok());
            Some(Sensor {
                kind,
                file: folder.join(&name),
                label: of("label"),
                chip: chip.clone(),
                device: device.clone(),
                interval: interval.filter(|_| kind == Kind::PowerAverage).map(Millis::new),
                name,
            })
        })
    };
    names(root).into_iter().flat_map(of_chip).collect()
}

/// The one that is meant.
pub(super) fn find(config: &HwmonConfig) -> Result<Sensor, String> {
    let all = all(&config.root);
    let is_chip = |sensor: &&Sensor| {
        sensor.chip == config.chip
            && config.device.as_ref().is_none_or(|device| *device == sensor.device)
    };
    let is_meant = |sensor: &&Sensor| is_chip(sensor) && sensor.name == config.sensor;
    let meant: Vec<&Sensor> = all.iter().filter(is_meant).collect();
    let listed = |sensors: &[&Sensor]| {
        sensors.iter().map(|sensor| sensor.evidence()).collect::<Vec<String>>().join("; ")
    };
    match meant.as_slice() {
        [] if all.is_empty() => {
            let root = config.root.display();
            Err(format!("no sensor of power or energy is under {root}: load the chip's driver"))
        }
        [] => Err(format!("no such sensor. There is: {}", listed(&all.iter().collect::<Vec<_>>()))),
        [one] => match (&config.label, &one.label) {
            (Some(wanted), found) if found.as_ref() != Some(wanted) => {
                let found = found.as_deref().unwrap_or("none");
                Err(format!("its label is {found:?} and not {wanted:?}: another sensor"))
            }
            (Some(_) | None, _) => Ok((*one).clone()),
        },
        several => Err(format!("several chips have it; say which `device`: {}", listed(several))),
    }
}
