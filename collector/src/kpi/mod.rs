//! The figures beside PUE: WUE, CUE, REF, ERF, the generators' share, demand, cost. Each is made of
//! the intervals that count for PUE and of what the operator declares in the hub's tables.
//!
//! # Invariants
//! - No factor and no price is built in. What the tables do not say of a day is missing, and the
//!   figure that needs it is withheld with the reason.
//! - Every figure carries its terms as integers; a ratio is only in the text that may be printed.
//! - The terms of a numerator sum to it, to the gram and the paisa.
//!
//! Pure: books, tables and a period in, figures out. `docs/kpis.md` has every formula, and an
//! example that a test recomputes.

mod bill;
mod emissions;
mod figure;
mod figures;
mod shares;
mod tables;
#[cfg(test)]
mod tests;
mod text;

pub use figure::{Figure, Kpi, Quantity, Term, Unit, Withheld};
pub use figures::{of, withheld};
pub use shares::{Party, Shares, shares};
pub use tables::Tables;
