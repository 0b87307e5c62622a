//! The books in bytes: what a snapshot keeps, and a bookkeeper that goes on from it.
//!
//! # Invariants
//! - The books' part is a function of the journal: equal journals give equal bytes, and their hash
//!   is in a leaf. The views' part is for pages only, and in no leaf.
//! - A bookkeeper that was restored books as the one that was kept: the same leaves, to the byte.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bijli_ledger::{Books, LeafMaker, Rules};
use bijli_seglog::RecordSeq;
use bijli_wire::{HubId, NodeId, UtcMillis};
use serde::{Deserialize, Serialize};

use super::{Bookkeeper, Declaration};
use crate::as_of::Moments;
use crate::diagram::Plan;
use crate::frame::{Frame, FrameDigest};
use crate::intake::Intake;
use crate::kpi::Tables;
use crate::leaves::Trail;
use crate::live::Live;
use crate::projects::registry::{Kept, Registry};
use crate::snapshot::{LoadError, Loaded, Packer, Taken};
use crate::state::{Hub, State};

/// The bookkeeper's own part, before the books of each hub.
#[derive(Serialize)]
struct Keeper<'a> {
    rules: Rules,
    second: i64,
    unusable: u64,
    maker: &'a LeafMaker,
    declared: &'a BTreeMap<(HubId, NodeId), Declaration>,
    hubs: Vec<&'a HubId>,
    moments: Moments,
    registry: Kept,
}

#[derive(Deserialize)]
struct LoadedKeeper {
    rules: Rules,
    second: i64,
    unusable: u64,
    maker: LeafMaker,
    declared: BTreeMap<(HubId, NodeId), Declaration>,
    hubs: Vec<HubId>,
    moments: Moments,
    registry: Kept,
}

/// What pages show of a hub beside its books.
#[derive(Serialize, Deserialize)]
struct Shown {
    booked_until: Option<UtcMillis>,
    /// The diagram in words, as in the journal.
    plan: String,
    /// The tables of the figures beside PUE, as in the journal.
    tables: String,
    live: Live,
}

impl Bookkeeper {
    /// Everything as it stands.
    pub(super) fn taken(&self, received: UtcMillis, intake: &[u8]) -> Taken {
        let mut packer = Packer::new();
        self.write_books(intake, &mut packer).expect("memory takes any bytes");
        let (books, bytes, sha256) = packer.finish();
        let mut packer = Packer::new();
        self.write_views(&mut packer).expect("memory takes any bytes");
        let (views, _, _) = packer.finish();
        let record = RecordSeq::new(self.trail.last());
        let digest = FrameDigest::of(&Frame::Snapshot { received }.encode());
        Taken { record, digest, next_leaf: self.maker.next(), bytes, sha256, books, views }
    }

    fn write_books(&self, intake: &[u8], to: &mut Packer) -> Result<(), postcard::Error> {
        let length = u64::try_from(intake.len()).expect("a length fits");
        let head = to.write_all(&length.to_le_bytes()).and_then(|()| to.write_all(intake));
        head.map_err(|_| postcard::Error::SerializeBufferFull)?;
        let keeper = Keeper {
            rules: self.rules,
            second: self.second,
            unusable: self.unusable,
            maker: &self.maker,
            declared: &self.declared,
            hubs: self.hubs.keys().collect(),
            moments: self.state.moments().clone(),
            registry: self.state.registry().kept(),
        };
        postcard::to_io(&keeper, &mut *to)?;
        for hub in self.hubs.values() {
            postcard::to_io(&*hub.books(), &mut *to)?;
        }
        Ok(())
    }

    fn write_views(&self, to: &mut Packer) -> Result<(), postcard::Error> {
        for hub in self.hubs.values() {
            let view = hub.view().clone();
            let (booked_until, plan) = (view.booked_until, view.plan.to_toml());
            let tables = view.tables.text.clone();
            let shown = Shown { booked_until, plan, tables, live: hub.live().clone() };
            postcard::to_io(&shown, &mut *to)?;
        }
        Ok(())
    }

