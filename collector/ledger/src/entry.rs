//! Entries: amounts moved once, for ever, and the compact form in which the books keep them.
//!
//! # Invariants
//! - Sequences count from 1 without a hole; an entry is never changed or removed.
//! - Amounts are not zero. A correction downward is an entry in the opposite direction that says
//!   that it reverses.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use bijli_wire::{Millijoules, UtcMillis};

use crate::account::Account;
use crate::class::Class;

/// What an entry corrects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjusts {
    /// The first entry of the interval that it corrects.
    pub first: u64,
    /// It takes back: debit and credit are those of the corrected flow, exchanged.
    pub is_reversal: bool,
}

/// One amount moved from the credited account to the debited one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub seq: u64,
    /// Start of the interval.
    pub interval: UtcMillis,
    /// The receiver.
    pub debit: &'a Account,
    /// The giver.
    pub credit: &'a Account,
    pub class: Class,
    pub amount: Millijoules,
    /// `None` for the entries with which an interval was first posted.
    pub adjusts: Option<Adjusts>,
    pub rule_version: u32,
}

/// The canonical line of an entry; its bytes are what a seal covers.
impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, debit, credit, class, .. } = self;
        let (interval, amount) = (self.interval.get(), self.amount.get());
        write!(f, "entry={seq} interval={interval} debit={debit} credit={credit} ")?;
        write!(f, "class={class} amount_mj={amount} rule={}", self.rule_version)?;
        match self.adjusts {
            None => Ok(()),
            Some(Adjusts { first, is_reversal: false }) => write!(f, " adjusts={first}"),
            Some(Adjusts { first, is_reversal: true }) => write!(f, " reverses={first}"),
        }
    }
}

/// Number of an account in this chart, in order of first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AccountNo(u32);

/// Accounts by number.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Chart {
    accounts: Vec<Account>,
    numbers: BTreeMap<Account, AccountNo>,
}

impl Chart {
    pub(crate) fn number(&mut self, account: &Account) -> AccountNo {
        if let Some(number) = self.numbers.get(account) {
            return *number;
        }
        let count = u32::try_from(self.accounts.len()).expect("fewer than 2^32 accounts");
        self.accounts.push(account.clone());
        self.numbers.insert(account.clone(), AccountNo(count));
        AccountNo(count)
    }

    pub(crate) fn account(&self, number: AccountNo) -> &Account {
        let index = usize::try_from(number.0).expect("u32 fits usize");
        self.accounts.get(index).expect("numbers are given out by this chart")
    }
}

/// An entry as it is kept: 24 bytes, its sequence is its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) amount: u64,
    pub(crate) debit: AccountNo,
    pub(crate) credit: AccountNo,
    pub(crate) class: Class,
    pub(crate) is_reversal: bool,
}

const _: () = assert!(std::mem::size_of::<Line>() == 24, "a hub posts millions of these");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_line_is_as_documented() {
        let (debit, credit) = ("gpu:G0".parse().expect("known"), "node:n1".parse().expect("known"));
        let entry = Entry {
            seq: 7,
            interval: UtcMillis::new(1_782_900_000_000),
            debit: &debit,
            credit: &credit,
            class: Class::Measured,
            amount: Millijoules::new(1_500),
            adjusts: None,
            rule_version: 1,
        };
        let line = "entry=7 interval=1782900000000 debit=gpu:G0 credit=node:n1 \
                    class=measured amount_mj=1500 rule=1";
        assert_eq!(entry.to_string(), line);
        let adjusts = Some(Adjusts { first: 3, is_reversal: true });
        assert_eq!(Entry { adjusts, ..entry }.to_string(), format!("{line} reverses=3"));
    }
}
