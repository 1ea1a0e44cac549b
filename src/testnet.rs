//! `subrosa testnet`: a network on this machine, a process a node.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use directory::{Network, Parameters};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Serialize;
use serde_json::json;
use store::StateDir;

use crate::cli::TestnetCommand;
use crate::config::{LinkSection, MetricsSection, NODE_FILE, NodeConfig, ProviderSection, Role};
use crate::exit::Fault;
use crate::plan::{Counts, Plan, PlannedNode};
use crate::progress::Progress;
use crate::{network_file, scrape, services};

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
        TestnetCommand::Up { dir, json } => {
            let up = interruptible(&dir, json).await?;
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
async fn interruptible(dir: &Path, json: bool) -> Result<Up, Fault> {
    let progress = Progress::for_people(json);
    let outcome = tokio::select! {
        outcome = up(dir, &progress) => Some(outcome),
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

/// Writes configs and keys into `dir`, starts every node, waits until models are listed.
///
/// # Errors
/// A sentence naming what failed; what was started is stopped again.
pub async fn up(dir: &Path, progress: &Progress) -> Result<Up, Failure> {
    let started = services().clock.now();
    prepare_directory(dir)?;
    let nodes = lay_out(dir)?;
    progress.say(&format!(
        "{} nodes laid out in {}",
        nodes.len(),
        dir.display()
    ));
    let outcome = start_and_wait(dir, &nodes, progress).await;
    if let Err(why) = outcome {
        let _ = down(dir).await;
        return Err(why);
    }
    Ok(Up {
        ok: true,
        network: dir.join(NETWORK_FILE),
        nodes: nodes.len(),
        wall_s: services().clock.now().since(started).as_secs_f64(),
    })
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

fn prepare_directory(dir: &Path) -> Result<(), Failure> {
    if dir.join(NETWORK_FILE).exists() {
        return Err(format!(
            "{} holds a testnet already; run `subrosa testnet down {0}` and remove it, or name \
             another directory",
            dir.display()
        ));
    }
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    if entries.next().is_some() {
        return Err(format!(
            "{} is not empty; name a new directory",
            dir.display()
        ));
    }
    Ok(())
}

fn lay_out(dir: &Path) -> Result<Vec<String>, Failure> {
    let services = services();
    let (now, mut rng) = (services.clock.now(), services.entropy.rng());
    let plan = Plan::draw(now, &mut *rng, Counts::default(), Parameters::demo())
        .map_err(|e| format!("no free ports: {e}"))?;
    for node in &plan.nodes {
        lay_out_node(dir, node)?;
    }
    // Last: its presence says that the directory is complete.
    let path = dir.join(NETWORK_FILE);
    fs::write(&path, network_file::text(&plan.network))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(plan.nodes.into_iter().map(|node| node.name).collect())
}

fn lay_out_node(dir: &Path, node: &PlannedNode) -> Result<(), Failure> {
    let home = dir.join(&node.name);
    fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    StateDir::open(home.join("data"))
        .and_then(|data| data.key_file(IDENTITY_KEY).create(node.seed.as_ref()))
        .map_err(|e| e.to_string())?;
    let models = match (node.role, node.name.as_str()) {
        (Role::Provider, "provider-1") => vec!["tumour".to_owned()],
        (Role::Provider, "provider-2") => vec!["digits".to_owned()],
        _ => Vec::new(),
    };
    let config = NodeConfig {
        role: node.role,
        name: node.name.clone(),
        network: Path::new("..").join(NETWORK_FILE),
        data: "data".into(),
        link: LinkSection {
            listen: node.listen,
            ..LinkSection::default()
        },
        metrics: MetricsSection {
            listen: Some(node.metrics),
            expose_metrics: false,
        },
        provider: ProviderSection { models },
    };
    let text = toml::to_string(&config).map_err(|e| e.to_string())?;
    let path = home.join(NODE_FILE);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
}

async fn start_and_wait(dir: &Path, nodes: &[String], progress: &Progress) -> Result<(), Failure> {
    for node in nodes {
        spawn(dir, node)?;
    }
    progress.say("processes started; the authorities vote on the first directory document");
    let network = network_file::read(&dir.join(NETWORK_FILE)).map_err(|e| e.to_string())?;
    let listed = tokio::time::timeout(READY_WITHIN, all_models_listed(dir, nodes, network));
    match listed.await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!(
            "the network was not ready within {} s; the logs are {}/*/{LOG_FILE}",
            READY_WITHIN.as_secs(),
            dir.display()
        )),
    }
}

async fn all_models_listed(dir: &Path, nodes: &[String], network: Network) -> Result<(), Failure> {
    loop {
        if let Some(node) = nodes.iter().find(|node| running(dir, node).is_none()) {
            return Err(format!(
                "{node} stopped; its log is {}/{node}/{LOG_FILE}",
                dir.display()
            ));
        }
        let joined = client::Client::builder()
            .network(network.clone())
            .connect(services())
            .await;
        if let Ok(client) = joined {
            let complete = client.models().len() >= 2;
            client.close().await;
            if complete {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn spawn(dir: &Path, node: &str) -> Result<(), Failure> {
    let home = dir.join(node);
    let config = NodeConfig::read(&home).map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| format!("this program's own file: {e}"))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.join(LOG_FILE))
        .map_err(|e| format!("{}: {e}", home.join(LOG_FILE).display()))?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    let child = Command::new(program)
        .args([config.role.label(), "run"])
        .arg(&home)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C is for the command that started the nodes, not for the nodes.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("{node}: {e}"))?;
    let path = home.join(PID_FILE);
    fs::write(&path, child.id().to_string()).map_err(|e| format!("{}: {e}", path.display()))
}

/// The node's process, if the one in its file is alive and really runs this node.
fn running(dir: &Path, node: &str) -> Option<Pid> {
    let home = dir.join(node);
    let pid: i32 = fs::read_to_string(home.join(PID_FILE))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let process = Pid::from_raw(pid)?;
    test_kill_process(process).ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let home = home.to_str()?.as_bytes();
    let ours = arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == home);
    (ours && has_live_thread(pid)).then_some(process)
}

/// Whether any thread still lives: a killed process keeps its sockets until the last one is gone.
fn has_live_thread(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
        .any(|stat| {
            let state = stat.rsplit(')').next().map(str::trim_start);
            state.is_some_and(|state| !state.starts_with(['Z', 'X']))
        })
}

fn nodes(dir: &Path) -> Result<Vec<String>, Failure> {
    if !dir.join(NETWORK_FILE).is_file() {
        return Err(format!(
            "{} holds no testnet; make one with `subrosa testnet up {0}`",
            dir.display()
        ));
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("{}: {e}", dir.display())),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join(NODE_FILE).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// A network's description in a testnet's directory.
pub const NETWORK_FILE: &str = "network.toml";

/// The name of a node's identity among its keys.
pub const IDENTITY_KEY: &str = "identity";

const PID_FILE: &str = "pid";
const LOG_FILE: &str = "log";
const READY_WITHIN: Duration = Duration::from_secs(60);
