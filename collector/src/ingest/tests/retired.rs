//! Nodes that a person says are gone for good.

use super::*;

/// Goal: a node is gone for good once a person says so, for the books of a restart too; who is not
/// known, or whom nobody stands for, is not.
#[test]
fn o5_a_node_is_retired_once_by_somebody_who_stands_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |address, node: &str, who: &str| {
        let json = format!("{{\"who\":\"{who}\",\"why\":\"burnt\"}}");
        ask(address, "PUT", &format!("/v1/retirements/{node}"), json.as_bytes())
    };
    let text = |answer: (u16, Vec<u8>)| String::from_utf8(answer.1).expect("text");
    with_collector_in(folder.path(), move |address| {
        let id = taught(address);
        let body = encoded(&batch(id, 1, a_minute_ago()));
        acked(&ask(address, "POST", "/v1/batches", &body), &body, 1);
        // The batch is acked when it is durable, and booked a moment later.
        while !text(ask(address, "GET", "/v1/hubs/isb/devices", b"")).contains("GPU-1") {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let stranger = put(address, "n99", "A. Khan");
        assert_eq!(refused(&stranger), ErrorCode::NotFound);
        assert!(text(stranger).contains("node n99 never declared anything here"));
        let nobody = put(address, "n01", "");
        assert_eq!(refused(&nobody), ErrorCode::InvalidRequest);
        assert!(text(nobody).contains("who needs 1 to"));
        let done = text(put(address, "n01", "A. Khan"));
        assert!(done.contains("\"verdict\":\"retired\",\"let_go\":"), "{done}");
        assert!(!done.contains("\"let_go\":0"), "{done}");
    });
    let again = with_collector_in(folder.path(), move |address| {
        let events = text(ask(address, "GET", "/v1/hubs/isb/events", b""));
        assert!(events.contains("retired by A. Khan: burnt"), "{events}");
        text(put(address, "n01", "A. Khan"))
    });
    assert!(again.starts_with("{\"verdict\":\"unchanged\",\"let_go\":0,"), "{again}");
}
