//! `subrosa testnet`: a network on this machine, a process a node.

mod layout;
mod process;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directory::Network;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::json;
use wire::Epoch;

use crate::cli::TestnetCommand;
use crate::config::NodeConfig;
use crate::exit::Fault;
use crate::progress::Progress;
use crate::{model, network_file, scrape, services, shelf};

pub use layout::lay_out;
use layout::{draw, nodes, prepare_directory, remove};
use process::{running, spawn};

/// A sentence for the person who asked.
type Failure = String;

/// What `up` made, for `--json`.
#[derive(Debug, Serialize)]
pub struct Up {
    /// Whether questions can be asked.
    pub ok: bool,
    /// The file to hand to `--network`.
    pub network: PathBuf,
    /// How many processes were started.
    pub nodes: usize,
    /// How long it took.
    pub wall_s: f64,
}

/// One row of `status`.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    /// The node's name.
    pub node: String,
    /// Its role.
    pub role: &'static str,
    /// Its process, if it runs.
    pub pid: Option<i32>,
    /// Its counters, if its page of them answers.
    pub counters: Option<scrape::Counters>,
}

/// `subrosa testnet ...`
///
/// # Errors
/// [`Fault`] with a sentence for the person who asked.
pub async fn command(command: TestnetCommand) -> Result<(), Fault> {
    match command {
        TestnetCommand::Up { dir, models, json } => {
            let up = interruptible(&dir, &models, json).await?;
            if json {
                print_json(&up)
            } else {
                print_text(&format!(
                    "{} nodes run; the network is ready after {:.1} s\n\
                     ask:   subrosa ask --network {network} --model tumour --input FILE\n\
                     watch: subrosa testnet status {dir}\n\
                     stop:  subrosa testnet down {dir}\n",
                    up.nodes,
                    up.wall_s,
                    network = up.network.display(),
                    dir = dir.display(),
                ))
            }
        }
        TestnetCommand::Status { dir, json } => {
            let rows = status(&dir).await.map_err(Fault::usage)?;
            if json {
                print_json(&json!({ "nodes": rows }))
            } else {
                print_text(&table(&rows))
            }
        }
        TestnetCommand::Down { dir, json } => {
            let stopped = down(&dir).await.map_err(Fault::usage)?;
            if json {
                print_json(&json!({ "stopped": stopped }))
            } else {
                print_text(&format!("{stopped} nodes stopped\n"))
            }
        }
        TestnetCommand::Start { dir, node } => {
            start(&dir, &node).map_err(Fault::usage)?;
            print_text(&format!("{node} started\n"))
        }
    }
}

/// Ctrl-C while the network starts leaves no process behind.
async fn interruptible(dir: &Path, models: &[PathBuf], json: bool) -> Result<Up, Fault> {
    // Before anything is made.
    for path in models {
        model::read(path)?;
    }
    prepare_directory(dir).map_err(|why| Fault::usage(format!("testnet: {why}")))?;
    let progress = Progress::for_people(json);
    let outcome = tokio::select! {
        outcome = up(dir, models, &progress) => Some(outcome),
        _ = tokio::signal::ctrl_c() => None,
    };
    match outcome {
        Some(outcome) => outcome.map_err(|why| Fault::failed(format!("testnet: {why}"))),
        None => {
            let _ = down(dir).await;
            Err(Fault::failed("testnet: interrupted; nothing runs"))
        }
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string(value).map_err(Fault::failed)?;
    print_text(&format!("{text}\n"))
}

fn print_text(text: &str) -> Result<(), Fault> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(Fault::output)
}

fn table(rows: &[NodeStatus]) -> String {
    let mut text = format!(
        "{:<13}{:>8}{:>10}{:>9}{:>10}{:>10}{:>9}{:>7}\n",
        "node", "process", "received", "made", "sent", "consumed", "refused", "held"
    );
    for row in rows {
        let pid = row
            .pid
            .map_or_else(|| "down".to_owned(), |pid| pid.to_string());
        let counters = row.counters.clone().unwrap_or_default();
        let of = |kind: &str| counters.of(kind);
        text.push_str(&format!(
            "{:<13}{pid:>8}{:>10}{:>9}{:>10}{:>10}{:>9}{:>7}\n",
            row.node,
            of("received"),
            of("made"),
            of("sent"),
            of("consumed"),
            of("refused"),
            of("held"),
        ));
        let reasons: Vec<String> = counters
            .refused
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        if !reasons.is_empty() {
            text.push_str(&format!("{:>13}refused: {}\n", "", reasons.join(", ")));
        }
    }
    text.push_str("counters are rounded to ten-second buckets\n");
    text
}

/// Writes configs and keys into `dir`, which is empty, gives provider-1 `models`, starts every node,
/// waits until all models are listed.
///
/// # Errors
/// A sentence naming what failed; what was started is stopped again.
pub async fn up(dir: &Path, models: &[PathBuf], progress: &Progress) -> Result<Up, Failure> {
    let started = services().clock.now();
    let mut start_up = START_UP;
    let nodes = loop {
        let nodes = lay_out(dir, &draw(start_up)?)?;
        for path in models {
            shelf::add(&dir.join("provider-1"), path).map_err(|e| e.line().to_owned())?;
        }
        progress.say(&format!(
            "{} nodes laid out in {}",
            nodes.len(),
            dir.display()
        ));
        match start_and_wait(dir, &nodes, models.len(), progress).await {
            Ok(()) => break nodes,
            Err(NotReady::Slow) if start_up == START_UP => {
                progress.say("too slow for the first vote; once more with more time");
                let _ = down(dir).await;
                remove(dir, &nodes)?;
                start_up = START_UP * 4;
            }
            Err(why) => {
                let _ = down(dir).await;
                return Err(why.told(dir));
            }
        }
    };
    Ok(Up {
        ok: true,
        network: dir.join(NETWORK_FILE),
        nodes: nodes.len(),
        wall_s: services().clock.now().since(started).as_secs_f64(),
    })
}

