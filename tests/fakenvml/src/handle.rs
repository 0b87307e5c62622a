//! What an `nvmlDevice_t` of the fake is: three small numbers in the clothes of a pointer.
//!
//! Eight bits for the GPU's place plus one, eight for the MIG instance plus one or 0, and the rest
//! for how often the driver had been reloaded, so that handles from before a reload are known.

use nvml_wrapper_sys::bindings::nvmlDevice_t;

use crate::answer::{Answer, Refusal};

const BITS: u32 = 8;
const MASK: usize = (1 << BITS) - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    /// The GPU's number in the scenario.
    pub(crate) place: usize,
    /// The MIG instance's number in the scenario; none: the GPU as a whole.
    pub(crate) instance: Option<usize>,
    pub(crate) generation: usize,
}

impl Handle {
    pub(crate) fn from_raw(device: nvmlDevice_t) -> Answer<Self> {
        let number = device.addr();
        let place = (number & MASK).checked_sub(1).ok_or(Refusal::InvalidArgument)?;
        let instance = (number >> BITS & MASK).checked_sub(1);
        Ok(Self { place, instance, generation: number >> (2 * BITS) })
    }

    pub(crate) fn to_raw(self) -> nvmlDevice_t {
        let instance = self.instance.map_or(0, |instance| instance + 1);
        let number = self.generation << (2 * BITS) | instance << BITS | (self.place + 1);
        std::ptr::without_provenance_mut(number)
    }

    /// The GPU that the instance is part of.
    pub(crate) fn whole(self) -> Self {
        Self { instance: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_comes_back_as_it_went() {
        for instance in [None, Some(0), Some(20)] {
            for (place, generation) in [(0, 0), (63, 0), (5, 900)] {
                let handle = Handle { place, instance, generation };
                assert_eq!(Handle::from_raw(handle.to_raw()), Ok(handle));
            }
        }
        assert_eq!(Handle::from_raw(std::ptr::null_mut()), Err(Refusal::InvalidArgument));
    }
}
