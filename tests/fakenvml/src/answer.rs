//! What a call answers: a value, or one of NVML's return codes, written through the caller's
//! pointer.

use std::ffi::{CStr, c_char, c_uint};

use nvml_wrapper_sys::bindings::nvmlReturn_t;

pub(crate) type Answer<T> = Result<T, Refusal>;

pub(crate) const SUCCESS: nvmlReturn_t = 0;

/// NVML's return codes as far as the fake gives them. The numbers are `nvmlReturn_t`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Uninitialized,
    InvalidArgument,
    NotSupported,
    NotFound,
    InsufficientSize,
    DriverNotLoaded,
    Timeout,
    GpuIsLost,
    LibraryMismatch,
    VersionMismatch,
    Deprecated,
    Unknown,
}

impl Refusal {
    pub(crate) const fn code(self) -> nvmlReturn_t {
        match self {
            Self::Uninitialized => 1,
            Self::InvalidArgument => 2,
            Self::NotSupported => 3,
            Self::NotFound => 6,
            Self::InsufficientSize => 7,
            Self::DriverNotLoaded => 9,
            Self::Timeout => 10,
            Self::GpuIsLost => 15,
            Self::LibraryMismatch => 18,
            Self::VersionMismatch => 25,
            Self::Deprecated => 26,
            Self::Unknown => 999,
        }
    }
}

pub(crate) fn describe(code: nvmlReturn_t) -> &'static CStr {
    match code {
        0 => c"Success",
        1 => c"Uninitialized",
        2 => c"Invalid Argument",
        3 => c"Not Supported",
        6 => c"Not Found",
        7 => c"Insufficient Size",
        9 => c"Driver Not Loaded",
        10 => c"Timeout",
        15 => c"GPU is lost",
        18 => c"Driver/library version mismatch",
        25 => c"Argument version mismatch",
        26 => c"API call is deprecated",
        _ => c"Unknown Error",
    }
}

pub(crate) fn code_of(answer: Answer<()>) -> nvmlReturn_t {
    match answer {
        Ok(()) => SUCCESS,
        Err(refusal) => refusal.code(),
    }
}

/// Refuses null, so that a caller's mistake is an answer and not a crash.
pub(crate) fn non_null<T>(pointer: *const T) -> Answer<()> {
    if pointer.is_null() { Err(Refusal::InvalidArgument) } else { Ok(()) }
}

/// Writes the value, if there is one, and returns the code. Nothing is written on a refusal.
///
/// # Safety
///
/// `out` is null or valid for writing a `T`.
pub(crate) unsafe fn write<T>(out: *mut T, answer: Answer<T>) -> nvmlReturn_t {
    code_of(non_null(out).and(answer).map(|value| {
        // SAFETY: not null, so valid for writing by this function's contract.
        unsafe { out.write(value) }
    }))
}

/// As [`write`], for the calls that fill two places.
///
/// # Safety
///
/// Each of `outs` is null or valid for writing a `T`.
pub(crate) unsafe fn write_pair<T>(outs: [*mut T; 2], answer: Answer<[T; 2]>) -> nvmlReturn_t {
    let [first_out, second_out] = outs;
    let checked = non_null(first_out).and(non_null(second_out)).and(answer);
    code_of(checked.map(|[first, second]| {
        // SAFETY: neither is null, so both are valid for writing by this function's contract.
        unsafe {
            first_out.write(first);
            second_out.write(second);
        }
    }))
}

/// Writes `answer` and a closing NUL if both fit into `length` bytes.
///
/// # Safety
///
/// `buffer` is null or valid for writing `length` bytes.
pub(crate) unsafe fn write_text(
    buffer: *mut c_char,
    length: c_uint,
    answer: Answer<String>,
) -> nvmlReturn_t {
    code_of(non_null(buffer).and(answer).and_then(|text| {
        let needed = text.len() + 1;
        if u32::try_from(needed).is_ok_and(|needed| needed <= length) {
            // SAFETY: `needed` bytes fit `length`, which the caller vouches for; a fresh String
            // cannot overlap the caller's buffer.
            unsafe {
                buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
                buffer.add(text.len()).write(0);
            }
            Ok(())
        } else {
            Err(Refusal::InsufficientSize)
        }
    }))
}

/// The caller's text.
///
/// # Safety
///
/// `text` is null or points to a NUL-terminated string.
pub(crate) unsafe fn read_text<'a>(text: *const c_char) -> Answer<&'a str> {
    non_null(text)?;
    // SAFETY: not null, so NUL-terminated by this function's contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Refusal::InvalidArgument)
}

/// How a struct states its version: the number in the top byte, its size below.
#[expect(clippy::cast_possible_truncation, reason = "a struct of NVML is smaller than 16 MiB")]
pub(crate) const fn version_of<T>(number: u32) -> c_uint {
    size_of::<T>() as u32 | number << 24
}

/// What the caller asks for in a struct that states its own version.
///
/// # Safety
///
/// `place` is null or valid for reading a `T`.
pub(crate) unsafe fn read_versioned<T: Copy, const NUMBER: u32>(
    place: *const T,
    version_in: fn(&T) -> c_uint,
) -> Answer<T> {
    non_null(place)?;
    // SAFETY: not null, so valid for reading by this function's contract.
    let asked = unsafe { place.read() };
    if version_in(&asked) == version_of::<T>(NUMBER) {
        Ok(asked)
    } else {
        Err(Refusal::VersionMismatch)
    }
}

#[cfg(test)]
mod tests {
    use nvml_wrapper_sys::bindings as nvml;

    use super::*;

    #[test]
    fn codes_are_those_of_the_header() {
        let table = [
            (Refusal::Uninitialized, nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED),
            (Refusal::InvalidArgument, nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
            (Refusal::NotSupported, nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED),
            (Refusal::NotFound, nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND),
            (Refusal::InsufficientSize, nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE),
            (Refusal::DriverNotLoaded, nvml::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED),
            (Refusal::Timeout, nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT),
            (Refusal::GpuIsLost, nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST),
            (Refusal::LibraryMismatch, nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH),
            (Refusal::VersionMismatch, nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH),
            (Refusal::Deprecated, nvml::nvmlReturn_enum_NVML_ERROR_DEPRECATED),
            (Refusal::Unknown, nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN),
        ];
        for (refusal, code) in table {
            assert_eq!(refusal.code(), code, "{refusal:?}");
        }
    }

    #[test]
    fn text_needs_room_for_its_nul() {
        let mut buffer = [1 as c_char; 4];
        let mut fill = |text: &str| {
            // SAFETY: the buffer has four bytes.
            unsafe { write_text(buffer.as_mut_ptr(), 4, Ok(text.to_owned())) }
        };
        assert_eq!(fill("abcd"), Refusal::InsufficientSize.code());
        assert_eq!(fill("abc"), SUCCESS);
        assert_eq!(buffer[3], 0);
    }

    #[test]
    fn null_is_an_invalid_argument() {
        // SAFETY: null is allowed by the contract.
        let code = unsafe { write(std::ptr::null_mut::<u32>(), Ok(1)) };
        assert_eq!(code, Refusal::InvalidArgument.code());
    }
}
