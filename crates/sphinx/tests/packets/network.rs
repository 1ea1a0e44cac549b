//! A few nodes, each with its key in both implementations, and a walk past them that lets both
//! open every packet and compares what they make of it.

use std::time::Duration;

use rand::{CryptoRng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx_packet::header::delays::Delay;
use sphinx_packet::route::{Node, NodeAddressBytes};
use sphinx_packet::{ProcessedPacketData, SphinxPacket};
use subrosa_sphinx::{Address, Geometry, Hop, Next, Packet, Payload, Peeled, RouteKey, SecretKey};
use x25519_dalek::{PublicKey, StaticSecret};

pub(crate) struct Station {
    pub(crate) address: Address,
    pub(crate) key: SecretKey,
    pub(crate) route_key: RouteKey,
    pub(crate) their_key: StaticSecret,
}

impl Station {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        let key = SecretKey::generate(rng);
        Self {
            address: Address(bytes(rng)),
            route_key: RouteKey::new(key.public()).unwrap(),
            their_key: StaticSecret::from(*key.to_bytes()),
            key,
        }
    }

    pub(crate) fn their_node(&self) -> Node {
        let address = NodeAddressBytes::from_bytes(self.address.0);
        Node::new(address, PublicKey::from(&self.their_key))
    }
}

pub(crate) struct Network(Vec<Station>);

impl Network {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        Self((0..12).map(|_| Station::new(rng)).collect())
    }

    /// A route past stations drawn one by one, each with a delay but the last.
    pub(crate) fn route(&self, rng: &mut dyn CryptoRng, hops: usize) -> Route<'_> {
        let stations = (0..hops)
            .map(|_| &self.0[rng.random_range(0..self.0.len())])
            .collect();
        let mut delays: Vec<_> = (1..hops)
            .map(|_| Duration::from_nanos(rng.next_u64() >> rng.random_range(0..64)))
            .collect();
        delays.push(Duration::ZERO);
        Route { stations, delays }
    }
}

pub(crate) struct Route<'a> {
    pub(crate) stations: Vec<&'a Station>,
    pub(crate) delays: Vec<Duration>,
}

impl Route<'_> {
    pub(crate) fn ours(&self) -> Vec<Hop> {
        let hops = self.stations.iter().zip(&self.delays);
        hops.map(|(station, delay)| Hop {
            address: station.address,
            key: station.route_key.clone(),
            delay: *delay,
        })
        .collect()
    }

    pub(crate) fn theirs(&self) -> (Vec<Node>, Vec<Delay>) {
        let nodes = self.stations.iter().map(|s| s.their_node()).collect();
        let nanos = |delay: &Duration| delay.as_nanos().try_into().unwrap();
        let delays = self.delays.iter().map(nanos);
        (nodes, delays.map(Delay::new_from_nanos).collect())
    }

    /// Lets both implementations open the packet at every hop; they must agree on every byte.
    pub(crate) fn walk(&self, geometry: Geometry, packet: &[u8]) -> Delivery {
        let mut bytes = packet.to_vec();
        for (place, station) in self.stations.iter().enumerate() {
            let ours = Packet::from_bytes(geometry, &bytes).unwrap();
            let opened = ours.open(&[&station.key]).unwrap();
            let theirs = SphinxPacket::from_bytes(&bytes).unwrap();
            let their_secrets = theirs
                .header
                .compute_expanded_shared_secret(&station.their_key);
            assert_eq!(opened.replay_tag().0, *their_secrets.replay_tag());

            let next = opened.next();
            let theirs = theirs.process(&station.their_key).unwrap();
            assert_eq!(theirs.version.value(), 260);
            match (opened.finish(), theirs.data) {
                (
                    Peeled::Forward {
                        packet,
                        next: address,
                        delay,
                    },
                    ProcessedPacketData::ForwardHop {
                        next_hop_packet,
                        next_hop_address,
                        delay: their_delay,
                    },
                ) => {
                    assert_eq!(next, Next::Hop { address, delay });
                    assert_eq!(address, self.stations[place + 1].address);
                    assert_eq!(address.0, next_hop_address.to_bytes());
                    assert_eq!(delay, self.delays[place]);
                    assert_eq!(delay, their_delay.to_duration());
                    assert!(packet.as_bytes() == next_hop_packet.to_bytes());
                    bytes = packet.into_bytes().into_vec();
                }
                (
                    Peeled::Deliver {
                        address,
                        identifier,
                        payload,
                    },
                    ProcessedPacketData::FinalHop {
                        destination,
                        identifier: their_identifier,
                        payload: their_payload,
                    },
                ) => {
                    assert_eq!(place + 1, self.stations.len());
                    assert_eq!(
                        next,
                        Next::Deliver {
                            address,
                            identifier
                        }
                    );
                    assert_eq!(address.0, destination.as_bytes());
                    assert_eq!(identifier, their_identifier);
                    assert!(payload.as_bytes() == their_payload.as_bytes());
                    return Delivery {
                        address,
                        identifier,
                        payload,
                        their_payload,
                    };
                }
                _ => panic!("one forwards what the other delivers"),
            }
        }
        panic!("the packet goes on after its route")
    }
}

pub(crate) struct Delivery {
    pub(crate) address: Address,
    pub(crate) identifier: [u8; 16],
    pub(crate) payload: Payload,
    pub(crate) their_payload: sphinx_packet::payload::Payload,
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(crate) fn bytes<const N: usize>(rng: &mut dyn CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A plaintext of any length that fits: sometimes none, sometimes all there is room for.
pub(crate) fn plaintext(rng: &mut dyn CryptoRng, geometry: Geometry) -> Vec<u8> {
    let length = match rng.random_range(0..8) {
        0 => 0,
        1 => geometry.capacity(),
        _ => rng.random_range(0..=geometry.capacity()),
    };
    let mut plaintext = vec![0; length];
    rng.fill_bytes(&mut plaintext);
    plaintext
}

/// Peels a packet that goes on.
pub(crate) fn forward(packet: Packet, key: &SecretKey) -> Packet {
    match packet.open(&[key]).unwrap().finish() {
        Peeled::Forward { packet, .. } => packet,
        Peeled::Deliver { .. } => panic!("this is the last hop"),
    }
}

/// Peels a packet that ends.
pub(crate) fn deliver(packet: Packet, key: &SecretKey) -> Payload {
    match packet.open(&[key]).unwrap().finish() {
        Peeled::Deliver { payload, .. } => payload,
        Peeled::Forward { .. } => panic!("this is not the last hop"),
    }
}

/// Runs `work` for the numbers below `count` on all cores.
pub(crate) fn in_parallel(count: u64, work: impl Fn(u64) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let work = &work;
            scope.spawn(move || {
                for number in (first..count).step_by(threads as usize) {
                    work(number);
                }
            });
        }
    });
}
