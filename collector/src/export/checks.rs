//! The lines of cross-checks. A line for each check that passes would be one for each phase of each
//! meter: those are counted, and only what fails, or is a share to be drawn, is named.

use super::catalogue as c;
use super::scene::Scene;
use super::text::{Text, Value};
use crate::crosscheck::{Kind, Unit, Verdict};

const VERDICTS: [Verdict; 3] = [Verdict::Fail, Verdict::CannotSay, Verdict::Pass];

pub(super) fn write(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        for kind in Kind::ALL {
            for verdict in VERDICTS {
                let of = scene.checks.iter().filter(|one| one.kind == kind);
                let count = of.filter(|one| one.verdict == verdict).count();
                let labels = [scene.hub.as_str(), kind.word(), verdict.word()];
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                text.line(&c::CHECKS, &labels, Value::Count(count));
            }
        }
    }
    for scene in scenes {
        for one in scene.checks.iter().filter(|one| one.verdict == Verdict::Fail) {
            let labels = [scene.hub.as_str(), one.kind.word(), one.subject.as_str()];
            text.line(&c::CHECK_FAILED, &labels, Value::Count(1));
        }
    }
    for scene in scenes {
        for one in scene.checks.iter().filter(|one| is_drawn(one.kind)) {
            let share = one.measured.filter(|measured| measured.unit == Unit::Share);
            let share = share.map(|measured| Value::Micro(i128::from(measured.value)));
            let labels = [scene.hub.as_str(), one.kind.word(), one.subject.as_str()];
            text.line_if(&c::CHECK_VALUE, &labels, share);
        }
    }
}

const fn is_drawn(kind: Kind) -> bool {
    matches!(kind, Kind::Loss | Kind::Heat | Kind::HeatShare | Kind::Bill)
}
