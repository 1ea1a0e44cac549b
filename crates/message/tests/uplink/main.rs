//! The driver over a real link on loopback, behind a gateway that only plays one.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod gateway;

use std::sync::Arc;
use std::time::Duration;

use directory::{ClockSkew, DirectoryError, Topology};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::Packet;
use subrosa_message::driver::{Publishing, Uplink, UplinkConfig, UplinkStatus};
use subrosa_message::{Edge, EdgeConfig, EdgeError, EdgeEvent, Participant};
use tokio::time::timeout;
use wire::{Call, Epoch, Register, Time};

use gateway::{Gateway, services};

const PATIENCE: Duration = Duration::from_secs(20);

/// The least that a participant is: an edge, whose loops it tells of.
struct Idle(Edge);

impl Participant for Idle {
    type Command = ();
    type Event = Duration;

    fn handle_command(&mut self, _: Time, _: &mut dyn CryptoRng, (): ()) {}

    fn handle_frame(&mut self, now: Time, rng: &mut dyn CryptoRng, frame: &[u8]) {
        self.0.handle_frame(now, rng, frame);
    }

    fn handle_timeout(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.0.handle_timeout(now, rng);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.0.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Packet)> {
        self.0.poll_transmit(now)
    }

    fn poll_event(&mut self) -> Option<Duration> {
        self.0.poll_event().map(|event| match event {
            EdgeEvent::Loop { after } => after,
            _ => panic!("nobody was asked"),
        })
    }

    fn prepare(&mut self, rng: &mut dyn CryptoRng) -> bool {
        self.0.prepare(rng)
    }

    fn set_topology(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        topology: Arc<Topology>,
    ) -> Result<(), EdgeError> {
        self.0.set_topology(now, rng, topology)
    }

    fn link_up(&mut self) {
        self.0.link_up();
    }

    fn link_down(&mut self) {
        self.0.link_down();
    }

    fn edge(&self) -> &Edge {
        &self.0
    }

    fn edge_mut(&mut self) -> &mut Edge {
        &mut self.0
    }

    fn register(&self) -> Register {
        self.0.register()
    }

    fn calls(&mut self, _: Time) -> Vec<Call> {
        let key = directory::Identity::from_seed(&[77; 32]);
        vec![Call::Attach(self.0.attach(&key, 1))]
    }
}

async fn uplink(gateway: &Gateway, class: u8) -> Uplink<Idle> {
    let config = UplinkConfig {
        network: Arc::clone(&gateway.network),
        gateway: gateway.id(),
        addresses: vec![gateway.address()],
        role: "client",
        others: Vec::new(),
        publish: Publishing::Nothing,
    };
    let edge = EdgeConfig {
        gateway: gateway.id(),
        class,
    };
    Uplink::start(config, services(), move |now, rng, topology, _| {
        Edge::new(now, rng, edge, topology).map(|mut edge| {
            edge.link_down();
            Idle(edge)
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn fetches_registers_claims_sends_and_hears() {
    let mut gateway = Gateway::start().await;
    let mut uplink = uplink(&gateway, 1).await;
    let mut handle = uplink.handle();
    let ready = timeout(PATIENCE, handle.ready()).await.unwrap();
    let Ok(topology) = ready else {
        panic!("not ready: {:?}", handle.status())
    };
    assert_eq!(topology.epoch(), Epoch(1));
    let register = timeout(PATIENCE, gateway.registered()).await.unwrap();
    assert_eq!(register.epoch, Epoch(1));
    timeout(PATIENCE, gateway.attached()).await.unwrap();
    // The gateway peels all hops of loops and hands them back.
    let after = timeout(PATIENCE, uplink.event()).await.unwrap();
    assert!(after.is_some());
    let report = handle.report().unwrap();
    assert!(report.ledger.balances(report.held));
}

#[tokio::test]
async fn dials_again_and_registers_under_the_same_handle() {
    let mut gateway = Gateway::start().await;
    let uplink = uplink(&gateway, 1).await;
    let mut handle = uplink.handle();
    assert!(timeout(PATIENCE, handle.ready()).await.unwrap().is_ok());
    let first = timeout(PATIENCE, gateway.registered()).await.unwrap();
    gateway.turn_away();
    let second = timeout(PATIENCE, gateway.registered()).await.unwrap();
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_core_that_does_not_fit_ends_the_uplink_with_its_reason() {
    let gateway = Gateway::start().await;
    let uplink = uplink(&gateway, 200).await;
    let mut handle = uplink.handle();
    let refused = timeout(PATIENCE, handle.ready()).await.unwrap().err();
    let unfit = UplinkStatus::Unfit(EdgeError::UnknownClass);
    assert!(refused == Some(unfit) || refused == Some(UplinkStatus::Closed));
    timeout(PATIENCE, handle.closed()).await.unwrap();
}

#[tokio::test]
async fn a_clock_ten_minutes_off_ends_all_sending_and_says_so() {
    let ahead = Duration::from_secs(600);
    let gateway = Gateway::whose_authority_is_ahead(ahead).await;
    let mut handle = uplink(&gateway, 1).await.handle();
    let skewed = |status: &UplinkStatus| {
        let UplinkStatus::NoDocument(Some(DirectoryError::ClockSkew(skew))) = status else {
            return false;
        };
        matches!(skew, ClockSkew::Behind { seconds } if (590..=610).contains(seconds))
    };
    let told = async {
        while !skewed(&handle.status()) {
            handle.changed().await;
        }
    };
    timeout(PATIENCE, told).await.unwrap();
    // It does not register again: nobody is told that it could send.
    let ready = timeout(Duration::from_millis(300), handle.ready()).await;
    assert!(ready.is_err(), "{:?}", handle.status());
}

#[tokio::test]
async fn ends_when_the_last_handle_is_gone() {
    let gateway = Gateway::start().await;
    let (mut handle, events) = uplink(&gateway, 1).await.split();
    assert!(timeout(PATIENCE, handle.ready()).await.unwrap().is_ok());
    drop(handle);
    let mut events = events;
    let ended = async { while events.recv().await.is_some() {} };
    timeout(PATIENCE, ended).await.unwrap();
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}
