//! The meter book over a real socket.

use super::*;

/// Goal: a reading that a person typed is in the books at once, is refused in words where it counts
/// back, is corrected under its id, and stands the same after a restart and in a replay.
#[test]
fn typed_readings_are_booked_corrected_and_stand_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |address, id: &str, at: &str, value: &str| {
        let json = format!(
            "{{\"meter\":\"m-inc\",\"at\":\"{at}\",\"value\":\"{value}\",\"factor\":160,\
             \"who\":\"A. Khan\",\"why\":\"round\"}}"
        );
        ask(address, "PUT", &format!("/v1/meterbook/{id}"), json.as_bytes())
    };
    let text = |answer: (u16, Vec<u8>)| String::from_utf8(answer.1).expect("text");
    let listed = move |address| text(ask(address, "GET", "/v1/meterbook?meter=m-inc", b""));
    let held = with_collector_in(folder.path(), move |address| {
        let (first, second) = ("2026-03-01T09:00:00+05:00", "2026-03-02T09:00:00+05:00");
        let answer = text(put(address, "r1", first, "1000.0 kWh"));
        assert!(answer.contains("\"verdict\":\"new\""), "{answer}");
        assert!(text(put(address, "r1", first, "1000.0 kWh")).contains("\"unchanged\""));
        let back = put(address, "r2", second, "999.9 kWh");
        assert_eq!(refused(&back), ErrorCode::Conflict);
        assert!(text(back).contains("a register does not count back"));
        let bare = put(address, "r2", second, "1010");
        assert_eq!(refused(&bare), ErrorCode::InvalidRequest);
        let answer = text(put(address, "r2", second, "1010.0 kWh"));
        assert!(answer.contains("\"energy\":\"1.600 MWh\""), "{answer}");
        assert!(text(put(address, "r2", second, "1020.0 kWh")).contains("\"replaced\""));
        let list = listed(address);
        let none = text(ask(address, "GET", "/v1/meterbook?meter=other", b""));
        assert_eq!(none, "{\"readings\":[]}");
        list
    });
    assert!(held.contains("\"energy_mj\":\"11520000000000\""), "20 kWh x 160: {held}");
    let nowhere = "\"point\":null,\"use\":\"kept\"";
    assert!(held.contains(nowhere), "the diagram has no such meter: {held}");
    let again = with_collector_in(folder.path(), listed);
    assert_eq!(again, held);
    assert_eq!(
        replay::offline(&folder.path().join("data")).expect("a journal").frames_unusable,
        "0"
    );
}
