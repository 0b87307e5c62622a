//! The bytes of leaves about months.
//!
//! # Layout
//! ```text
//! 9 period       month name · from 8 · to 8 · leaves 8 · figures · by words · despite words
//!                (empty: none) · count 2 · doubts · more 4
//! 10 restatement month name · from 8 · to 8 · closed 8 · old_leaf 8 · by words (empty: the books)
//!                · cause words · first 8 · last 8 (0 and 0: no entry) · old figures · new figures
//!                · moved 16 · ppm 4
//! figures        expected 4 · posted 4 · incomplete 4 · disputed 4 · supplied 16 · used 16 ·
//!                counted 4 · total 16 · it 16 · estimated 16
//! doubt          from 8 · to 8 · kind 1 · words
//! ```

use bijli_wire::UtcMillis;

use super::{LeafError, Reader, Writer};
use crate::period::{
    Doubt, DoubtKind, Doubts, Figures, Month, PeriodClosed, PeriodError, Restatement, check_text,
};

impl Writer {
    pub(super) fn period(&mut self, period: &PeriodClosed) {
        let PeriodClosed { month, from, to, leaves, figures, by, despite, doubts } = period;
        self.month(*month, *from, *to);
        self.u64(*leaves);
        self.figures(figures);
        self.words(by);
        self.words(despite.as_deref().unwrap_or_default());
        self.u16(doubts.list.len());
        for Doubt { from, to, kind, words } in &doubts.list {
            self.time(*from);
            self.time(*to);
            self.u8(kind.number());
            self.words(words);
        }
        self.u32(doubts.more);
    }

    pub(super) fn restatement(&mut self, restatement: &Restatement) {
        let Restatement { month, from, to, closed, old_leaf, by, cause, .. } = restatement;
        let Restatement { entries, old, new, moved, .. } = restatement;
        self.month(*month, *from, *to);
        self.u64(*closed);
        self.u64(*old_leaf);
        self.words(by.as_deref().unwrap_or_default());
        self.words(cause);
        let (first, last) = entries.unwrap_or((0, 0));
        self.u64(first);
        self.u64(last);
        self.figures(old);
        self.figures(new);
        self.u128(*moved);
        self.u32(restatement.materiality_ppm());
    }

    fn month(&mut self, month: Month, from: UtcMillis, to: UtcMillis) {
        self.name(&month.to_string());
        self.time(from);
        self.time(to);
    }

    fn figures(&mut self, figures: &Figures) {
        let Figures { expected, posted, incomplete, disputed, supplied, used, .. } = figures;
        let Figures { counted, total, it, estimated, .. } = figures;
        [expected, posted, incomplete, disputed].into_iter().for_each(|count| self.u32(*count));
        [supplied, used].into_iter().for_each(|sum| self.u128(*sum));
        self.u32(*counted);
        [total, it, estimated].into_iter().for_each(|sum| self.u128(*sum));
    }
}

impl Reader<'_> {
    pub(super) fn period(&mut self) -> Result<PeriodClosed, LeafError> {
        let (month, from, to) = self.month()?;
        let leaves = self.u64("number of leaves")?;
        let figures = self.figures()?;
        let by = self.stated("by")?.ok_or(LeafError::Field { field: "by" })?;
        let despite = self.stated("despite")?;
        let count = self.u16("number of doubts")?;
        let list = (0..count).map(|_| self.doubt()).collect::<Result<_, _>>()?;
        let doubts = Doubts { list, more: self.u32("further doubts")? };
        Ok(PeriodClosed { month, from, to, leaves, figures, by, despite, doubts })
    }

    pub(super) fn restatement(&mut self) -> Result<Restatement, LeafError> {
        let (month, from, to) = self.month()?;
        let (closed, old_leaf) = (self.u64("closing leaf")?, self.u64("old leaf")?);
        let by = self.stated("by")?;
        let cause = self.stated("cause")?.ok_or(LeafError::Field { field: "cause" })?;
        let entries = (self.u64("first entry")?, self.u64("last entry")?);
        let entries = (entries != (0, 0)).then_some(entries);
        let (old, new, moved) = (self.figures()?, self.figures()?, self.u128("moved")?);
        let restatement =
            Restatement { month, from, to, closed, old_leaf, by, cause, entries, old, new, moved };
        // It follows from the others: another one is no leaf of this form.
        let _ppm = self.u32("materiality")?;
        Ok(restatement)
    }

    fn month(&mut self) -> Result<(Month, UtcMillis, UtcMillis), LeafError> {
        let month = self.parsed("month", str::parse::<Month>)?;
        let (from, to) = (self.time("from")?, self.time("to")?);
        if from >= to {
            return Err(LeafError::Field { field: "to" });
        }
        Ok((month, from, to))
    }

    /// What somebody said; `None`: nothing.
    fn stated(&mut self, field: &'static str) -> Result<Option<String>, LeafError> {
        let words = self.words(field)?;
        if words.is_empty() {
            return Ok(None);
        }
        let checked: Result<(), PeriodError> = check_text(field, &words);
        checked.map(|()| Some(words)).map_err(|_| LeafError::Field { field })
    }

    fn figures(&mut self) -> Result<Figures, LeafError> {
        const FIELD: &str = "figures";
        let mut count = || self.u32(FIELD);
        let (expected, posted, incomplete, disputed) = (count()?, count()?, count()?, count()?);
        let (supplied, used) = (self.u128(FIELD)?, self.u128(FIELD)?);
        let counted = self.u32(FIELD)?;
        let (total, it, estimated) = (self.u128(FIELD)?, self.u128(FIELD)?, self.u128(FIELD)?);
        Ok(Figures {
            expected,
            posted,
            incomplete,
            disputed,
            supplied,
            used,
            counted,
            total,
            it,
            estimated,
        })
    }

    fn doubt(&mut self) -> Result<Doubt, LeafError> {
        let (from, to) = (self.time("doubt")?, self.time("doubt")?);
        let kind = DoubtKind::from_number(self.u8("doubt")?);
        let kind = kind.ok_or(LeafError::Field { field: "doubt" })?;
        Ok(Doubt { from, to, kind, words: self.words("doubt")? })
    }
}
