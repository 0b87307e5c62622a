//! Ingest under the standard load: 1,000 nodes of 200 series, five rows a batch, beside other
//! people's stores that are fed the same values in the same run.
//!
//! A bijli row's ack means fdatasynced; the others' answers mean what they mean there.

mod bijli;
mod certificates;
mod h2;
mod load;
pub(crate) mod peers;
mod report;
pub(crate) mod scrape;
mod send;
mod telemetry;
pub(crate) mod text;

use crate::process::thousandths;

pub(crate) fn run(which: Option<&str>) {
    let wants = |name: &str| which.is_none_or(|which| which == name);
    if wants("bijli") {
        let loads = bijli::prepare();
        let certificates = certificates::Certificates::make();
        let per_sample = bijli::body_bytes(&loads) * 1_000 / report::whole(load::BATCH_SAMPLES);
        println!("bytes per sample of a body: {}", thousandths(per_sample));
        report::print_head();
        for manner in bijli::MANNERS {
            report::print(bijli::measure(&loads, &certificates, manner));
        }
    }
    for peer in peers::PEERS.iter().filter(|peer| wants(peer.key)) {
        report::print(peers::measure(peer));
    }
}
