//! What `squeue --json` says of this node. Pure: text in, jobs out.
//!
//! Two shapes are read: plain integers and a state in one word (Slurm 22.05), and objects of
//! `set`, `infinite` and `number` with a list of states (23.02 and later).

use serde::Deserialize;

/// More nodes than any job has.
const NODES_MAX: usize = 65_536;

/// A job that was on this node, as Slurm told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) cluster: String,
    pub(super) id: String,
    pub(super) account: String,
    pub(super) user: String,
    /// When this run began, milliseconds since 1970 UTC: whole seconds of Slurm's clock.
    pub(super) began_ms: i64,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has these GPUs of this node, by their numbers.
    Holds(Vec<u32>),
    /// It is on its way out: what it has is not told any more.
    Leaves,
    /// It had let go of everything at this moment.
    Over { at_ms: i64 },
    /// It runs here, and which GPUs it has cannot be made out.
    Unclear(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<serde_json::Value>,
    jobs: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    job_id: Number,
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    user_name: Option<String>,
    #[serde(default)]
    nodes: Option<String>,
    #[serde(default)]
    gres_detail: Vec<String>,
    job_state: States,
    start_time: Number,
    end_time: Number,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(i64),
    Told {
        #[serde(default)]
        set: bool,
        #[serde(default)]
        infinite: bool,
        #[serde(default)]
        number: i64,
    },
}

impl Number {
    fn get(self) -> Option<i64> {
        match self {
            Self::Plain(number) => Some(number),
            Self::Told { set: true, infinite: false, number } => Some(number),
            Self::Told { .. } => None,
        }
    }

