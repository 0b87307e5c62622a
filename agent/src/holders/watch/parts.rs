//! What the ids that witnesses tell are on this node: GPUs, instances, parts of either. Pure.
//!
//! `GPU-…` is a GPU, `MIG-…` an instance of one, and `<either>::<name>` a part that others have
//! parts of at the same time, as NVIDIA's device plugin writes its time slices.

use bijli_wire::SubjectId;
use bijli_wire::hold::{self, Share};

use crate::probe::numbers::Numbered;

/// Between what is shared and the name of the part.
pub(super) const PART: &str = "::";

/// What a job has here, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) devices: Vec<SubjectId>,
    pub(super) shares: Vec<Share>,
}

/// All of `ids`, or none.
///
/// # Errors
/// Names the first that is nothing of this node.
pub(super) fn resolve(ids: &[String], gpus: &[Numbered]) -> Result<Parts, String> {
    let mut parts = Parts::default();
    for id in ids {
        let base = id.split_once(PART).map_or(id.as_str(), |(base, _)| base);
        let is_part = base != id;
        let whole = gpus.iter().find(|one| one.gpu.as_str() == base);
        if let Some(one) = whole {
            if is_part {
                let (device, id) = (one.gpu.clone(), name(id)?);
                parts.shares.push(Share { device, id, instance: None });
            } else {
                parts.devices.push(one.gpu.clone());
            }
        } else {
            let shown: String = id.chars().take(64).collect();
            let instance = instance(base, gpus)
                .ok_or_else(|| format!("this node has neither a GPU nor an instance {shown:?}"))?;
            parts.shares.push(Share { id: name(id)?, ..instance });
        }
    }
    parts.devices.sort_unstable();
    parts.devices.dedup();
    parts.shares.sort_unstable();
    parts.shares.dedup();
    Ok(parts)
}

fn name(id: &str) -> Result<SubjectId, String> {
    SubjectId::new(id).map_err(|error| error.to_string())
}

/// A whole instance.
fn instance(id: &str, gpus: &[Numbered]) -> Option<Share> {
    gpus.iter().find_map(|gpu| {
        let mig = gpu.mig.as_ref()?;
        let one = mig.instances.iter().find(|one| one.id.as_str() == id)?;
        let (id, slices, of) = (one.id.clone(), one.slices, mig.of);
        let instance = Some(hold::Instance { id: id.clone(), slices, of });
        Some(Share { device: gpu.gpu.clone(), id, instance })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::numbers::{Instance, Mig};

    fn id(text: &str) -> SubjectId {
        SubjectId::new(text).expect("a name")
    }

    /// GPU 0 is whole; GPU 1 has instance 1 with four slices and instance 2 in two parts.
    pub(in super::super) fn gpus() -> Vec<Numbered> {
        let instance = |(name, gi, slices)| Instance { id: id(name), gi, slices };
        let instances = [("MIG-a", 1, 4), ("MIG-b", 2, 2), ("MIG-c", 2, 1)].map(instance);
        let mig = Some(Mig { of: 7, instances: instances.to_vec() });
        vec![
            Numbered { index: 0, minor: Some(1), gpu: id("GPU-0"), mig: None },
            Numbered { index: 1, minor: Some(0), gpu: id("GPU-1"), mig },
        ]
    }

    #[test]
    fn by_table() {
        let of = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let parts = resolve(&ids, &gpus())?;
            let share = |share: &Share| match &share.instance {
                None => format!("{} of {}", share.id, share.device),
                Some(hold::Instance { id, slices, of }) => {
                    format!("{} of {} {id} {slices}/{of}", share.id, share.device)
                }
            };
            let devices = parts.devices.iter().map(ToString::to_string);
            let words: Vec<String> = devices.chain(parts.shares.iter().map(share)).collect();
            Ok::<_, String>(words.join(", "))
        };
        for (ids, expected) in [
            (&["GPU-1", "GPU-0", "GPU-1"][..], "GPU-0, GPU-1"),
            (&["GPU-0::3"], "GPU-0::3 of GPU-0"),
            (&["MIG-a"], "MIG-a of GPU-1 MIG-a 4/7"),
            (&["MIG-c::0"], "MIG-c::0 of GPU-1 MIG-c 1/7"),
            (&[], ""),
        ] {
            assert_eq!(of(ids).as_deref(), Ok(expected), "{ids:?}");
        }
        for wrong in ["GPU-9", "MIG-9::0", "nvidia0", "", "GPU-0::a b"] {
            let words = of(&["GPU-0", wrong]).expect_err(wrong);
            assert!(words.contains("neither a GPU") || words.contains("character"), "{words}");
        }
    }
}
