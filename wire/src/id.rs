//! Names and keys. A name that was accepted is harmless in a label, a path, a page and a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::ID_BYTES_MAX;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} has {bytes} bytes, the limit is {ID_BYTES_MAX}")]
    TooLong { what: &'static str, bytes: usize },
    #[error("{what} {name:?} has the character {found:?}; use letters, digits and . _ - : /")]
    Character { what: &'static str, name: String, found: char },
    #[error("{what} {text:?} is not {bytes} bytes in hexadecimal")]
    NotHex { what: &'static str, text: String, bytes: usize },
}

fn check_name(what: &'static str, name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty { what });
    }
    if name.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong { what, bytes: name.len() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    match name.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(IdError::Character { what, name: name.to_owned(), found }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Accepts 1 to 96 ASCII letters, digits and `. _ - : /`.
            ///
            /// # Errors
            /// Says which rule the name breaks.
            pub fn new(name: &str) -> Result<Self, IdError> {
                check_name($what, name)?;
                Ok(Self(name.into()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(name: &str) -> Result<Self, IdError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(name: String) -> Result<Self, IdError> {
                Self::new(&name)
            }
        }
    };
}

name!(
    /// One data-centre site with its own books.
    HubId, "hub id"
);
name!(
    /// One server or gateway with an agent.
    NodeId, "node id"
);
name!(
    /// One metered thing: a GPU by UUID, a CPU package, a meter. Unique in its hub.
    SubjectId, "subject id"
);
name!(
    /// What the fund reports on.
    ProjectId, "project id"
);
name!(
    /// A scheduler's name for itself.
    ClusterId, "cluster id"
);
name!(
    /// A scheduler's name for a job, unique in its cluster at any one time.
    JobId, "job id"
);
name!(
    /// Who submitted a job.
    UserId, "user id"
);

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $bytes]);

        impl $name {
            #[must_use]
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// From exactly the right number of bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let refused = || IdError::NotHex {
                    what: $what,
                    text: text.chars().take(80).collect(),
                    bytes: $bytes,
                };
                if text.len() != 2 * $bytes || !text.is_ascii() {
                    return Err(refused());
                }
                let mut bytes = [0_u8; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| refused())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

key!(
    /// Random, new whenever a spool is created. Sequences count within it.
    SpoolEpoch, 16, "spool epoch"
);
key!(
    /// New whenever a machine boots. Uptimes count within it.
    BootId, 16, "boot id"
);
key!(
    /// SHA-256 of a body exactly as it was sent.
    ContentHash, 32, "content hash"
);
key!(
    /// SHA-256 of a schema's plain protobuf bytes.
    SchemaId, 32, "schema id"
);

/// Number of a batch within its spool epoch, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchSeq(u64);

impl BatchSeq {
    pub const FIRST: Self = Self(1);

    /// `None` for zero: sequences count from 1.
    #[must_use]
    pub const fn new(seq: u64) -> Option<Self> {
        if seq == 0 { None } else { Some(Self(seq)) }
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next one. A sequence would take ages of the universe to run out.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("u64 sequences do not run out"))
    }
}

impl fmt::Display for BatchSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_with_the_character() {
        for (name, found) in
            [("a b", ' '), ("x\"y", '"'), ("l\nq", '\n'), ("=cmd", '='), ("é", 'é')]
        {
            let refused = NodeId::new(name).expect_err("hostile");
            assert!(matches!(refused, IdError::Character { found: f, .. } if f == found));
        }
        assert_eq!(HubId::new(""), Err(IdError::Empty { what: "hub id" }));
        assert!(HubId::new(&"a".repeat(97)).is_err());
        assert!(SubjectId::new("GPU-5b1c/mig:0").is_ok());
    }

    #[test]
    fn keys_survive_their_hexadecimal() {
        let epoch = SpoolEpoch::new(*b"0123456789abcdef");
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert!("zz".parse::<SpoolEpoch>().is_err());
        assert!("+".repeat(32).parse::<SpoolEpoch>().is_err());
        assert!(BatchSeq::new(0).is_none());
    }
}
