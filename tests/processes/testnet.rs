//! A testnet of processes that is stopped whatever happens to the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use directory::Parameters;
use subrosa::plan::{Counts, Plan};
use traffic::{Rate, Rates};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_subrosa");

/// A testnet that runs until it is dropped.
pub(crate) struct Testnet {
    home: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A second network at the same time would need a second machine.
static ALONE: Mutex<()> = Mutex::new(());

impl Testnet {
    /// Starts one and waits until it is ready.
    pub(crate) fn up() -> Self {
        Self::up_with(&[])
    }

    /// As [`Self::up`], with more arguments.
    pub(crate) fn up_with(arguments: &[&str]) -> Self {
        let testnet = Self::empty();
        let up = ["testnet", "up", testnet.dir(), "--json"];
        let output = testnet.run(&[&up[..], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}{said}{}", testnet.logs());
        let up: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(up["ok"], true);
        assert_eq!(up["nodes"], 19);
        testnet
    }

    /// Starts one whose nodes are found where `front` says of where they listen, and waits until
    /// it is ready.
    pub(crate) fn behind(front: impl FnMut(std::net::SocketAddr) -> std::net::SocketAddr) -> Self {
        let testnet = Self::empty();
        let services = subrosa::services();
        let (now, mut rng) = (services.clock.now(), services.entropy.rng());
        let demo = Parameters::demo();
        let rates = Rates {
            gateway_loop: Rate::from_millihertz(ONE_CLIENT).unwrap(),
            ..demo.rates
        };
        let parameters = Parameters { rates, ..demo }.with_short_first_epoch();
        let plan = Plan::draw(now, &mut *rng, Counts::default(), parameters, START_UP).unwrap();
        let mut front = front;
        let plan = plan
            .behind(|node| Ok::<_, std::convert::Infallible>(front(node)))
            .unwrap();
        std::fs::create_dir_all(testnet.path()).unwrap();
        for node in subrosa::testnet::lay_out(&testnet.path(), &plan).unwrap() {
            testnet.start(&node);
        }
        let models = || {
            let output = testnet.run(&["models", "--network", &testnet.network(), "--json"]);
            let listed = serde_json::from_slice::<serde_json::Value>(&output.stdout).ok()?;
            listed["models"].as_array().map(Vec::len)
        };
        // The second document is the first that lists who publishes through the mixes.
        let listed = (0..ATTEMPTS).any(|_| {
            let listed = models() == Some(4);
            if !listed {
                std::thread::sleep(Duration::from_secs(1));
            }
            listed
        });
        assert!(listed, "{}", testnet.logs());
        testnet
    }

    fn empty() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("net")
    }

    pub(crate) fn dir(&self) -> &'static str {
        // Leaked once a test: it outlives every borrow of the command lines below.
        Box::leak(self.path().to_str().unwrap().to_owned().into_boxed_str())
    }

    pub(crate) fn network(&self) -> String {
        self.path()
            .join("network.toml")
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The process of one node.
    pub(crate) fn pid(&self, node: &str) -> i32 {
        let text = std::fs::read_to_string(self.path().join(node).join("pid")).unwrap();
        text.trim().parse().unwrap()
    }

    /// Ends a node as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&self, node: &str) {
        let pid = self.pid(node);
        let process = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        while alive(pid) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn start(&self, node: &str) {
        let output = self.run(&["testnet", "start", self.dir(), node]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Everything that the nodes have logged.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.path()).unwrap().map(Result::unwrap) {
            if let Ok(log) = std::fs::read_to_string(entry.path().join("log")) {
                text.push_str(&log);
            }
        }
        text
    }
}

/// Items that a gateway sends for all owners of mailboxes, in thousandths a second: at the demo's
/// rate, which is for six clients, two cores had nothing left beside the nodes and what stands
/// before them, and on a disordered path each datagram that came late made more of them.
const ONE_CLIENT: u32 = 20_000;
/// For nineteen processes to start one by one.
const START_UP: Duration = Duration::from_secs(12);
/// Each waits for the network as long as `subrosa models` does, or a second.
const ATTEMPTS: usize = 30;

impl Drop for Testnet {
    fn drop(&mut self) {
        let _ = self.run(&["testnet", "down", self.dir()]);
    }
}

/// Whether any thread still lives: until then the process keeps its sockets.
fn alive(pid: i32) -> bool {
    let threads = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.is_empty() && !state.starts_with(['Z', 'X'])
    })
}