    /// Of seconds since 1970.
    fn ms(self) -> Option<i64> {
        self.get().filter(|seconds| *seconds > 0)?.checked_mul(1_000)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum States {
    One(String),
    Many(Vec<String>),
}

impl States {
    fn has(&self, word: &str) -> bool {
        match self {
            Self::One(state) => state == word,
            Self::Many(states) => states.iter().any(|state| state == word),
        }
    }

    /// Nothing of it is on its nodes any more.
    fn is_over(&self) -> bool {
        const OVER: [&str; 10] = [
            "COMPLETED",
            "CANCELLED",
            "FAILED",
            "TIMEOUT",
            "NODE_FAIL",
            "PREEMPTED",
            "BOOT_FAIL",
            "DEADLINE",
            "OUT_OF_MEMORY",
            "REVOKED",
        ];
        !self.has("COMPLETING") && OVER.iter().any(|word| self.has(word))
    }
}

/// The jobs of `node` in an answer.
///
/// # Errors
/// Says why the answer cannot be used; then nothing is known, which is not: there are none.
pub(super) fn read(json: &[u8], node: &str) -> Result<Vec<Job>, String> {
    let answer: Answer = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    if let Some(error) = answer.errors.first() {
        return Err(error.to_string().chars().take(200).collect());
    }
    Ok(answer.jobs.iter().filter_map(|told| told.on(node)).collect())
}

impl Told {
    fn on(&self, node: &str) -> Option<Job> {
        let nodes = expand(self.nodes.as_deref()?)?;
        let place = nodes.iter().position(|one| one == node)?;
        let state = if self.job_state.is_over() {
            State::Over { at_ms: self.end_time.ms()? }
        } else if self.gres_detail.is_empty() {
            // Or it has no GPUs, or none yet.
            if !self.job_state.has("COMPLETING") {
                return None;
            }
            State::Leaves
        } else if self.gres_detail.len() != nodes.len() {
            let (told, count) = (self.gres_detail.len(), nodes.len());
            State::Unclear(format!("GPUs of {told} nodes are told, the job has {count}"))
        } else {
            let detail = self.gres_detail.get(place)?;
            match gpu_numbers(detail) {
                Ok(numbers) if numbers.is_empty() => return None,
                Ok(numbers) => State::Holds(numbers),
                Err(words) => State::Unclear(words),
            }
        };
        Some(Job {
            cluster: self.cluster.clone().unwrap_or_default(),
            id: self.job_id.get()?.to_string(),
            account: self.account.clone().unwrap_or_default(),
            user: self.user_name.clone().unwrap_or_default(),
            began_ms: self.start_time.ms()?,
            state,
        })
    }
}

/// The GPUs of `gpu:h100:3(IDX:0-2),gpu:l40:1(IDX:5)`.
fn gpu_numbers(detail: &str) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    let mut rest = detail;
    while !rest.is_empty() {
        let end = rest.find(')').map_or(rest.len(), |at| at + 1);
        let (part, behind) = rest.split_at(end);
        rest = behind.trim_start_matches(',');
        let part = part.strip_prefix("gres:").unwrap_or(part);
        let is_gpu = part.strip_prefix("gpu").is_some_and(|rest| rest.starts_with([':', '(']));
        if !is_gpu {
            continue;
        }
        let list = part.split_once("(IDX:").and_then(|(_, list)| list.strip_suffix(')'));
        let list = list.and_then(numbers_of);
        numbers.extend(list.ok_or_else(|| {
            let words: String = detail.chars().take(80).collect();
            format!("no GPU numbers in {words:?}")
        })?);
    }
    Ok(numbers)
}

/// The numbers of `0-2,5`; `None`: it is no such list.
pub(super) fn numbers_of(list: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 1_024;
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || last > MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The nodes of `n[1-3,07],m1`; `None`: it is no such list.
fn expand(list: &str) -> Option<Vec<String>> {
    let mut nodes = Vec::new();
    let (mut depth, mut from) = (0_u32, 0);
    for (at, found) in list.char_indices().chain([(list.len(), ',')]) {
        match found {
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                expand_one(list.get(from..at)?, &mut nodes)?;
                from = at + 1;
            }
            _ => {}
        }
    }
    (depth == 0 && !nodes.is_empty()).then_some(nodes)
}

fn expand_one(text: &str, nodes: &mut Vec<String>) -> Option<()> {
    let Some((before, rest)) = text.split_once('[') else {
        if !text.is_empty() {
            nodes.push(text.to_owned());
        }
        return Some(());
    };
    let (inside, after) = rest.split_once(']')?;
    for part in inside.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let width = first.len();
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last - first + nodes.len() > NODES_MAX {
            return None;
        }
        for number in first..=last {
            expand_one(&format!("{before}{number:0width$}{after}"), nodes)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Slurm 22.05.8 printed, fields that are not read left out.
    const OLD: &str = r#"{"meta":{},"errors":[],"jobs":[
      {"job_id":1,"account":"ignite-llm","user_name":"root","cluster":"hubtest","nodes":"n[1-2]",
       "gres_detail":["gpu:h100:2(IDX:0-1)","gpu:h100:2(IDX:0,3)"],"job_state":"RUNNING",
       "start_time":1795771417,"end_time":1827307417,"array_task_id":null},
      {"job_id":3,"account":"uni-vision","user_name":"root","cluster":"hubtest","nodes":"n2",
       "gres_detail":[],"job_state":"COMPLETED","start_time":1795771417,"end_time":1795771418},
      {"job_id":8,"account":"two","cluster":"hubtest","nodes":"","gres_detail":[],
       "job_state":"PENDING","start_time":0,"end_time":0},
      {"job_id":9,"account":"two","cluster":"hubtest","nodes":"n1","job_state":"RUNNING",
       "gres_detail":["gpu:h100:1(IDX:5)"],"start_time":1795771500,"end_time":0},
      {"job_id":10,"account":"two","cluster":"hubtest","nodes":"n1","job_state":"COMPLETING",
       "gres_detail":[],"start_time":1795771500,"end_time":1795771509}]}"#;

