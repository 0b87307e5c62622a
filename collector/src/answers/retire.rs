//! `retire`: a person says that a node is gone for good.

use clap::Args;
use serde::Deserialize;

use super::layout::field;
use super::{AnswerError, Hubs, Said, Told, URL};
use crate::ask::put;
use crate::retirement::RetirementText;

#[derive(Debug, Args)]
pub struct Ask {
    /// May be left out where there is only one hub.
    #[arg(long)]
    hub: Option<String>,
    /// The node that will not come back.
    #[arg(long)]
    node: String,
    /// Who stands for it.
    #[arg(long)]
    who: String,
    /// Why it will not come back.
    #[arg(long)]
    why: String,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `PUT /v1/retirements`
#[derive(Debug, Deserialize)]
struct Done {
    verdict: String,
    let_go: usize,
    retirement: RetirementText,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let text = RetirementText {
        node: asked.node.clone(),
        hub: asked.hub.clone(),
        who: asked.who.clone(),
        why: asked.why.clone(),
    };
    let banner = Hubs::of(&asked.url).await?.banner;
    let (json, read) = put(&asked.url, "/v1/retirements", text.to_json()).await?;
    Ok(Told { banner, json, read }.json_or(asked.json, Done::show))
}

impl Done {
    fn show(&self) -> String {
        let words = match self.let_go {
            0 => "it had nothing any more".to_owned(),
            let_go => format!(
                "lets go of {let_go} GPUs, meters and parts; what is read of them at another node \
                 is booked there from now on"
            ),
        };
        let RetirementText { node, who, why, .. } = &self.retirement;
        let by = format!("{who}: {why}");
        field(&self.verdict, node) + &field("", &words) + &field("by", &by)
    }
}
