//! A testnet's processes: started apart from the command that starts them, found by their file.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, test_kill_process};

use super::{Failure, LOG_FILE, PID_FILE};
use crate::config::NodeConfig;

pub(super) fn spawn(dir: &Path, node: &str) -> Result<(), Failure> {
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
pub(super) fn running(dir: &Path, node: &str) -> Option<Pid> {
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
    // Empty while the process begins, and when all but its last threads are gone.
    let ours = arguments.is_empty() || arguments.split(|byte| *byte == 0).any(|it| it == home);
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
