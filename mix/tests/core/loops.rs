//! Loops: the shipped mixes of a whole network, with gateways that peel and pass on.

use std::collections::BTreeMap;
use std::time::Duration;

use directory::Place;
use sphinx::{Next, Peeled};
use subrosa_mix::peel::Gate;
use subrosa_mix::{Mix, MixLimits};
use wire::{Epoch, NodeId, Refusal, Time};

use crate::network::Net;

const E: Epoch = Epoch(1);

struct World {
    mixes: BTreeMap<NodeId, Mix>,
    gateways: BTreeMap<NodeId, Gate>,
    /// Every packet that a mix was handed.
    heard: Vec<(NodeId, Vec<u8>)>,
    now: Time,
    rng: rand_chacha::ChaCha20Rng,
}

impl World {
    fn new() -> Self {
        let net = Net::shared();
        let now = net.schedule.start(E);
        let mut rng = Net::rng(3);
        let geometry = net.parameters.geometry;
        let mut mixes = BTreeMap::new();
        let mut gateways = BTreeMap::new();
        for index in 0..2 {
            for place in [Place::Layer1, Place::Layer2, Place::Layer3] {
                let id = net.id(place, index);
                let mut mix = Mix::new(now, id, geometry, MixLimits::default());
                net.give_epoch(&mut mix, id, E);
                mix.enter_epoch(now, &mut rng, E);
                mixes.insert(id, mix);
            }
            let id = net.id(Place::Gateway, index);
            let mut gate = Gate::new(geometry, 1 << 20);
            gate.set_key(E, net.window(E), net.secret(id, E), &[]);
            gate.set_topology(net.topology(E));
            gateways.insert(id, gate);
        }
        Self {
            mixes,
            gateways,
            heard: Vec::new(),
            now,
            rng,
        }
    }

    /// Runs for `span`; `carries` says whether a link carries what leaves a node.
    fn run(&mut self, span: Duration, carries: impl Fn(NodeId) -> bool) {
        let end = self.now.after(span);
        loop {
            let next = self.mixes.values().filter_map(Mix::poll_timeout).min();
            let Some(due) = next.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            let mut in_flight = Vec::new();
            for (id, mix) in &mut self.mixes {
                mix.handle_timeout(self.now, &mut self.rng);
                while mix.poll_log().is_some() {}
                while let Some(sent) = mix.poll_transmit(self.now) {
                    in_flight.extend(carries(*id).then_some(sent));
                }
            }
            for (to, packet) in in_flight {
                self.arrive(to, packet.as_bytes());
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, to: NodeId, packet: &[u8]) {
        if let Some(mix) = self.mixes.get_mut(&to) {
            self.heard.push((to, packet.to_vec()));
            return mix.handle_packet(self.now, packet);
        }
        let gate = self.gateways.get_mut(&to).unwrap();
        let unsealed = gate.opener().open(self.now, packet).unwrap();
        let admitted = gate.admit(self.now, unsealed, |topology, next| match next {
            Next::Hop { address, .. } => topology.allows(Place::Gateway, &NodeId(address.0)),
            Next::Deliver { .. } => false,
        });
        match admitted.unwrap().finish() {
            Peeled::Forward { packet, next, .. } => self.arrive(NodeId(next.0), packet.as_bytes()),
            Peeled::Deliver { .. } => unreachable!("loops of mixes end at mixes"),
        }
    }
}

#[test]
fn loops_of_every_layer_come_back() {
    let mut world = World::new();
    world.run(Duration::from_secs(60), |_| true);
    for mix in world.mixes.values() {
        let counts = mix.loops().counts();
        // Two a second.
        assert!((80..160).contains(&counts.sent), "{counts:?}");
        assert!(counts.sent - counts.returned < 10, "{counts:?}");
        assert_eq!(counts.lost, 0);
        assert_eq!(mix.ledger().consumed, counts.returned);
        assert_eq!(mix.ledger().made, counts.sent);
        assert_eq!(mix.ledger().refused.total(), 0);
        assert!(mix.ledger().balances(mix.held()));
        assert!(!mix.loops().alarms());
    }
}

#[test]
fn a_layer_that_forwards_nothing_is_noticed_by_all() {
    let mut world = World::new();
    let silent: Vec<NodeId> = [0, 1].map(|i| Net::shared().id(Place::Layer3, i)).to_vec();
    world.run(Duration::from_secs(30), |from| !silent.contains(&from));
    for mix in world.mixes.values() {
        let counts = mix.loops().counts();
        assert_eq!(counts.returned, 0);
        assert!(counts.lost > 20, "{counts:?}");
        assert!(mix.loops().alarms());
        assert!(mix.ledger().balances(mix.held()));
    }
}

#[test]
fn a_loop_comes_back_once() {
    let mut world = World::new();
    world.run(Duration::from_secs(20), |_| true);
    let returned = |world: &World| -> u64 {
        let counts = world
            .mixes
            .values()
            .map(|mix| mix.loops().counts().returned);
        counts.sum()
    };
    let before = returned(&world);
    assert!(before > 0);
    let heard = std::mem::take(&mut world.heard);
    for (to, packet) in &heard {
        let mix = world.mixes.get_mut(to).unwrap();
        mix.handle_packet(world.now, packet);
    }
    assert_eq!(returned(&world), before);
    let refused = world.mixes.values();
    let replays: u64 = refused
        .map(|m| m.ledger().refused.of(Refusal::Replay))
        .sum();
    assert_eq!(replays, heard.len() as u64);
}
