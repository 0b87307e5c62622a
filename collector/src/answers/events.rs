//! `events`: what happened, newest first, and of an XID what it means and asks for.

use clap::Args;
use serde::Deserialize;

use super::layout::{WIDTH, wrapped};
use super::{AnswerError, Hubs, Said, Told, URL, query, when};
use crate::ask::ask;
use crate::calendar;

const INDENT: &str = "    ";

#[derive(Debug, Args)]
pub struct Ask {
    /// Only of this hub [default: of all].
    #[arg(long)]
    hub: Option<String>,
    /// Only at this node.
    #[arg(long)]
    node: Option<String>,
    /// Only what is so urgent: page wakes somebody, a ticket is for working days.
    #[arg(long, value_parser = ["page", "ticket", "info"])]
    severity: Option<String>,
    /// A time with its offset, or a date, which is midnight UTC [default: all that is kept].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// As --from; what happened then is left out.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The newest so many, at most 10000.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/events`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    events: Vec<Event>,
    next_after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Event {
    at: String,
    hub: String,
    node: Option<String>,
    subject: Option<String>,
    kind: String,
    severity: String,
    text: String,
    code: Option<u32>,
    count: u32,
    xid: Option<Xid>,
}

#[derive(Debug, Deserialize)]
struct Xid {
    name: String,
    class: String,
    action: String,
    escalates: Option<String>,
    provenance: String,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let address = format!("/v1/events{}", query(&asked.parameters()?));
    let banner = Hubs::of(&asked.url).await?.banner;
    let (json, read) = ask(&asked.url, &address).await?;
    Ok(Told { banner, json, read }.json_or(asked.json, Answer::show))
}

impl Ask {
    fn parameters(&self) -> Result<Vec<(&'static str, String)>, AnswerError> {
        let mut parameters = vec![("limit", self.limit.to_string())];
        for (name, value) in
            [("hub", &self.hub), ("node", &self.node), ("severity", &self.severity)]
        {
            parameters.extend(value.clone().map(|value| (name, value)));
        }
        for (name, text) in [("from", &self.from), ("to", &self.to)] {
            if let Some(text) = text {
                parameters.push((name, calendar::rfc3339(when::time(name, text)?)));
            }
        }
        Ok(parameters)
    }
}

impl Answer {
    pub(super) fn show(&self) -> String {
        if self.events.is_empty() {
            return "no such event is kept\n".to_owned();
        }
        let mut text: String = self.events.iter().map(Event::show).collect();
        if self.next_after.is_some() {
            text.push_str("there are older ones: ask with a larger --limit, or an earlier --to\n");
        }
        text
    }
}

impl Event {
    /// A line with when, how urgent, where and what; below it the words.
    fn show(&self) -> String {
        let node = self.node.as_ref().map(|node| format!("/{node}")).unwrap_or_default();
        let subject = self.subject.as_ref().map(|of| format!(" {of}")).unwrap_or_default();
        let code = self.code.map(|code| format!(" {code}")).unwrap_or_default();
        let Self { at, hub, kind, severity, count, .. } = self;
        let times = if *count > 1 { format!(", {count} times") } else { String::new() };
        let what = format!("{hub}{node}{subject} {kind}{code}{times}");
        let head = format!("{at:20}  {severity:6}  ");
        let mut text = format!("{head}{}\n", below(&what, &" ".repeat(head.len())));
        let mut add = |words: &str| {
            if !words.trim().is_empty() {
                text.push_str(&format!("{INDENT}{}\n", below(words, INDENT)));
            }
        };
        add(&self.text);
        if let Some(xid) = &self.xid {
            add(&format!("{}; class {}", xid.name, xid.class));
            add(&xid.action);
            xid.escalates.iter().for_each(|words| add(words));
            add(&format!("after {}", xid.provenance));
        }
        text
    }
}

/// Lines that go on `indent` further right.
fn below(words: &str, indent: &str) -> String {
    wrapped(words, WIDTH.saturating_sub(indent.len())).join(&format!("\n{indent}"))
}
