//! Remote write 1.0: the readings as series of the metric table, in protobuf under snappy.
//!
//! On its way through the feed a reading is a line of Prometheus text with its time, so that what
//! is halved, set apart and counted is the same as with line protocol, and what was refused can be
//! read, and imported, as it is.

mod request;
mod shape;

use hyper::Method;

pub(super) use shape::Shape;

use super::deliver::judge;
use super::{Fate, Form, Store};
use crate::caller::{self, Call, Server};

/// As the specification has them.
const HEADERS: [(&str, &str); 3] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// A store that takes remote write.
#[derive(Debug)]
pub(super) struct RemoteWrite(pub(super) Server);

impl Store for RemoteWrite {
    const FORM: Form = Form::Text;

    fn write(&mut self, lines: &str) -> Fate {
        let Some(body) = request::body(lines) else {
            return Fate::Refused { reason: "it is no line of ours".to_owned() };
        };
        let call = Call { method: Method::POST, path: "", headers: &HEADERS, body };
        match caller::ask(&self.0, call) {
            Ok((status, said)) => fate(status, &String::from_utf8_lossy(&said)),
            Err(reason) => Fate::Later { reason },
        }
    }
}

/// A Prometheus with a window for late data answers 500 to what is older than it, and means it for
/// ever: asked again, it would hold up everything behind it.
fn fate(status: u16, said: &str) -> Fate {
    let status = if status == 500 && said.contains("too old sample") { 400 } else { status };
    judge(status, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_refused_and_every_other_failure_of_the_store_is_not() {
        assert!(matches!(fate(500, "too old sample\n"), Fate::Refused { .. }));
        assert!(matches!(fate(400, "out of bounds"), Fate::Refused { .. }));
        assert!(matches!(fate(500, "no space left on device"), Fate::Later { .. }));
        assert!(matches!(fate(429, "slow down"), Fate::Later { .. }));
        assert_eq!(fate(204, ""), Fate::Taken);
    }
}
