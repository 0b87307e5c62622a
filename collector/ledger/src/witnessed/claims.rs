//! Which runs have a device at a moment, whole or in shares, and who of them counts.
//!
//! # Invariants
//! - Of runs that have the whole device the one that began last counts; so it is for each share.
//! - Whether a device is whole, in shares or in shares of instances at a moment, the run that began
//!   last says; runs that have it otherwise do not count then.
//! - A run whose end nobody told ends where the next one begins on the same share; a whole one
//!   also where a share does, and a share where a whole one does.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::hold::Share;
use bijli_wire::{NodeId, ProjectId, SubjectId};
use serde::{Deserialize, Serialize};

use crate::allocation::Line;
use crate::share::{Among, Slot};

/// The runs that have one device of a node.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lines {
    whole: Line,
    /// Of each share; `None`: it is not known whose it is.
    shares: BTreeMap<Share, Line<Option<ProjectId>>>,
}

/// The runs that have devices, by node and device.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Claims(BTreeMap<(NodeId, SubjectId), Lines>);

/// A run that has a device.
struct Claim<'a> {
    from: i64,
    id: &'a str,
    /// As told; `i64::MAX`: not told.
    to: i64,
    /// Where it ends after all.
    end: i64,
    what: What<'a>,
}

/// What of the device it has.
#[derive(Clone, Copy)]
enum What<'a> {
    Whole(&'a ProjectId),
    Share(&'a Share, Option<&'a ProjectId>),
}

/// A run's time and name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) id: &'a str,
}

impl Claims {
    pub(super) fn insert_whole(
        &mut self,
        node: &NodeId,
        device: &SubjectId,
        span: Span<'_>,
        project: &ProjectId,
    ) {
        let lines = self.0.entry((node.clone(), device.clone())).or_default();
        lines.whole.insert(span.from, span.to, span.id, project);
    }

    pub(super) fn insert_share(
        &mut self,
        node: &NodeId,
        share: &Share,
        span: Span<'_>,
        project: &Option<ProjectId>,
    ) {
        let lines = self.0.entry((node.clone(), share.device.clone())).or_default();
        let line = lines.shares.entry(share.clone()).or_default();
        line.insert(span.from, span.to, span.id, project);
    }

    /// Takes a run off a device, whole or share.
    pub(super) fn remove(
        &mut self,
        node: &NodeId,
        device: &SubjectId,
        share: Option<&Share>,
        span: Span<'_>,
    ) {
        let key = (node.clone(), device.clone());
        let Some(lines) = self.0.get_mut(&key) else { return };
        match share {
            None => lines.whole.remove(span.from, span.id),
            Some(share) => {
                if let Some(line) = lines.shares.get_mut(share) {
                    line.remove(span.from, span.id);
                }
                lines.shares.retain(|_, line| !line.is_empty());
            }
        }
        if lines.whole.is_empty() && lines.shares.is_empty() {
            self.0.remove(&key);
        }
    }

    /// When a run lets go of a device, or of a share of it.
    pub(super) fn end_of(
        &self,
        node: &NodeId,
        device: &SubjectId,
        share: Option<&Share>,
        span: Span<'_>,
    ) -> i64 {
        let lines = self.0.get(&(node.clone(), device.clone()));
        lines.map_or(span.to, |lines| lines.end_of(share, span))
    }

    /// Who had a device in `[start, end)`: by time, without overlaps, cut to it.
    pub(super) fn of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<Slot<'_>> {
        let mut claims = self.reaching(device, node, start, end);
        claims.retain(|claim| claim.end > start);
        let cut = |claim: &Claim<'_>| [claim.from.max(start), claim.end.min(end)];
        let edges: BTreeSet<i64> = claims.iter().flat_map(cut).collect();
        let mut slots: Vec<Slot<'_>> = Vec::new();
        for (from, to) in edges.iter().zip(edges.iter().skip(1)) {
            let has_it = |claim: &&Claim<'_>| claim.from <= *from && *to <= claim.end;
            let Some(among) = among(claims.iter().filter(has_it)) else { continue };
            match slots.last_mut() {
                Some(last) if last.to == *from && last.among == among => last.to = *to,
                Some(_) | None => slots.push(Slot { from: *from, to: *to, among }),
            }
        }
        slots
    }

    /// Where runs that have a device begin or end strictly inside `[start, end)`.
    pub(super) fn edges_of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<i64> {
        let claims = self.reaching(device, node, start, end).into_iter();
        let edges = claims.flat_map(|claim| [claim.from, claim.to]);
        edges.filter(|at| start < *at && *at < end).collect()
    }

    /// In the order in which they began.
    fn reaching(&self, device: &SubjectId, node: &NodeId, start: i64, end: i64) -> Vec<Claim<'_>> {
        let Some(lines) = self.0.get(&(node.clone(), device.clone())) else { return Vec::new() };
        let whole = lines.whole.reaching(start, end).into_iter();
        let whole = whole
            .map(|(from, id, to, project)| (Span { from, to, id }, None, What::Whole(project)));
        let shares = lines.shares.iter().flat_map(|(share, line)| {
            line.reaching(start, end).into_iter().map(move |(from, id, to, project)| {
                (Span { from, to, id }, Some(share), What::Share(share, project.as_ref()))
            })
        });
        let all = whole.chain(shares).map(|(span, share, what)| {
            let Span { from, to, id } = span;
            Claim { from, id, to, end: lines.end_of(share, span), what }
        });
        let mut claims: Vec<Claim<'_>> = all.collect();
        claims.sort_by(|one, other| (one.from, one.id).cmp(&(other.from, other.id)));
        claims
    }
}

impl Lines {
    fn end_of(&self, share: Option<&Share>, Span { from, to, id }: Span<'_>) -> i64 {
        if to != i64::MAX {
            return to;
        }
        let whole = self.whole.next_after(from, id);
        let is_rival = |other: &&Share| share.is_none_or(|share| share == *other);
        let rivals = self.shares.iter().filter(|(other, _)| is_rival(other));
        rivals.map(|(_, line)| line.next_after(from, id)).fold(whole, i64::min)
    }
}

/// Who counts of those that have a device at one moment, in the order in which they began.
fn among<'a: 'b, 'b>(claims: impl Iterator<Item = &'b Claim<'a>>) -> Option<Among<'a>> {
    let claims: Vec<What<'a>> = claims.map(|claim| claim.what).collect();
    let of_instance = match *claims.last()? {
        What::Whole(project) => return Some(Among::whole(project)),
        What::Share(share, _) => share.instance.is_some(),
    };
    let mut shares: BTreeMap<&SubjectId, (&Share, Option<&ProjectId>)> = BTreeMap::new();
    for what in claims {
        match what {
            What::Share(share, project) if share.instance.is_some() == of_instance => {
                // The one that began last has it.
                shares.insert(&share.id, (share, project));
            }
            What::Share(..) | What::Whole(_) => {}
        }
    }
    Some(Among::shares(shares.into_values()))
}
