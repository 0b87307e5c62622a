//! The board's health and place, called as C calls them.

mod common;

use std::sync::LazyLock;

use common::{handle, one};
use fakenvml::Scenario;
use fakenvml::exports::{board, device, getters};
use nvml_wrapper_sys::bindings as nvml;

const INVALID_ARGUMENT: u32 = 2;
const NOT_SUPPORTED: u32 = 3;
const VERSION_MISMATCH: u32 = 25;

const AILING: usize = 0;
const RACKED: usize = 1;
const BARE: usize = 2;

static SCENARIO: LazyLock<Scenario> = LazyLock::new(|| common::start("board.toml"));

fn gpu(index: usize) -> nvml::nvmlDevice_t {
    LazyLock::force(&SCENARIO);
    handle(index)
}

/// All zero but for the version, which comes first.
fn versioned<T: Copy>(number: usize) -> T {
    let version = u32::try_from(size_of::<T>() | number << 24).expect("a small struct");
    // SAFETY: these structs are numbers through and through, so all zero is valid.
    let mut place: T = unsafe { std::mem::zeroed() };
    // SAFETY: the version is the first member of each.
    unsafe { (&raw mut place).cast::<u32>().write(version) };
    place
}

/// A call that fills a struct: its code and the struct.
fn filled<T: Copy>(number: usize, call: impl FnOnce(*mut T) -> u32) -> (u32, T) {
    let mut place = versioned(number);
    let code = call(&raw mut place);
    (code, place)
}

fn number(call: impl FnOnce(*mut u32) -> u32) -> (u32, u32) {
    let mut place = 0;
    let code = call(&raw mut place);
    (code, place)
}

#[test]
fn sram_past_its_threshold_says_so() {
    // SAFETY: the struct is valid for reading and writing.
    let call = |out| unsafe { board::nvmlDeviceGetSramEccErrorStatus(gpu(AILING), out) };
    let (code, status) = filled::<nvml::nvmlEccSramErrorStatus_t>(1, call);
    assert_eq!((code, status.bThresholdExceeded), (0, 1));
    assert_eq!((status.aggregateUncParity, status.aggregateUncSecDed), (1, 2));
    assert_eq!((status.aggregateCor, status.aggregateUncBucketOther), (4, 3));
    assert_eq!(filled::<nvml::nvmlEccSramErrorStatus_t>(2, call).0, VERSION_MISMATCH);
}

#[test]
fn rows_have_passed_their_steps() {
    // SAFETY: all zero is a valid histogram.
    let mut histogram = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is valid for writing.
    let code =
        unsafe { getters::nvmlDeviceGetRowRemapperHistogram(gpu(AILING), &raw mut histogram) };
    let nvml::nvmlRowRemapperHistogramValues_t { max, high, partial, low, none } = histogram;
    assert_eq!((code, [max, high, partial, low, none]), (0, [600, 0, 0, 39, 1]));
    assert_eq!([142, 143, 144, 145].map(|field| one(gpu(AILING), field, 0).2), [1, 2, 0, 1]);
    assert_eq!(one(gpu(AILING), 230, 0), (0, 1, 1));
}

#[test]
fn a_margin_may_be_below_nothing() {
    // SAFETY: the struct is valid for reading and writing.
    let call = |out| unsafe { board::nvmlDeviceGetMarginTemperature(gpu(AILING), out) };
    let (code, margin) = filled::<nvml::nvmlMarginTemperature_t>(1, call);
    assert_eq!((code, margin.marginTemperature), (0, -1));
}

#[test]
fn links_to_the_host_and_to_others() {
    let gpu = gpu(AILING);
    // SAFETY: the places are valid.
    let pcie = unsafe {
        [
            number(|out| getters::nvmlDeviceGetMaxPcieLinkGeneration(gpu, out)),
            number(|out| getters::nvmlDeviceGetMaxPcieLinkWidth(gpu, out)),
            number(|out| getters::nvmlDeviceGetCurrPcieLinkGeneration(gpu, out)),
            number(|out| getters::nvmlDeviceGetCurrPcieLinkWidth(gpu, out)),
            number(|out| getters::nvmlDeviceGetPcieReplayCounter(gpu, out)),
        ]
    };
    assert_eq!(pcie, [(0, 5), (0, 16), (0, 2), (0, 8), (0, 12)]);
    let state =
        // SAFETY: the place is valid.
        |link| number(|out| unsafe { board::nvmlDeviceGetNvLinkState(gpu, link, out) });
    assert_eq!([state(6), state(7)], [(0, 1), (0, 0)]);
    assert_eq!(state(18).0, INVALID_ARGUMENT);
    let errors = |counter| {
        let mut count = 0;
        // SAFETY: the place is valid.
        let code =
            unsafe { board::nvmlDeviceGetNvLinkErrorCounter(gpu, 7, counter, &raw mut count) };
        (code, count)
    };
    assert_eq!([0, 1, 2, 3].map(errors), [(0, 1), (0, 0), (0, 2), (0, 0)]);
    assert_eq!(errors(5).0, INVALID_ARGUMENT);
}