    /// The intake and the bookkeeper of a snapshot; it fills the state with the books.
    ///
    /// # Errors
    /// When the bytes are not of this version; the state is then as it was.
    pub fn restore(state: Arc<State>, loaded: &Loaded) -> Result<(Intake, Self), LoadError> {
        let (intake, mut rest) = loaded.sections()?;
        let intake = Intake::from_bytes(intake).map_err(LoadError::Content)?;
        let keeper: LoadedKeeper = next(&mut rest)?;
        if !keeper.rules.are_valid() {
            return Err(LoadError::Rules);
        }
        let mut views = &loaded.views[..];
        let mut found = Vec::new();
        for id in keeper.hubs {
            let books: Books = next(&mut rest)?;
            let shown: Shown = next(&mut views)?;
            found.push((id, books, shown));
        }
        // All of it was read: nothing is filled in part.
        let mut hubs = BTreeMap::new();
        for (id, books, shown) in found {
            let hub = match state.hub(&id) {
                Some(hub) => hub,
                None => state.add_hub(Hub::journalled(id.clone(), keeper.rules)),
            };
            fill(&hub, books, shown);
            hubs.insert(id, hub);
        }
        state.set_leaves_made(keeper.maker.next());
        *state.moments_mut() = keeper.moments;
        *state.registry_mut() = Registry::restored(keeper.registry);
        let restored = Self {
            rules: keeper.rules,
            hubs,
            declared: keeper.declared,
            second: keeper.second,
            unusable: keeper.unusable,
            trail: Trail::after(loaded.record),
            maker: keeper.maker,
            ..Self::new(state)
        };
        Ok((intake, restored))
    }
}

fn fill(hub: &Hub, books: Books, shown: Shown) {
    *hub.books_mut() = books;
    *hub.live_mut() = shown.live;
    let mut view = hub.view_mut();
    view.booked_until = shown.booked_until;
    // It was read once; what cannot be read was refused when it came.
    view.plan = Plan::from_toml(&shown.plan).unwrap_or_default();
    view.tables = Arc::new(Tables::read(&shown.tables).unwrap_or_default());
}

fn next<T: for<'de> Deserialize<'de>>(rest: &mut &[u8]) -> Result<T, LoadError> {
    let (found, after) = postcard::take_from_bytes(rest).map_err(LoadError::Content)?;
    *rest = after;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use bijli_wire::Millis;

    use super::*;
    use crate::clock::Clock;
    use crate::health::Health;

    /// Found by `make fuzz`: a start stopped at rules that no books can be kept by.
    #[test]
    fn rules_that_no_books_can_be_kept_by_are_refused() {
        let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
        let rules = Rules { interval: Millis::new(0), ..Rules::default() };
        let (maker, declared, hub) = (LeafMaker::default(), BTreeMap::new(), HubId::new("isb"));
        let hubs = hub.iter().collect();
        let (second, unusable) = (0, 0);
        let (maker, declared) = (&maker, &declared);
        let (moments, registry) = (Moments::default(), Kept::default());
        let keeper = Keeper { rules, second, unusable, maker, declared, hubs, moments, registry };
        let intake = Intake::default().to_bytes();
        let length = u64::try_from(intake.len()).expect("small").to_le_bytes();
        let keeper = postcard::to_stdvec(&keeper).expect("written");
        let books = [&length[..], &intake, &keeper].concat();
        let (record, sha256) = (RecordSeq::FIRST, [0; 32]);
        let loaded = Loaded { record, next_leaf: 0, sha256, books, views: Vec::new() };
        let refused = Bookkeeper::restore(state, &loaded).expect_err("no such interval");
        assert!(matches!(refused, LoadError::Rules), "{refused}");
    }
}
