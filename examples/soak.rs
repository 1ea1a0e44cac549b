//! A whole network in this process for twenty minutes, one thread and one runtime a node: does
//! any node's live heap grow, does it keep file descriptors?
//! `cargo run --release --example soak -- [--minutes N]`
//!
//! Every allocation carries its owner's number in front of it, so that what one thread makes
//! and another frees is counted off whom it was counted on. Threads that a node's libraries
//! start for themselves count as `process`.

#![allow(
    unsafe_code,
    reason = "an allocator cannot be written without; it passes on to the system's"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "an example speaks to people and may fail where it stands"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use client::Client;
use directory::Parameters;
use link::{Clock, Sight, Tap, Witness};
use subrosa::config::Role;
use subrosa::node::{Part, play};
use subrosa::plan::{Counts, Plan};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use wire::{NodeName, Time};

/// Clients that ask.
const CLIENTS: usize = 3;

/// Owners that are told apart; 0 is the process itself.
const OWNERS: usize = 64;

static LIVE: [AtomicI64; OWNERS] = [const { AtomicI64::new(0) }; OWNERS];

thread_local! {
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

/// Counts live bytes by the owner of the thread that made them.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Room in front of what is handed out: the owner's number, and the alignment asked for.
const fn front(layout: Layout) -> usize {
    if layout.align() > 16 {
        layout.align()
    } else {
        16
    }
}

const fn widened(layout: Layout) -> Option<Layout> {
    let front = front(layout);
    match layout.size().checked_add(front) {
        Some(size) => match Layout::from_size_align(size, front) {
            Ok(wide) => Some(wide),
            Err(_) => None,
        },
        None => None,
    }
}

// SAFETY: every block is one of the system's, `front` bytes longer and at least as aligned; what
// is handed out begins `front` bytes into it, and the number before it is ours alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(wide) = widened(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: `wide` is not empty.
        let block = unsafe { System.alloc(wide) };
        if block.is_null() {
            return block;
        }
        let owner = OWNER.try_with(Cell::get).unwrap_or(0);
        LIVE[owner].fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `front` is 16 or more and within the block, which is aligned to it.
        unsafe {
            block.cast::<usize>().write(owner);
            block.add(front(layout))
        }
    }

    unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
        let Some(wide) = widened(layout) else {
            return;
        };
        // SAFETY: `given` came from `alloc` with this layout.
        unsafe {
            let block = given.sub(front(layout));
            let owner = block.cast::<usize>().read();
            LIVE[owner].fetch_sub(layout.size() as i64, Ordering::Relaxed);
            System.dealloc(block, wide);
        }
    }
}

/// The last account of packets that each node gave.
#[derive(Default)]
struct Accounts(Mutex<BTreeMap<String, u64>>);

impl Witness for Accounts {
    fn saw(&self, node: &str, sight: Sight) {
        if let Sight::Account { ledger, .. } = sight {
            let mut accounts = self.0.lock().unwrap();
            *accounts.entry(node.to_owned()).or_default() = ledger.received;
        }
    }
}

struct Owner {
    name: String,
    role: &'static str,
    number: usize,
}

/// What was live, and open, at one time.
struct Reading {
    minute: f64,
    heap: Vec<i64>,
    /// What the formula says of the filters of nodes that have one.
    filters: Vec<f64>,
    descriptors: usize,
}