#[test]
fn a_fabric_comes_in_two_versions() {
    // SAFETY: the struct is valid for reading and writing.
    let call = |out| unsafe { board::nvmlDeviceGetGpuFabricInfoV(gpu(AILING), out) };
    let (code, third) = filled::<nvml::nvmlGpuFabricInfo_v3_t>(3, call);
    assert_eq!((code, third.state, third.healthSummary, third.cliqueId), (0, 3, 2, 9));
    assert_eq!(third.healthMask & 3, 1);
    let (code, second) = filled::<nvml::nvmlGpuFabricInfo_v2_t>(2, |out| call(out.cast()));
    assert_eq!((code, second.state, second.healthMask), (0, 3, third.healthMask));
    assert_eq!(filled::<nvml::nvmlGpuFabricInfo_v3_t>(9, call).0, VERSION_MISMATCH);
}

#[test]
fn a_place_in_a_rack_or_none() {
    let place = |index, number| {
        // SAFETY: the struct is valid for reading and writing.
        let call = |out| unsafe { board::nvmlDeviceGetPlatformInfo(gpu(index), out) };
        filled::<nvml::nvmlPlatformInfo_v2_t>(number, call)
    };
    for version in [1, 2] {
        let (code, racked) = place(RACKED, version);
        assert_eq!((code, racked.slotNumber, racked.trayIndex, racked.moduleId), (0, 12, 3, 2));
        assert_eq!(racked.chassisSerialNumber[..14], *b"1820325191344\0");
    }
    assert_eq!(place(RACKED, 3).0, VERSION_MISMATCH);
    assert_eq!(place(AILING, 2).0, NOT_SUPPORTED);
    // SAFETY: the place is valid.
    let module = number(|out| unsafe { getters::nvmlDeviceGetModuleId(gpu(AILING), out) });
    assert_eq!(module, (0, 5));
}

#[test]
fn firmware_has_versions() {
    let text = |call: &dyn Fn(*mut std::ffi::c_char, u32) -> u32| {
        let mut buffer = [0; 64];
        let code = call(buffer.as_mut_ptr(), 64);
        // SAFETY: the buffer ends in NUL.
        let text = unsafe { std::ffi::CStr::from_ptr(buffer.as_ptr()) };
        (code, text.to_str().expect("ASCII").to_owned())
    };
    let gpu = gpu(AILING);
    let inforom = |object| {
        // SAFETY: the buffer has as many bytes as said.
        text(&|out, length| unsafe { board::nvmlDeviceGetInforomVersion(gpu, object, out, length) })
    };
    assert_eq!(inforom(0), (0, "2.1".to_owned()));
    assert_eq!(inforom(2).0, NOT_SUPPORTED);
    // SAFETY: as above.
    let image =
        text(&|out, length| unsafe { getters::nvmlDeviceGetInforomImageVersion(gpu, out, length) });
    assert_eq!(image, (0, "G520.0200.00.05".to_owned()));
    // SAFETY: as above.
    let gsp = text(&|out, _| unsafe { board::nvmlDeviceGetGspFirmwareVersion(gpu, out) });
    assert_eq!(gsp, (0, "580.105.08".to_owned()));
}

#[test]
fn a_fan_may_stand_still() {
    // SAFETY: the struct is valid for reading and writing.
    let call = |out| unsafe { device::nvmlDeviceGetFanSpeedRPM(gpu(AILING), out) };
    let (code, info) = filled::<nvml::nvmlFanSpeedInfo_t>(1, call);
    assert_eq!((code, info.fan, info.speed), (0, 0, 0));
    // SAFETY: as above; a board without fans.
    let none = |out| unsafe { device::nvmlDeviceGetFanSpeedRPM(gpu(RACKED), out) };
    assert_eq!(filled::<nvml::nvmlFanSpeedInfo_t>(1, none).0, NOT_SUPPORTED);
}

#[test]
fn a_bare_board_supports_none_of_it() {
    let bare = gpu(BARE);
    let mut sram: nvml::nvmlEccSramErrorStatus_t = versioned(1);
    let mut margin: nvml::nvmlMarginTemperature_t = versioned(1);
    let mut fabric: nvml::nvmlGpuFabricInfo_v3_t = versioned(3);
    // SAFETY: all zero is a valid histogram.
    let mut histogram = unsafe { std::mem::zeroed() };
    let (mut a, mut b, mut text) = (0, 0, [0; 64]);
    // SAFETY: all places live on this stack and have the size they are said to have.
    let codes = unsafe {
        [
            board::nvmlDeviceGetSramEccErrorStatus(bare, &raw mut sram),
            board::nvmlDeviceGetMarginTemperature(bare, &raw mut margin),
            board::nvmlDeviceGetGpuFabricInfoV(bare, &raw mut fabric),
            board::nvmlDeviceGetNvLinkState(bare, 0, &raw mut a),
            board::nvmlDeviceGetInforomVersion(bare, 0, text.as_mut_ptr(), 64),
            board::nvmlDeviceGetGspFirmwareMode(bare, &raw mut a, &raw mut b),
            board::nvmlDeviceGetGspFirmwareVersion(bare, text.as_mut_ptr()),
            getters::nvmlDeviceGetInforomImageVersion(bare, text.as_mut_ptr(), 64),
            getters::nvmlDeviceGetRowRemapperHistogram(bare, &raw mut histogram),
            getters::nvmlDeviceGetPcieReplayCounter(bare, &raw mut a),
            getters::nvmlDeviceGetCurrPcieLinkWidth(bare, &raw mut a),
        ]
    };
    assert_eq!(codes, [NOT_SUPPORTED; 11]);
}