/// Why a network that was started cannot be asked.
enum NotReady {
    /// A node missed the first document.
    Slow,
    /// A node ended.
    Ended(String),
    /// Something else.
    Other(Failure),
}

impl NotReady {
    fn told(&self, dir: &Path) -> Failure {
        let dir = dir.display();
        match self {
            Self::Slow => {
                format!("not every model was listed in time; the logs are {dir}/*/{LOG_FILE}")
            }
            Self::Ended(node) => format!("{node} stopped; its log is {dir}/{node}/{LOG_FILE}"),
            Self::Other(why) => why.clone(),
        }
    }
}

/// Starts one node of a testnet again.
///
/// # Errors
/// A sentence, if there is no such node, it runs already, or it cannot be started.
pub fn start(dir: &Path, node: &str) -> Result<(), Failure> {
    let known = nodes(dir)?;
    if !known.iter().any(|name| name == node) {
        let hint = client::nearest(node, known.iter().map(String::as_str))
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default();
        return Err(format!("{}: no node {node:?}{hint}", dir.display()));
    }
    if let Some(pid) = running(dir, node) {
        return Err(format!(
            "{node} runs already as process {}",
            pid.as_raw_nonzero()
        ));
    }
    spawn(dir, node)
}

/// The state of every node.
///
/// # Errors
/// A sentence, if `dir` holds no testnet.
pub async fn status(dir: &Path) -> Result<Vec<NodeStatus>, Failure> {
    let mut rows = Vec::new();
    for node in nodes(dir)? {
        let config = NodeConfig::read(&dir.join(&node)).map_err(|e| e.to_string())?;
        let counters = match config.metrics.listen {
            Some(address) => scrape::counters(address).await.ok(),
            None => None,
        };
        let pid = running(dir, &node).map(|pid| pid.as_raw_nonzero().get());
        rows.push(NodeStatus {
            node,
            role: config.role.label(),
            pid,
            counters,
        });
    }
    Ok(rows)
}

/// Stops every node that runs: asks, waits, then ends it. Returns how many there were.
///
/// # Errors
/// A sentence, if `dir` holds no testnet.
pub async fn down(dir: &Path) -> Result<usize, Failure> {
    let names = nodes(dir)?;
    let running_now: Vec<(String, Pid)> = names
        .iter()
        .filter_map(|node| Some((node.clone(), running(dir, node)?)))
        .collect();
    for (_, pid) in &running_now {
        let _ = kill_process(*pid, Signal::TERM);
    }
    for _ in 0..100 {
        if running_now
            .iter()
            .all(|(node, _)| running(dir, node).is_none())
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (node, _) in &running_now {
        if let Some(pid) = running(dir, node) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_file(dir.join(node).join(PID_FILE));
    }
    Ok(running_now.len())
}

async fn start_and_wait(
    dir: &Path,
    nodes: &[String],
    added: usize,
    progress: &Progress,
) -> Result<(), NotReady> {
    for node in nodes {
        spawn(dir, node).map_err(NotReady::Other)?;
    }
    progress.say("processes started; the authorities vote on the first directory document");
    let network = network_file::read(&dir.join(NETWORK_FILE));
    let network = network.map_err(|e| NotReady::Other(e.to_string()))?;
    let to_genesis = network.genesis().since(services().clock.now());
    let models = compiler::shipped().len() + added;
    let listed = all_models_listed(dir, nodes, models, network);
    let outcome = tokio::time::timeout(to_genesis + READY_WITHIN, listed).await;
    outcome.unwrap_or(Err(NotReady::Slow))
}

async fn all_models_listed(
    dir: &Path,
    nodes: &[String],
    models: usize,
    network: Network,
) -> Result<(), NotReady> {
    // Anonymous providers publish through the mixes, by the first document: the second one is
    // the first that can list them. Who is not in it comes an epoch later.
    let second = network.schedule().start(Epoch(2)).after(SECOND_DOCUMENT);
    loop {
        if let Some(node) = nodes.iter().find(|node| running(dir, node).is_none()) {
            return Err(NotReady::Ended(node.clone()));
        }
        let joined = client::Client::builder()
            .network(network.clone())
            .connect(services())
            .await;
        if let Ok(client) = joined {
            let complete = client.models().len() >= models;
            client.close().await;
            if complete {
                return Ok(());
            }
            if services().clock.now() > second {
                return Err(NotReady::Slow);
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// A network's description in a testnet's directory.
pub const NETWORK_FILE: &str = "network.toml";

/// The name of a node's identity among its keys.
pub const IDENTITY_KEY: &str = "identity";

const PID_FILE: &str = "pid";
const LOG_FILE: &str = "log";
/// For the nodes' processes to start before their descriptors are due.
const START_UP: Duration = Duration::from_secs(3);
/// For the second document to reach everybody.
const SECOND_DOCUMENT: Duration = Duration::from_secs(3);
/// After the genesis.
const READY_WITHIN: Duration = Duration::from_secs(30);