fn main() {
    let minutes = minutes();
    // Ten turns of the epoch in twenty minutes.
    let parameters = Parameters {
        epoch: Duration::from_secs(120),
        overlap: Duration::from_secs(30),
        // A vote that a busy machine does not miss.
        vote_step: Duration::from_secs(3),
        ..Parameters::demo()
    };
    let services = subrosa::services();
    let accounts = Arc::new(Accounts::default());
    let plan = Plan::draw(
        services.clock.now(),
        &mut *services.entropy.rng(),
        Counts::default(),
        parameters.clone(),
        Duration::from_secs(5),
    )
    .expect("free ports");
    let clock = services.clock.clone();
    let genesis = plan.network.genesis();
    let state = tempfile::tempdir().unwrap();
    let network = Arc::new(plan.network.clone());
    let trial: Arc<dyn provider::Trial> = Arc::new(provider::OwnModules);
    let gateways: Vec<_> = network.bootstrap().iter().map(|(id, _)| *id).collect();
    let (stop, stopped) = watch::channel(false);
    let mut owners = Vec::new();
    let mut threads = Vec::new();
    let mut providers = 0;
    for (number, node) in (1..).zip(&plan.nodes) {
        let mut part = Part {
            role: node.role,
            name: NodeName::new(&node.name).unwrap(),
            seed: node.seed.clone(),
            family: None,
            network: network.clone(),
            data: state.path().join(&node.name),
            listen: node.listen,
            advertise: Vec::new(),
            gateway: None,
            models: Vec::new(),
            trial: trial.clone(),
            reach: provider::Reach::Anonymous,
        };
        if node.role == Role::Provider {
            part.gateway = gateways.iter().rev().nth(providers).copied();
            part.models = vec![compiler::shipped()[providers].name.to_owned()];
            providers += 1;
        }
        owners.push(Owner {
            name: node.name.clone(),
            role: node.role.label(),
            number,
        });
        let services = services.with_tap(Tap::new(&node.name, accounts.clone()));
        let stopped = stopped.clone();
        threads.push(on_own_thread(number, move |runtime| {
            runtime.block_on(play(part, services, stopped)).unwrap();
        }));
    }
    for client in 1..=CLIENTS {
        let (owner, thread) = start_client(&plan, client, &services, stopped.clone());
        owners.push(owner);
        threads.push(thread);
    }
    let readings = watch_heaps(minutes, &owners, &accounts, &*clock, (genesis, &parameters));
    let verdict = report(&owners, &readings);
    let _ = stop.send(true);
    for thread in threads {
        let _ = thread.join();
    }
    assert!(verdict, "something grew");
}

fn start_client(
    plan: &Plan,
    client: usize,
    services: &link::Services,
    mut stopped: watch::Receiver<bool>,
) -> (Owner, JoinHandle<()>) {
    let owner = Owner {
        name: format!("client-{client}"),
        role: "client",
        number: plan.nodes.len() + client,
    };
    let (network, services) = (plan.network.clone(), services.clone());
    let thread = on_own_thread(owner.number, move |runtime| {
        runtime.block_on(async {
            let asking = ask(network, services);
            tokio::select! {
                () = asking => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        });
    });
    (owner, thread)
}

fn minutes() -> u64 {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--minutes"), Some(minutes)) => minutes.parse().expect("a number of minutes"),
        (None, _) => 20,
        _ => panic!("usage: soak [--minutes N]"),
    }
}

fn on_own_thread(number: usize, run: impl FnOnce(&Runtime) + Send + 'static) -> JoinHandle<()> {
    let own = move || OWNER.set(number);
    std::thread::spawn(move || {
        own();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(own)
            .enable_all()
            .build()
            .unwrap();
        run(&runtime);
    })
}