    /// The same two jobs in the shape of data_parser/v0.0.43.
    const NEW: &str = r#"{"meta":{},"errors":[],"warnings":[],"jobs":[
      {"job_id":1,"account":"ignite-llm","user_name":"root","cluster":"hubtest","nodes":"n[1-2]",
       "gres_detail":["gpu:h100:2(IDX:0-1)","gpu:h100:2(IDX:0,3)"],"job_state":["RUNNING"],
       "start_time":{"set":true,"infinite":false,"number":1795771417},
       "end_time":{"set":true,"infinite":false,"number":1827307417}},
      {"job_id":3,"account":"uni-vision","user_name":"root","cluster":"hubtest","nodes":"n2",
       "gres_detail":[],"job_state":["COMPLETED"],
       "start_time":{"set":true,"infinite":false,"number":1795771417},
       "end_time":{"set":true,"infinite":false,"number":1795771418}},
      {"job_id":8,"account":"two","cluster":"hubtest","nodes":"","gres_detail":[],
       "job_state":["PENDING"],"start_time":{"set":false,"infinite":false,"number":0},
       "end_time":{"set":false,"infinite":true,"number":0}}]}"#;

    #[test]
    fn both_shapes_say_the_same_of_this_node() {
        let job = |id: &str, account: &str, state| Job {
            cluster: "hubtest".to_owned(),
            id: id.to_owned(),
            account: account.to_owned(),
            user: "root".to_owned(),
            began_ms: 1_795_771_417_000,
            state,
        };
        let expected = [
            job("1", "ignite-llm", State::Holds(vec![0, 3])),
            job("3", "uni-vision", State::Over { at_ms: 1_795_771_418_000 }),
        ];
        assert_eq!(read(OLD.as_bytes(), "n2").expect("old"), expected);
        assert_eq!(read(NEW.as_bytes(), "n2").expect("new"), expected);
        let others = read(OLD.as_bytes(), "n1").expect("old");
        assert_eq!((others.len(), &others[2].state), (3, &State::Leaves), "not over yet");
        assert_eq!(read(OLD.as_bytes(), "n3"), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_no_empty_one() {
        for text in ["", "{}", "[]", r#"{"errors":[{"error":"no controller"}],"jobs":[]}"#] {
            assert!(read(text.as_bytes(), "n1").is_err(), "{text}");
        }
    }

    #[test]
    fn gpu_numbers_by_table() {
        for (detail, expected) in [
            ("gpu:h100:3(IDX:0-2)", Some(vec![0, 1, 2])),
            ("gpu:2(IDX:1,3)", Some(vec![1, 3])),
            ("gres:gpu:h100:1(IDX:7)", Some(vec![7])),
            ("gpu:h100:1(IDX:0),gpu:l40:2(IDX:4-5)", Some(vec![0, 4, 5])),
            ("license:3(CNT:3),gpu:1(IDX:2)", Some(vec![2])),
            ("shard:h100:2(1/8,1/8)", Some(Vec::new())),
            ("(null)", Some(Vec::new())),
            ("gpu:1(IDX:N/A)", None),
            ("gpu:1", None),
            ("gpu:1(IDX:3-1)", None),
            ("gpu:1(IDX:0-4294967295)", None),
        ] {
            assert_eq!(gpu_numbers(detail).ok(), expected, "{detail}");
        }
    }

    #[test]
    fn lists_of_nodes_by_table() {
        let nodes = |list: &str| expand(list).map(|nodes| nodes.join(" "));
        for (list, expected) in [
            ("n1", Some("n1")),
            ("n[1-3,7]", Some("n1 n2 n3 n7")),
            ("n[08-10],m1", Some("n08 n09 n10 m1")),
            ("r[1-2]n[1-2]", Some("r1n1 r1n2 r2n1 r2n2")),
            ("n[1", None),
            ("n]1[", None),
            ("n[1-999999999]", None),
            ("", None),
        ] {
            assert_eq!(nodes(list).as_deref(), expected, "{list}");
        }
    }
}
