//! A testnet's directory: one folder a node, and the network's file, written last.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directory::Parameters;
use store::StateDir;

use super::{Failure, IDENTITY_KEY, NETWORK_FILE};
use crate::config::{LinkSection, MetricsSection, NODE_FILE, NodeConfig, ProviderSection, Role};
use crate::plan::{Counts, Plan, PlannedNode, share};
use crate::{network_file, services};

pub(super) fn prepare_directory(dir: &Path) -> Result<(), Failure> {
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

/// A testnet's network, whose nodes have `start_up` to start.
pub(super) fn draw(start_up: Duration) -> Result<Plan, Failure> {
    let services = services();
    let (now, mut rng) = (services.clock.now(), services.entropy.rng());
    Plan::draw(
        now,
        &mut *rng,
        Counts::default(),
        Parameters::demo().with_short_first_epoch(),
        start_up,
    )
    .map_err(|e| format!("no free ports: {e}"))
}

/// Writes a network into `dir`: a folder a node, and the network's file. Names the nodes.
///
/// # Errors
/// A sentence, if something cannot be written.
pub fn lay_out(dir: &Path, plan: &Plan) -> Result<Vec<String>, Failure> {
    let is_provider = |node: &&PlannedNode| node.role == Role::Provider;
    let providers = plan.nodes.iter().filter(is_provider).count();
    let mut number = 0;
    for node in &plan.nodes {
        let mut models = Vec::new();
        if is_provider(&node) {
            models = share(number, providers);
            number += 1;
        }
        lay_out_node(dir, node, models)?;
    }
    // Last: its presence says that the directory is complete.
    let path = dir.join(NETWORK_FILE);
    fs::write(&path, network_file::text(&plan.network))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(plan.nodes.iter().map(|node| node.name.clone()).collect())
}

fn lay_out_node(dir: &Path, node: &PlannedNode, models: Vec<String>) -> Result<(), Failure> {
    let home = dir.join(&node.name);
    fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    StateDir::open(home.join("data"))
        .and_then(|data| data.key_file(IDENTITY_KEY).create(node.seed.as_ref()))
        .map_err(|e| e.to_string())?;
    let config = NodeConfig {
        role: node.role,
        name: node.name.clone(),
        network: Path::new("..").join(NETWORK_FILE),
        data: "data".into(),
        family: None,
        link: LinkSection {
            listen: node.listen,
            advertise: node.advertise.into_iter().collect(),
            ..LinkSection::default()
        },
        metrics: MetricsSection {
            listen: Some(node.metrics),
            expose_metrics: false,
        },
        provider: ProviderSection {
            models,
            ..ProviderSection::default()
        },
    };
    let text = toml::to_string(&config).map_err(|e| e.to_string())?;
    let path = home.join(NODE_FILE);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Removes what [`lay_out`] made.
pub(super) fn remove(dir: &Path, nodes: &[String]) -> Result<(), Failure> {
    let gone = |path: PathBuf, outcome: std::io::Result<()>| {
        outcome.map_err(|e| format!("{}: {e}", path.display()))
    };
    for node in nodes {
        let path = dir.join(node);
        gone(path.clone(), fs::remove_dir_all(path))?;
    }
    let path = dir.join(NETWORK_FILE);
    gone(path.clone(), fs::remove_file(path))
}

pub(super) fn nodes(dir: &Path) -> Result<Vec<String>, Failure> {
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
