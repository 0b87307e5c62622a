//! A sender as an agent is one to its collector: the agent's own state machine and client over a
//! connection of its own. In the place of a spool are batches that are made when they are sent.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bijli_agent::clock::Clock;
use bijli_agent::config::CollectorUrl;
use bijli_agent::uplink::connect::Route;
use bijli_agent::uplink::http::{Answer, Client, LinkError};
use bijli_agent::uplink::{Attempt, Effect, Event, Jitter, Uplink};
use bijli_wire::hello::Span;
use bijli_wire::{
    Ack, Batch, BatchSeq, ContentHash, Greeting, Hello, Matrix, SchemaId, SpoolEpoch, UtcMillis,
    Welcome, codec,
};
use harness::schema::of_one_gpu;
use hyper::Method as Verb;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

/// Of each sender.
pub const BACKLOG: u64 = 24;
/// It takes some seconds; this is for a machine that does much else.
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// A batch says that the register rose by so much in a second.
pub const STEP_MJ: i64 = 100_000;

/// What all senders did together.
#[derive(Debug, Default)]
pub struct Tally {
    pub under_way: Cell<u64>,
    /// The most at once.
    pub peak: Cell<u64>,
    pub sent: Cell<u64>,
    pub refused: Cell<u64>,
    pub lost: Cell<u64>,
}

