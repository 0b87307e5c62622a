//! Files that are replaced while the program runs. Somebody looks every few seconds; what is new
//! and whole is put into force for the next connection, what is not is told once and left aside.

use std::sync::{Arc, Mutex, PoisonError};

use crate::certificate::Certificate;
use crate::{Files, IdentityError, Material};

/// What a look found.
#[derive(Debug)]
pub enum Look {
    Same,
    /// New files are in force: the certificate of them.
    Renewed(Arc<Certificate>),
    /// New files are useless, the old ones stay. Told once for each content.
    Broken(IdentityError),
}

type Build<T> = Box<dyn Fn(&Material) -> Result<T, IdentityError> + Send + Sync>;

/// What was made of the files last found good.
pub struct Kept<T> {
    files: Files,
    build: Build<T>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    made: T,
    own: Arc<Certificate>,
    /// The content last looked at, good or not; `None`: it could not be read.
    seen: Option<[u8; 32]>,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T: Clone> Kept<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When they are not whole.
    pub fn open(
        files: Files,
        build: impl Fn(&Material) -> Result<T, IdentityError> + Send + Sync + 'static,
    ) -> Result<Self, IdentityError> {
        let raw = files.read()?;
        let material = Material::of(&files, &raw)?;
        let made = build(&material)?;
        let seen = Some(raw.digest());
        let state = Mutex::new(State { made, own: Arc::new(material.own), seen });
        Ok(Self { files, build: Box::new(build), state })
    }

    /// What is in force.
    #[must_use]
    pub fn get(&self) -> T {
        self.lock().made.clone()
    }

    /// One's own certificate in force.
    #[must_use]
    pub fn own(&self) -> Arc<Certificate> {
        Arc::clone(&self.lock().own)
    }

    /// Reads the files again, and puts them into force if they are new and whole.
    pub fn look(&self) -> Look {
        let raw = match self.files.read() {
            Ok(raw) => raw,
            Err(error) => {
                let was_readable = self.lock().seen.take().is_some();
                return if was_readable { Look::Broken(error) } else { Look::Same };
            }
        };
        let digest = Some(raw.digest());
        if self.lock().seen == digest {
            return Look::Same;
        }
        let made = Material::of(&self.files, &raw).and_then(|material| {
            let made = (self.build)(&material)?;
            Ok((made, Arc::new(material.own)))
        });
        let mut state = self.lock();
        state.seen = digest;
        match made {
            Ok((made, own)) => {
                state.made = made;
                state.own = Arc::clone(&own);
                Look::Renewed(own)
            }
            Err(error) => Look::Broken(error),
        }
    }

    /// A panic while it was held cannot have left it half written.
    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, DAY, Folder};

    fn kept(folder: &Folder) -> Kept<String> {
        let serial = |material: &Material| Ok(material.own.serial.clone());
        Kept::open(folder.files(), serial).expect("whole")
    }

    /// Goal: in whatever order the files of a rotation appear, there is no moment without a
    /// usable identity, and each broken state is told once.
    #[test]
    fn n9_a_rotation_seen_half_way_keeps_the_old_files() {
        let authority = Authority::new("isb");
        let (old, new) = (authority.node("isb", "a", DAY), authority.node("isb", "a", DAY));
        let folder = authority.folder(&old);
        let kept = kept(&folder);
        let before = kept.get();
        assert!(matches!(kept.look(), Look::Same));
        folder.write("certificate.pem", &new.pem);
        assert!(matches!(kept.look(), Look::Broken(IdentityError::KeyDiffers { .. })));
        assert!(matches!(kept.look(), Look::Same));
        assert_eq!(kept.get(), before);
        folder.write("key.pem", &new.key);
        assert!(matches!(kept.look(), Look::Renewed(own) if own.serial != before));
        assert_ne!(kept.get(), before);
        assert!(matches!(kept.look(), Look::Same));
    }

    #[test]
    fn files_that_vanish_are_told_once_and_come_back() {
        let authority = Authority::new("isb");
        let made = authority.node("isb", "a", DAY);
        let folder = authority.folder(&made);
        let kept = kept(&folder);
        folder.remove("key.pem");
        assert!(matches!(kept.look(), Look::Broken(IdentityError::Read { .. })));
        assert!(matches!(kept.look(), Look::Same));
        folder.write("key.pem", "rubbish");
        assert!(matches!(kept.look(), Look::Broken(IdentityError::Pem { .. })));
        folder.write("key.pem", &made.key);
        assert!(matches!(kept.look(), Look::Renewed(_)));
    }
}
