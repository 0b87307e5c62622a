//! What the fund reports on: projects with their grants, the accounts that are theirs, and what
//! they may use.
//!
//! The ledger books energy to *accounts*: Slurm's accounts, namespaces. The registry says which
//! account is which project's, from when to when. It is applied when a question is answered, never
//! when energy is booked (docs/decisions/0030), so no entry moves when a grant is written down
//! late, and an answer as of an earlier moment uses the registry of that moment.
//!
//! # Invariants
//! - At every moment an account is one project's at most; what no project claims stands under its
//!   own name, and says that it is no project.
//! - Claims begin and end on edges of intervals, so no entry is ever cut by one.
//! - Nothing of the registry is erased: each change is a frame of the journal, with who and why.
//!
//! `text` is what people write, `registry` what was changed when, `bill` who used what, `jobs` and
//! `budget` two things made of bills; `spent` keeps what budgets are measured by.

pub mod bill;
pub mod budget;
pub mod jobs;
pub mod registry;
pub mod spent;
pub mod text;

pub use registry::{Project, ProjectError, Projects, Registered, Registry};
pub use text::{ChangeText, ProjectText};