/// A client at the demo's class that asks both models in turn, two questions a second.
async fn ask(network: directory::Network, services: link::Services) {
    let client = Client::builder()
        .network(network)
        .class(1)
        .dummy_inputs(subrosa::dummy_inputs())
        .patience(Duration::from_secs(120))
        .connect(services)
        .await
        .unwrap();
    for turn in 0.. {
        let shipped = &compiler::shipped()[turn % compiler::shipped().len()];
        let samples = shipped.samples();
        let input = samples[turn % samples.len()].input.clone();
        let client = client.clone();
        tokio::spawn(async move {
            // An error is an answer too: here it matters what stays behind.
            let _ = client.query(shipped.name, input).await;
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Packets of one node by epoch.
#[derive(Default)]
struct Tags {
    epoch: u128,
    /// Received before it.
    before: u64,
    /// Received in the one before it.
    last: u64,
}

/// A reading every half minute.
fn watch_heaps(
    minutes: u64,
    owners: &[Owner],
    accounts: &Accounts,
    clock: &dyn Clock,
    (genesis, parameters): (Time, &Parameters),
) -> Vec<Reading> {
    let start = clock.now();
    let mut readings = Vec::new();
    let mut tags: BTreeMap<String, Tags> = BTreeMap::new();
    for half in 1..=2 * minutes {
        let due = start.after(Duration::from_secs(30 * half));
        std::thread::sleep(due.since(clock.now()));
        let since = clock.now().since(genesis).as_nanos();
        let epoch = parameters.epoch.as_nanos();
        let (current, in_overlap) = (since / epoch, since % epoch < parameters.overlap.as_nanos());
        let accounts = accounts.0.lock().unwrap().clone();
        let filters = owners.iter().map(|owner| {
            let received = accounts.get(&owner.name).copied().unwrap_or_default();
            let tags = tags.entry(owner.name.clone()).or_default();
            if tags.epoch != current {
                *tags = Tags {
                    epoch: current,
                    before: received,
                    last: received - tags.before,
                };
            }
            let former = if in_overlap {
                filter_bytes(tags.last)
            } else {
                0.0
            };
            match owner.role {
                "mix" | "gateway" => filter_bytes(received - tags.before) + former,
                _ => 0.0,
            }
        });
        let filters: Vec<f64> = filters.collect();
        let heap: Vec<i64> = std::iter::once(0)
            .chain(owners.iter().map(|owner| owner.number))
            .map(|number| LIVE[number].load(Ordering::Relaxed))
            .collect();
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let minute = clock.now().since(start).as_secs_f64() / 60.0;
        let all: i64 = heap.iter().sum();
        println!(
            "{minute:5.1} min: {:.1} MiB live, {:.1} MiB of replay filters by formula, {descriptors} descriptors",
            mib(all as f64),
            mib(filters.iter().sum())
        );
        readings.push(Reading {
            minute,
            heap,
            filters,
            descriptors,
        });
    }
    readings
}

/// Bytes of a replay filter with `tags`: 1,024 shards, each a power of two of 8-byte places, 8
/// at least, of which three quarters are taken at most; tags fall on shards by Poisson's law.
fn filter_bytes(tags: u64) -> f64 {
    let mean = tags as f64 / 1024.0;
    let mut share = (-mean).exp();
    let mut bytes = 0.0;
    let most = (mean + 12.0 * mean.sqrt() + 20.0) as u64;
    for taken in 0..=most {
        let mut places = if taken == 0 { 0 } else { 8 };
        while 4 * taken > 3 * places {
            places *= 2;
        }
        bytes += 1024.0 * share * 8.0 * places as f64;
        share *= mean / (taken + 1) as f64;
    }
    bytes
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// From minute 5 (or half the time) to the end: the means of the first and last quarters.
fn report(owners: &[Owner], readings: &[Reading]) -> bool {
    let end = readings.last().unwrap().minute;
    let from = readings
        .iter()
        .position(|reading| reading.minute >= 5.0f64.min(end / 2.0))
        .unwrap();
    let steady = &readings[from..];
    let quarter = (steady.len() / 4).max(1);
    let mean = |part: &[Reading], of: &dyn Fn(&Reading) -> f64| {
        part.iter().map(of).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (&steady[..quarter], &steady[steady.len() - quarter..]);
    println!(
        "live heap, replay filters taken off, from minute {:.1} to {end:.1} (KiB, mean of the first and the last quarter):",
        steady[0].minute
    );
    let mut good = true;
    for (place, name) in std::iter::once("process")
        .chain(owners.iter().map(|owner| owner.name.as_str()))
        .enumerate()
    {
        let net = |reading: &Reading| {
            let filter = place
                .checked_sub(1)
                .map_or(0.0, |owner| reading.filters[owner]);
            reading.heap[place] as f64 - filter
        };
        let (begin, finish) = (mean(first, &net), mean(last, &net));
        let grown = finish - begin;
        let fits = grown < 0.1 * begin.max(0.0) + GROWTH;
        good &= fits;
        let verdict = if fits { "" } else { "  grows" };
        println!(
            "  {name:<12} {:>9.0} {:>9.0}  {:>+8.0}{verdict}",
            begin / 1024.0,
            finish / 1024.0,
            grown / 1024.0
        );
    }
    let descriptors = |part: &[Reading]| part.iter().map(|r| r.descriptors).max().unwrap();
    let (begin, finish) = (descriptors(first), descriptors(last));
    println!("descriptors: {begin}, at the end {finish}");
    good && finish <= begin + DESCRIPTORS
}

/// A node may have grown by a tenth and this: whole packets in flight, tables that doubled once.
const GROWTH: f64 = 512.0 * 1024.0;

/// A new epoch's log is open beside the last one's.
const DESCRIPTORS: usize = 26;
