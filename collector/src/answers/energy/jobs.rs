//! Jobs: what each used, its mean power, and what of it is exact.

use serde::Deserialize;

use super::{Amount, Row};
use crate::answers::layout::Table;

/// What else is known of a job.
#[derive(Debug, Deserialize)]
pub(super) struct JobUse {
    accounts: Vec<String>,
    nodes: Vec<String>,
    gpus: usize,
    wall_ms: u64,
    gpu_ms: u64,
    mean_power_mw: String,
    mean_power: String,
    wh_per_gpu_hour: String,
    held_idle_share: String,
    coverage: String,
    method: String,
    split_mj: Amount,
}

pub(super) const COLUMNS: [&str; 12] = [
    "accounts",
    "nodes",
    "gpus",
    "wall_ms",
    "gpu_ms",
    "mean_power_mw",
    "wh_per_gpu_hour",
    "held_idle_share",
    "coverage",
    "classes",
    "method",
    "split_mj",
];

/// The cells of [`COLUMNS`]; empty of what no known job held.
pub(super) fn cells(row: &Row) -> [String; 12] {
    let Some(job) = &row.job_use else { return [(); 12].map(|()| String::new()) };
    [
        job.accounts.join(" "),
        job.nodes.join(" "),
        job.gpus.to_string(),
        job.wall_ms.to_string(),
        job.gpu_ms.to_string(),
        job.mean_power_mw.clone(),
        job.wh_per_gpu_hour.clone(),
        job.held_idle_share.clone(),
        job.coverage.clone(),
        classes(row),
        job.method.clone(),
        job.split_mj.exact(),
    ]
}

fn classes(row: &Row) -> String {
    row.by_class.iter().map(|class| class.class.as_str()).collect::<Vec<_>>().join(" ")
}

pub(super) fn table(rows: &[Row]) -> String {
    let head = ["job", "IT", "mean power", "Wh/GPU h", "held idle", "read", "class", "split"];
    let mut table = Table::new(1, head);
    for row in rows {
        let name = row.job.clone().unwrap_or_else(|| "no known job".to_owned());
        let it = row.it_mj.human();
        match &row.job_use {
            Some(job) => {
                let split = if job.split_mj == Amount::default() {
                    "exact".to_owned()
                } else {
                    job.split_mj.human()
                };
                let (power, per_hour) = (job.mean_power.clone(), job.wh_per_gpu_hour.clone());
                let (idle, read) = (job.held_idle_share.clone(), job.coverage.clone());
                table.row([name, it, power, per_hour, idle, read, classes(row), split]);
            }
            None => {
                let blank = String::new;
                table.row([name, it, blank(), blank(), blank(), blank(), classes(row), blank()]);
            }
        }
    }
    table.show()
}
