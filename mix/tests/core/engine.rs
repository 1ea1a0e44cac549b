//! The engine over real threads, without links: what is not logged does not leave, and what was
//! taken in is accounted for when it stops.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use directory::Place;
use link::{Clock, Entropy, Frame, Services, Sight, Tap, Witness};
use rand::CryptoRng;
use store::{BootId, StateDir};
use subrosa_mix::MixLimits;
use subrosa_mix::engine::{Engine, Input, Outlet};
use subrosa_mix::keys::LoadedKey;
use subrosa_mix::membership::MemberEvent;
use subrosa_mix::replay::log_origin;
use subrosa_mix::workers::{Done, Intake, Job, Workers};
use wire::{Epoch, Ledger, NodeId, Refusal, Time};

use crate::network::Net;

const E: Epoch = Epoch(1);
const PLACE: Place = Place::Layer1;

struct StandingClock(Time);

impl Clock for StandingClock {
    fn now(&self) -> Time {
        self.0
    }
}

struct Seeded;

impl Entropy for Seeded {
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        Box::new(Net::rng(1))
    }
}

/// Keeps the last account and counts what was peeled.
#[derive(Default)]
struct Seen(Mutex<(Ledger, u64, usize)>);

impl Witness for Seen {
    fn saw(&self, _: &str, sight: Sight) {
        let mut seen = self.0.lock().unwrap();
        match sight {
            Sight::Account { ledger, held } => (seen.0, seen.1) = (*ledger, held),
            Sight::Peeled { .. } => seen.2 += 1,
            _ => {}
        }
    }
}

struct Left(Sender<NodeId>);

impl Outlet for Left {
    fn send(&mut self, to: NodeId, frames: Vec<Frame>) -> Result<(), (Refusal, u64)> {
        frames.iter().for_each(|_| self.0.send(to).unwrap());
        Ok(())
    }

    fn remote(&self, _: NodeId) -> Option<SocketAddr> {
        None
    }
}

struct Running {
    net: &'static Net,
    inputs: SyncSender<Input>,
    intake: Intake,
    left: std::sync::mpsc::Receiver<NodeId>,
    engine: thread::JoinHandle<()>,
    seen: Arc<Seen>,
    /// Batches that were opened by the workers.
    opened: std::sync::mpsc::Receiver<usize>,
}

impl Running {
    /// With the key in the core already; without a log unless a key event brings one.
    fn start() -> Self {
        let net = Net::shared();
        let now = net.schedule.start(E);
        let seen = Arc::new(Seen::default());
        let services = Services::new(Arc::new(StandingClock(now)), Arc::new(Seeded));
        let services = services.with_tap(Tap::new("mix", seen.clone()));
        let mix = net.mix(PLACE, &[1], MixLimits::default());
        let (inputs, received) = sync_channel(64);
        let (opening, opened) = channel();
        let done = {
            let inputs = inputs.clone();
            move |done: Done| {
                if let Done::Opened(batch) = &done {
                    opening.send(batch.len()).unwrap();
                }
                inputs.send(Input::Done(done)).is_ok()
            }
        };
        let opener = mix.opener().clone();
        let workers = Workers::start("test", 2, 200, opener, done).unwrap();
        let intake = workers.intake();
        let (leaving, left) = channel();
        let engine = Engine::new(
            mix,
            workers,
            Left(leaving),
            services,
            Arc::default(),
            received,
        );
        let engine = engine.unwrap();
        Self {
            net,
            inputs,
            intake,
            left,
            engine: thread::spawn(move || engine.run().unwrap()),
            seen,
            opened,
        }
    }

    fn hand_in(&self, count: u64) {
        let arrival = self.net.schedule.start(E);
        let next = self.net.id(Place::Layer2, 0);
        let mut rng = Net::rng(count);
        let packet = |_| {
            self.net
                .packet(&mut rng, E, PLACE, Duration::ZERO, next)
                .into_bytes()
        };
        let jobs = (0..count).map(packet).map(|packet| Job {
            input: Some(link::Digest::of(&packet)),
            arrival,
            item: Frame::new(0, &packet),
        });
        self.intake.open(jobs.collect()).unwrap();
    }

    /// Waits until `count` packets went through stage 1.
    fn await_opened(&self, mut count: usize) {
        while count > 0 {
            let batch = self.opened.recv().unwrap();
            assert!(batch <= Workers::BATCH);
            count -= batch;
        }
    }

    fn stop(self) -> (Ledger, u64, usize) {
        self.inputs.send(Input::Drain).unwrap();
        self.engine.join().unwrap();
        let seen = self.seen.0.lock().unwrap();
        seen.clone()
    }
}

#[test]
fn without_a_log_nothing_is_forwarded() {
    let running = Running::start();
    running.hand_in(100);
    running.await_opened(100);
    let left = running.left.try_recv();
    assert!(left.is_err());
    let (ledger, held, peeled) = running.stop();
    // Packets that came back from stage 1 after the stop are refused for that.
    let refused = &ledger.refused;
    let unlogged = refused.of(Refusal::ReplayLogFailed) + refused.of(Refusal::Draining);
    assert_eq!((ledger.received, ledger.sent), (100, 0));
    assert_eq!((unlogged, held, peeled), (100, 0, 0));
    assert!(ledger.balances(held));
}

#[test]
fn what_is_logged_is_forwarded_and_the_log_closed() {
    let net = Net::shared();
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::open(home.path().join("s")).unwrap();
    let secret = net.secret(net.id(PLACE, 0), E);
    let origin = log_origin(E, &secret.public());
    state.create_replay_log(&origin).unwrap();
    let (log, logged) = state.open_replay_log(&origin).unwrap();
    let key = Box::new(LoadedKey {
        epoch: E,
        secret,
        log,
        logged,
    });
    drop(state);

    let running = Running::start();
    let window = net.window(E);
    let event = MemberEvent::Key { key, window };
    running.inputs.send(Input::Member(event)).unwrap();
    running.hand_in(150);
    for _ in 0..150 {
        assert_eq!(running.left.recv().unwrap(), net.id(Place::Layer2, 0));
    }
    let (ledger, held, peeled) = running.stop();
    assert_eq!((ledger.received, ledger.sent, peeled), (150, 150, 150));
    assert!(ledger.balances(held));

    // Another run of the machine takes it: it was closed.
    let state = StateDir::open_in_run(home.path().join("s"), BootId([9; 16])).unwrap();
    assert_eq!(state.open_replay_log(&origin).unwrap().1.len(), 150);
}

#[test]
fn the_intake_is_bounded() {
    let net = Net::shared();
    let opener = net.mix(PLACE, &[1], MixLimits::default()).opener().clone();
    let (hold, held) = channel::<()>();
    let held = Arc::new(Mutex::new(held));
    // The one thread stops in the first batch that it did.
    let stuck = move |_| held.lock().unwrap().recv().is_ok();
    let workers = Workers::start("test", 1, 100, opener, stuck).unwrap();
    let jobs = |count| {
        let job = |_| Job {
            input: None,
            arrival: Time::ZERO,
            item: Frame::new(0, b"rubbish"),
        };
        (0..count).map(job).collect::<Vec<_>>()
    };
    let intake = workers.intake();
    let mut taken = 0;
    let refused = loop {
        match intake.open(jobs(40)) {
            Ok(()) => taken += 40,
            Err(refused) => break refused,
        }
    };
    // Two batches wait, and at most one is with the thread.
    assert_eq!(refused, 40);
    assert!((80..=120).contains(&taken), "{taken}");
    drop(hold);
}
