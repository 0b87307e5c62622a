//! The command line: `run`, `check`, `once`, `pause`, `hold`, `calibrate`, `simulate`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bijli_wire::{Millijoules, Millis};
use clap::{Args, Parser, Subcommand};

use crate::clock::Clock;
use crate::config::{self, CollectorUrl, Config};
use crate::schedule::words;
use crate::simulate::{self, Plan, Size};
use crate::{agent, calibrate, holders, pause, probe, report};

/// Shares of time (processor load) need two readings, a second apart.
const ONCE_ROUNDS: u32 = 2;
const ONCE_PAUSE: Millis = Millis::new(1_000);
/// An agent answers within a second or two; NVML's finder looks each minute.
const PAUSE_WAIT: Millis = Millis::new(500);
const PAUSE_WAITS: u64 = 150;

/// Meters the energy of this node or facility, and streams it to the collector.
#[derive(Debug, Parser)]
#[command(name = "bijli-agent", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures, spools and sends until it is stopped.
    Run(At),
    /// Says what is configured, what can be measured here, and what stands in the way.
    Check {
        #[command(flatten)]
        at: At,
        /// As JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Reads everything once and prints it.
    Once {
        #[command(flatten)]
        at: At,
        /// As JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Lets go of the GPUs for a while, so that their driver can be changed.
    Pause {
        #[command(flatten)]
        at: At,
        /// It ends by itself: "30m".
        #[arg(long = "for", default_value = "30m", value_parser = duration)]
        span: Millis,
    },
    /// Notes that a job begins or ends here: for Slurm's prolog and epilog (agent/slurm/).
    Hold {
        /// Which of both.
        edge: holders::Edge,
        /// Where the agent finds the note.
        #[arg(long, default_value = holders::FOLDER)]
        dir: PathBuf,
    },
    /// Ends a pause before its time.
    Resume(At),
    /// Compares the GPUs' registers with a better meter at steady loads, and writes a record.
    Calibrate(Calibrate),
    /// Plays a simulated hub through real spools and links.
    Simulate(Simulate),
}

#[derive(Debug, Args)]
struct At {
    /// The configuration.
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Calibrate {
    #[command(flatten)]
    at: At,
    /// The reference: a meter of this configuration, or this node's own register.
    #[arg(long, value_name = "ID", conflicts_with = "typed", required_unless_present = "typed")]
    meter: Option<String>,
    /// Somebody reads the reference and types what it shows, at both ends of each step.
    #[arg(long)]
    typed: bool,
    /// Accuracy class of the reference, in percent of what it shows: "0.5".
    #[arg(long, value_name = "PERCENT", value_parser = ppm)]
    class: u32,
    /// Least difference that a typed reading can show: "10 Wh".
    #[arg(long, value_parser = energy, default_value = "10 Wh")]
    resolution: Millijoules,
    /// How far apart in time both may be read [default: 1s for a meter, 2s typed].
    #[arg(long, value_parser = duration)]
    timing: Option<Millis>,
    /// Share of the reference's energy that reaches the GPUs, in percent: "94".
    #[arg(long, value_name = "PERCENT", value_parser = ppm, default_value = "100")]
    efficiency: u32,
    /// Steady loads, least to most or in any order.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Length of each step.
    #[arg(long, value_parser = duration, default_value = "10m")]
    each: Millis,
    /// What passes between a new load and the first reading.
    #[arg(long, value_parser = duration, default_value = "1m")]
    settle: Millis,
    /// Who signs it off.
    #[arg(long)]
    who: String,
    /// The occasion.
    #[arg(long)]
    why: String,
    /// Where the record goes; it is not there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Simulate {
    #[arg(long, default_value = "http://127.0.0.1:8640")]
    collector: String,
    /// For an https collector: the senders' certificates, a folder each (see --print-senders).
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Where jobs are told, in plain HTTP [default: the collector].
    #[arg(long, value_name = "URL")]
    allocations: Option<String>,
    /// Where the senders' spools go; empty or not there yet.
    #[arg(long, required_unless_present_any = ["print_diagram", "print_senders"])]
    dir: Option<PathBuf>,
    #[arg(long, default_value_t = 16)]
    nodes: u32,
    /// GPUs of each node.
    #[arg(long, default_value_t = 8)]
    gpus: u32,
    /// Another number is another history.
    #[arg(long)]
    seed: Option<u64>,
    /// How much simulated past is played first: "1h".
    #[arg(long, default_value = "1h", value_parser = duration)]
    history: Millis,
    /// How often the grid is shed: "5m".
    #[arg(long, value_parser = duration)]
    shedding_every: Option<Millis>,
    /// Simulated seconds per second while in the past [default: as fast as it is acked].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    speed: Option<u64>,
    /// Prints the collector's configuration of this hub, and ends.
    #[arg(long)]
    print_diagram: bool,
    /// Prints the senders' names, one a line, and ends.
    #[arg(long)]
    print_senders: bool,
    /// Ends so long after the past is over, when everything is acked: "2m".
    #[arg(long = "for", value_parser = duration)]
    live_for: Option<Millis>,
    /// Writes the hub's exact energies here at the end.
    #[arg(long)]
    truth: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Millis, String> {
    bijli_wire::quantity::duration(text).map_err(|e| e.to_string())
}

fn energy(text: &str) -> Result<Millijoules, String> {
    bijli_wire::quantity::energy(text).map_err(|e| e.to_string())
}

/// A percentage of at most 100, in millionths of one.
fn ppm(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches(['%', ' ']);
    let percent = bijli_wire::quantity::Decimal::parse(number);
    let ppm = percent.and_then(|p| p.digits.checked_mul(10_000)?.checked_div(p.denominator()));
    let ppm = ppm.filter(|ppm| *ppm <= 1_000_000).and_then(|ppm| u32::try_from(ppm).ok());
    ppm.ok_or_else(|| format!("{text:?} is no percentage of at most 100: write for example 0.5"))
}

/// Parses the arguments and does what they ask.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match perform(cli.command) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("bijli-agent: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(at) => {
            let config = load(&at)?;
            if config.is_plain_http_abroad {
                tracing::warn!(
                    "readings go to {} in plain text: anybody on the way can read and alter them",
                    config.collector
                );
            }
            agent::block_on(Box::pin(agent::run(config))).context("cannot start the runtime")??;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { at, json } => check(&load(&at)?, json),
        Command::Once { at, json } => once(&load(&at)?, json),
        Command::Pause { at, span } => pause(&load(&at)?, span),
        Command::Resume(at) => {
            let dir = load(&at)?.spool_dir;
            pause::end(&dir)
                .with_context(|| format!("cannot end the pause in {}", dir.display()))?;
            println!("the agent takes the GPUs again within a minute");
            Ok(ExitCode::SUCCESS)
        }
        Command::Hold { edge, dir } => Ok(hold(edge, &dir)),
        Command::Calibrate(arguments) => compare(arguments),
        Command::Simulate(arguments) => simulate(arguments),
    }
}

/// Leaves a record for the agent. A job never fails by it: what goes wrong is said, that is all.
fn hold(edge: holders::Edge, dir: &std::path::Path) -> ExitCode {
    let clock = Clock::new();
    let when = holders::When {
        at_ms: clock.utc().get(),
        uptime_ms: clock.uptime().get(),
        boot: probe::boot_id(),
    };
    if std::env::var("SLURM_JOB_ID").unwrap_or_default().is_empty() {
        eprintln!("bijli-agent hold: no SLURM_JOB_ID is set: Slurm's prolog and epilog call this");
    }
    let record = holders::Record::of(edge, when, &|name| std::env::var(name).ok());
    let left = record.map(|record| holders::leave(dir, &record, std::process::id()));
    if let Some(Err(e)) = left {
        let job = std::env::var("SLURM_JOB_ID").unwrap_or_default();
        eprintln!("bijli-agent hold: job {job:?} is not noted in {}: {e}", dir.display());
    }
    ExitCode::SUCCESS
}

/// Says everything on standard output, and writes the record into its file.
fn compare(arguments: Calibrate) -> anyhow::Result<ExitCode> {
    let config = load(&arguments.at)?;
    let out = &arguments.out;
    anyhow::ensure!(
        !out.try_exists().unwrap_or(false),
        "{} is there already: a record is not written over",
        out.display()
    );
    let slack = Millis::new(if arguments.typed { 2_000 } else { 1_000 });
    let plan = calibrate::Plan {
        hub: config.hub.clone(),
        node: config.node.clone(),
        meter: arguments.meter,
        class_ppm: arguments.class,
        resolution: arguments.resolution,
        timing: arguments.timing.unwrap_or(slack),
        efficiency_ppm: arguments.efficiency,
        steps: arguments.steps,
        each: arguments.each,
        settle: arguments.settle,
        who: arguments.who,
        why: arguments.why,
    };
    let probes = probe::build(&config.probes, &agent::context(&config)?);
    let (mut typed, mut told) = (std::io::stdin().lock(), std::io::stdout().lock());
    let record = calibrate::run(&plan, probes, &mut typed, &mut told)?;
    writeln!(told, "\n{}", record.text())?;
    let json = record.json();
    let written =
        std::fs::File::create_new(out).and_then(|mut file| file.write_all(json.as_bytes()));
    if written.is_err() {
        // An hour's work is not lost to a full disk.
        writeln!(told, "{json}")?;
    }
    written.with_context(|| format!("cannot write {}; the record is above", out.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks, and waits until the agent says that it has let go.
fn pause(config: &Config, span: Millis) -> anyhow::Result<ExitCode> {
    let (clock, dir) = (Clock::new(), &config.spool_dir);
    let until = pause::begin(dir, clock.utc(), span)
        .with_context(|| format!("cannot ask in {}", dir.display()))?;
    for _ in 0..PAUSE_WAITS {
        if pause::is_released(dir) {
            println!("the GPUs are let go of until {until}, or until `bijli-agent resume`");
            return Ok(ExitCode::SUCCESS);
        }
        clock.sleep(PAUSE_WAIT);
    }
    pause::end(dir).ok();
    anyhow::bail!(
        "the agent did not let go within {} s, and the pause is taken back: it does not run with \
         this spool ({}), or a call to a GPU does not return (see its log)",
        PAUSE_WAIT.get() * PAUSE_WAITS / 1_000,
        dir.display()
    )
}

fn load(at: &At) -> anyhow::Result<Config> {
    Ok(config::load(&at.config, &|key| std::env::var(key).ok())?)
}

fn simulate(arguments: Simulate) -> anyhow::Result<ExitCode> {
    let size = Size {
        nodes: arguments.nodes,
        gpus_per_node: arguments.gpus,
        seed: arguments.seed,
        shedding_every: arguments.shedding_every,
    };
    if arguments.print_diagram {
        print!("{}", simulate::diagram(&size)?);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.print_senders {
        print!("{}", simulate::senders(&size)?);
        return Ok(ExitCode::SUCCESS);
    }
    let url = |text: &str| CollectorUrl::parse(text).map_err(anyhow::Error::msg);
    let collector = url(&arguments.collector)?;
    anyhow::ensure!(
        collector.is_tls == arguments.tls.is_some(),
        "https needs --tls, http has none"
    );
    let allocations = url(arguments.allocations.as_deref().unwrap_or(&arguments.collector))?;
    anyhow::ensure!(!allocations.is_tls, "--allocations is missing: jobs are told in plain HTTP");
    let plan = Plan {
        collector,
        tls: arguments.tls,
        allocations,
        dir: arguments.dir.context("--dir is missing")?,
        size,
        history: arguments.history,
        speed: arguments.speed,
        live_for: arguments.live_for,
        truth: arguments.truth,
    };
    agent::block_on(Box::pin(simulate::run(plan))).context("cannot start the runtime")??;
    Ok(ExitCode::SUCCESS)
}

fn check(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let context = agent::context(config)?;
    let mut findings = report::survey(probe::build(&config.probes, &context));
    let problems = problems(config, &findings);
    let surveyed = holders::survey(&config.slurm, &config.watch, &context, Clock::new());
    findings.extend(report::holders(surveyed, &findings));
    if as_json {
        print!("{}", report::check::json(&findings, &problems));
    } else {
        print!("{}\n{}\n", settings(config), report::check::text(&findings));
        print!("{}", report::check::problems(&problems));
        if problems.is_empty() {
            println!("ready");
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The configuration in force, in words.
fn settings(config: &Config) -> String {
    let spool = config.spool_dir.display();
    let metrics = config
        .listen
        .map_or_else(|| "not served".to_owned(), |listen| format!("http://{listen}/metrics"));
    let rows = [
        ("hub", config.hub.to_string()),
        ("node", config.node.to_string()),
        ("spool", format!("{spool}, at most {} MiB", config.limits.bytes_max >> 20)),
        ("batch", format!("every {} s", config.batch.get() / 1_000)),
        ("metrics", metrics),
        ("collector", config.collector.to_string()),
    ];
    let mut text: String = rows.iter().map(|(key, value)| format!("{key:9}  {value}\n")).collect();
    for meter in &config.probes.modbus {
        if let Some(words) = meter.resolved() {
            text.push_str(&format!("meter      {}\n           {words}\n", meter.meter));
        }
    }
    for device in &config.probes.snmp {
        let words = device.resolved();
        text.push_str(&format!("device     {}\n           {words}\n", device.address));
    }
    for line in certificate(config) {
        text.push_str(&format!("           {line}\n"));
    }
    if config.is_plain_http_abroad {
        text.push_str("           in plain text to another machine, as configured\n");
    }
    text
}

/// Whom the certificate files name, and for how long.
fn certificate(config: &Config) -> Vec<String> {
    const DAY_MS: u64 = 86_400_000;
    let Some(Ok(material)) = config.tls.as_ref().map(bijli_identity::Files::load) else {
        return Vec::new();
    };
    let now = Clock::new().utc();
    let left = |certificate: &bijli_identity::Certificate| match certificate.left(now) {
        Some(left) => format!("{} days left", left.get() / DAY_MS),
        None => "EXPIRED (or this clock is wrong)".to_owned(),
    };
    let authorities = material.authorities.iter().map(|authority| &authority.facts);
    let believed = authorities.map(|facts| {
        let holder = facts.holder.as_ref().map_or("an authority".to_owned(), ToString::to_string);
        format!("believes {holder}, {}", left(facts))
    });
    let holder = material.own.holder.as_ref().map(ToString::to_string).unwrap_or_default();
    [format!("as {holder}, {}", left(&material.own))].into_iter().chain(believed).collect()
}

/// What stands in the way, in words.
fn problems(config: &Config, findings: &[report::Finding]) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(e) = config::try_write(&config.spool_dir) {
        let dir = config.spool_dir.display();
        problems.push(format!("the spool's directory {dir} cannot be written: {e}"));
    }
    if let Err(e) = reach(config) {
        problems.push(format!("the collector {} cannot be reached: {e}", config.collector));
    }
    let can_measure = |finding: &report::Finding| {
        finding.outcome.as_ref().is_ok_and(|description| !description.series.is_empty())
    };
    if !findings.iter().any(can_measure) {
        problems.push("nothing can be measured here".to_owned());
    }
    problems
}

/// Connects as the agent would, certificates included.
fn reach(config: &Config) -> Result<(), String> {
    let route = agent::route(config, Clock::new()).map_err(|e| words(&e))?;
    match agent::block_on(Box::pin(route.connect())) {
        Ok(connected) => connected.map(drop),
        Err(e) => Err(words(&e)),
    }
}

fn once(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let clock = Clock::new();
    let mut rounds = 0;
    let findings = report::survey_and_read(
        probe::build(&config.probes, &agent::context(config)?),
        ONCE_ROUNDS,
        || {
            if rounds > 0 {
                clock.sleep(ONCE_PAUSE);
            }
            rounds += 1;
            probe::Tick { utc: clock.utc(), monotonic: clock.now() }
        },
    );
    if as_json {
        print!("{}", report::once::json(&findings));
    } else {
        print!("{}", report::once::text(&findings));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn percentages_are_exact_and_at_most_all() {
        assert_eq!(ppm("0.5"), Ok(5_000));
        assert_eq!(ppm("94 %"), Ok(940_000));
        assert_eq!(ppm("100"), Ok(1_000_000));
        for text in ["101", "-1", "half", ""] {
            assert!(ppm(text).expect_err(text).contains("no percentage"), "{text}");
        }
    }
}
