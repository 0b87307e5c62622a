//! What a report checks of itself, and finds. Nothing is left out because it fails.

use super::figures::{AllKept, Trial, kept_sums, wide};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What must hold.
    pub rule: &'static str,
    pub is_passed: bool,
    pub found: String,
}

pub(super) fn of(kept: &AllKept<'_>, trial: &Trial, explained: Option<(u64, u64)>) -> Vec<Check> {
    let mut checks = vec![balance(trial), passage(trial)];
    checks.extend(whole(kept));
    checks.push(below_one(kept));
    checks.extend(explained.map(diagram));
    checks
}

fn balance(trial: &Trial) -> Check {
    Check {
        name: "trial_balance",
        rule: "debits and credits of all accounts are equal to the millijoule",
        is_passed: trial.debits == trial.credits,
        found: format!("{} mJ and {} mJ", trial.debits, trial.credits),
    }
}

fn passage(trial: &Trial) -> Check {
    let found = match trial.unbalanced.as_slice() {
        [] => format!("zero in each; {} accounts were looked at", trial.accounts),
        [first, rest @ ..] => format!("{first} and {} more are not zero", rest.len()),
    };
    Check {
        name: "passage",
        rule: "what came into a board, point, node or device left it",
        is_passed: trial.unbalanced.is_empty(),
        found,
    }
}

/// Sums of entries against what the summaries of the same intervals say.
fn whole(kept: &AllKept<'_>) -> [Check; 2] {
    let sums = kept_sums(kept);
    let said = kept.values().map(|one| &one.interval.standing);
    let said = said.fold((0_u128, 0_u128), |(supplied, used), one| {
        (supplied.saturating_add(one.supplied), used.saturating_add(one.used))
    });
    let (supplied, used) = (sums.supplied(), sums.used());
    let supply = Check {
        name: "supplied_is_used",
        rule: "what all sources gave is what all uses received",
        is_passed: supplied == used,
        found: format!("{supplied} mJ and {used} mJ"),
    };
    let summaries = Check {
        name: "entries_are_summaries",
        rule: "the sums of the entries are those of the intervals' own summaries",
        is_passed: said == (supplied, used),
        found: format!("{supplied} mJ and {} mJ in {} intervals", said.0, kept.len()),
    };
    [supply, summaries]
}

/// More at IT than came in: batteries at work, or a meter that is wrong.
fn below_one(kept: &AllKept<'_>) -> Check {
    let terms = kept.values().filter_map(|one| one.interval.terms());
    let below = terms.filter(|(total, it, drawn)| total.saturating_add(*drawn) < *it);
    let count = wide(below.count());
    Check {
        name: "power_tree",
        rule: "with what batteries gave, at least as much came in as IT used, in each interval",
        is_passed: count == 0,
        found: format!("{count} intervals where it did not"),
    }
}

fn diagram((explained, of): (u64, u64)) -> Check {
    Check {
        name: "diagram",
        rule: "the declared diagram gives the E_DC and E_IT that the ledger keeps",
        is_passed: explained == of,
        found: format!("to the millijoule in {explained} of {of} intervals with a PUE"),
    }
}