/// Everybody at once, until everybody has drained.
pub fn drain_all(senders: u64, port: u16) -> Rc<Tally> {
    let begin_ms = i64::try_from(harness::utc_ms()).expect("small") - 2 * 3_600_000;
    let tally = Rc::new(Tally::default());
    let runtime = Builder::new_current_thread().enable_all().build().expect("starts");
    let everybody = LocalSet::new();
    for number in 0..senders {
        let sender = Sender::new(number, port, begin_ms, &tally);
        everybody.spawn_local(sender.drain());
    }
    let in_time = async { timeout(DRAIN_MAX, everybody).await };
    runtime.block_on(in_time).expect("all are drained in time");
    tally
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// A request that is on its way.
#[derive(Clone, Copy)]
enum Asked {
    Hello(Attempt),
    Schema(Attempt),
    Batch(BatchSeq, Attempt, ContentHash),
}

type Heard = (Asked, Result<Answer, LinkError>);

struct Sender {
    greeting: Greeting,
    schema: (SchemaId, Vec<u8>),
    begin_ms: i64,
    clock: Clock,
    route: Route,
    client: Client,
    up: Uplink,
    requests: JoinSet<Heard>,
    /// Batches under way, and how many may be.
    under_way: u64,
    credits: u64,
    released: u64,
    tally: Rc<Tally>,
}

impl Sender {
    fn new(number: u64, port: u16, begin_ms: i64, tally: &Rc<Tally>) -> Self {
        let node = format!("n{number:04}");
        let schema = of_one_gpu("isb", &node, &format!("GPU-{node}"));
        let (hub, node) = (schema.hub.clone(), schema.node.clone());
        let epoch = SpoolEpoch::new([7; 16]);
        let next = BatchSeq::new(BACKLOG + 1).expect("from 1");
        let route = Route::plain(CollectorUrl::plain("127.0.0.1", port));
        Self {
            schema: codec::encode_schema(&schema).expect("encodes"),
            greeting: Greeting { hub, node, epoch, span: Span { oldest: BatchSeq::FIRST, next } },
            begin_ms,
            clock: Clock::new(),
            client: Client::new(route.clone()),
            route,
            up: Uplink::new(epoch, BatchSeq::FIRST, next, Jitter::new(number)),
            requests: JoinSet::new(),
            under_way: 0,
            credits: 4,
            released: 0,
            tally: Rc::clone(tally),
        }
    }

    /// Sends until all is acked.
    async fn drain(mut self) {
        self.tell(Event::Tick);
        while self.released < BACKLOG {
            let wake = self.up.wake_at().map(|at| at.since(self.clock.now()).get());
            let pause = Duration::from_millis(wake.unwrap_or(1_000));
            let heard = async {
                match self.requests.join_next().await {
                    Some(heard) => heard.expect("nobody ends it"),
                    None => std::future::pending().await,
                }
            };
            match timeout(pause, heard).await {
                Ok((asked, outcome)) => self.hear(asked, outcome),
                Err(_) => self.tell(Event::Tick),
            }
        }
    }

    fn hear(&mut self, asked: Asked, outcome: Result<Answer, LinkError>) {
        if matches!(asked, Asked::Batch(..)) {
            self.under_way -= 1;
            self.tally.under_way.set(self.tally.under_way.get() - 1);
            if matches!(outcome, Ok(Answer::Refused { .. })) {
                add(&self.tally.refused);
            }
        }
        let event = event(asked, outcome, self.greeting.epoch);
        if let Event::Welcomed { credits: Some(credits), .. } = &event {
            self.credits = u64::from(*credits);
        }
        if let Event::Acked { ack: Ack { credits: Some(credits), .. }, .. } = &event {
            self.credits = u64::from(*credits);
        }
        self.tell(event);
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.up.on_event(event, self.clock.now(), &mut effects);
        for effect in effects {
            match effect {
                Effect::SayHello { attempt, .. } => self.greet(attempt),
                Effect::PutSchema { attempt, .. } => {
                    let (id, body) = self.schema.clone();
                    self.ask(Asked::Schema(attempt), Verb::PUT, format!("/v1/schemas/{id}"), body);
                }
                Effect::Send { sequence, attempt } => self.send(sequence, attempt),
                Effect::Release { through } => self.released = through.get(),
                Effect::Disconnect => self.hang_up(),
                other => panic!("nothing was lost, and yet {other:?}"),
            }
        }
    }

    fn greet(&mut self, attempt: Attempt) {
        let hello = Hello::new(&self.greeting, self.clock.utc());
        let body = serde_json::to_vec(&hello).expect("plain");
        self.ask(Asked::Hello(attempt), Verb::POST, "/v1/hello".to_owned(), body);
    }

    fn send(&mut self, sequence: BatchSeq, attempt: Attempt) {
        let body = self.body(sequence);
        self.under_way += 1;
        let Greeting { node, .. } = &self.greeting;
        assert!(self.under_way <= self.credits, "{node} is over its {} credits", self.credits);
        let tally = &self.tally;
        add(&tally.sent);
        add(&tally.under_way);
        tally.peak.set(tally.peak.get().max(tally.under_way.get()));
        let asked = Asked::Batch(sequence, attempt, codec::hash(&body));
        self.ask(asked, Verb::POST, "/v1/batches".to_owned(), body);
    }

    fn ask(&mut self, asked: Asked, verb: Verb, path: String, body: Vec<u8>) {
        let client = self.client.clone();
        self.requests.spawn_local(async move {
            let outcome = client.ask(verb, &path, "application/x-bijli-batch", body).await;
            (asked, outcome)
        });
    }

    fn hang_up(&mut self) {
        add(&self.tally.lost);
        self.requests = JoinSet::new();
        self.client = Client::new(self.route.clone());
        self.tally.under_way.set(self.tally.under_way.get() - self.under_way);
        self.under_way = 0;
    }

    fn body(&self, sequence: BatchSeq) -> Vec<u8> {
        let row = i64::try_from(sequence.get()).expect("small");
        let at = UtcMillis::new(self.begin_ms + row * 1_000);
        let matrix = Matrix { group: 0, times: vec![at], columns: vec![vec![Some(row * STEP_MJ)]] };
        let batch = Batch {
            hub: self.greeting.hub.clone(),
            node: self.greeting.node.clone(),
            epoch: self.greeting.epoch,
            sequence,
            schema: self.schema.0,
            created: at,
            uptime: None,
            matrices: vec![matrix],
            events: Vec::new(),
            holds: Vec::new(),
        };
        codec::encode_batch(&batch).expect("encodes")
    }
}

/// What an answer says to the state machine.
fn event(asked: Asked, outcome: Result<Answer, LinkError>, epoch: SpoolEpoch) -> Event {
    let (Asked::Hello(attempt) | Asked::Schema(attempt) | Asked::Batch(_, attempt, _)) = asked;
    match (asked, outcome) {
        (_, Err(_)) => Event::LinkLost { attempt },
        (Asked::Hello(_), Ok(Answer::Ok(body))) => {
            let welcome: Welcome = serde_json::from_slice(&body).expect("a welcome");
            let reached = welcome.reached(epoch).expect("of this epoch");
            Event::Welcomed { attempt, reached, credits: welcome.credits }
        }
        (Asked::Hello(_), Ok(Answer::Refused { code, retry_after, .. })) => {
            Event::HelloRefused { attempt, code, retry_after }
        }
        (Asked::Schema(_), Ok(Answer::Ok(_))) => Event::SchemaStored { attempt },
        (Asked::Schema(_), Ok(Answer::Refused { code, retry_after, .. })) => {
            Event::SchemaRefused { attempt, code, retry_after }
        }
        (Asked::Batch(sequence, _, hash), Ok(Answer::Ok(body))) => {
            let ack: Ack = serde_json::from_slice(&body).expect("an ack");
            Event::Acked { sequence, attempt, hash, ack }
        }
        (Asked::Batch(sequence, ..), Ok(Answer::Refused { code, retry_after, .. })) => {
            Event::Refused { sequence, attempt, code, retry_after }
        }
    }
}
