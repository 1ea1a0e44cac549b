//! What a mix refuses, by name. One mix of layer 2 in epoch 1.

use std::time::Duration;

use directory::Place;
use sphinx::{Address, Geometry, Packet};
use sphinx_packet::SphinxPacketBuilder;
use sphinx_packet::header::delays::Delay;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::version::Version;
use subrosa_mix::{Mix, MixLimits};
use wire::{Epoch, NodeId, Refusal, Time};

use crate::network::{GEOMETRY, Net};

const E: Epoch = Epoch(1);
const HELD: Duration = Duration::from_millis(30);

struct Bench {
    net: &'static Net,
    mix: Mix,
    now: Time,
    rng: rand_chacha::ChaCha20Rng,
}

impl Bench {
    fn new() -> Self {
        Self::with(MixLimits::default())
    }

    fn with(limits: MixLimits) -> Self {
        let net = Net::shared();
        Self {
            mix: net.mix(Place::Layer2, &[1], limits),
            now: net.schedule.start(E).after(Duration::from_secs(60)),
            rng: Net::rng(1),
            net,
        }
    }

    fn good(&mut self) -> Packet {
        let next = self.net.id(Place::Layer3, 0);
        self.to(next, HELD)
    }

    fn to(&mut self, next: NodeId, delay: Duration) -> Packet {
        self.net
            .packet(&mut self.rng, E, Place::Layer2, delay, next)
    }

    /// Hands in `packet`; the refusal that was counted for it, if one was.
    fn hand_in(&mut self, packet: &[u8]) -> Option<Refusal> {
        let before = self.mix.ledger().refused.clone();
        self.mix.handle_packet(self.now, packet);
        assert!(self.mix.ledger().balances(self.mix.held()));
        let after = &self.mix.ledger().refused;
        assert!(after.total() <= before.total() + 1);
        Refusal::ALL
            .into_iter()
            .find(|reason| after.of(*reason) > before.of(*reason))
    }

    /// Lets everything leave that was ever held.
    fn forwarded(&mut self) -> usize {
        while self.mix.poll_log().is_some() {}
        let later = self.now.after(Duration::from_secs(10));
        std::iter::from_fn(|| self.mix.poll_transmit(later)).count()
    }
}

#[test]
fn refuses_every_other_length_before_anything_else() {
    let mut bench = Bench::new();
    let good = bench.good().into_bytes();
    let longer = [&good[..], &[0]].concat();
    for packet in [&[][..], &good[1..], &longer, &[7; 65_536]] {
        assert_eq!(bench.hand_in(packet), Some(Refusal::BadLength));
    }
    assert_eq!(bench.forwarded(), 0);
    assert_eq!(bench.hand_in(&good), None);
    assert_eq!(bench.forwarded(), 1);
}

#[test]
fn refuses_random_bytes() {
    let mut bench = Bench::new();
    let mut packet = vec![0; GEOMETRY.packet_len()];
    for _ in 0..20_000 {
        rand::Rng::fill_bytes(&mut bench.rng, &mut packet);
        // One in two is no canonical alpha.
        assert!(matches!(
            bench.hand_in(&packet),
            Some(Refusal::BadMac | Refusal::BadGroupElement)
        ));
    }
    assert_eq!(bench.forwarded(), 0);
}

#[test]
fn refuses_every_flipped_bit_of_a_header() {
    let mut bench = Bench::new();
    let good = bench.good().into_bytes();
    for bit in 0..8 * Geometry::HEADER_LEN {
        let mut packet = good.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(
            bench.hand_in(&packet),
            Some(Refusal::BadMac | Refusal::BadGroupElement)
        ));
    }
    assert_eq!(bench.forwarded(), 0);
}

#[test]
fn refuses_alpha_of_low_order_or_not_canonical() {
    let mut bench = Bench::new();
    let good = bench.good().into_bytes();
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    let minus_one = {
        let mut bytes = prime;
        bytes[0] -= 1;
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut high_bit: [u8; 32] = good[..32].try_into().unwrap();
    high_bit[31] |= 0x80;
    for alpha in [[0; 32], one, minus_one, prime, [0xff; 32], high_bit] {
        let mut packet = good.clone();
        packet[..32].copy_from_slice(&alpha);
        assert_eq!(bench.hand_in(&packet), Some(Refusal::BadGroupElement));
    }
    assert_eq!(bench.forwarded(), 0);
}

#[test]
fn refuses_every_version_but_one() {
    let mut bench = Bench::new();
    let own = bench.net.id(Place::Layer2, 0);
    let next = bench.net.id(Place::Layer3, 0);
    let nodes = [own, next].map(|id| {
        let key = bench.net.secret(id, E).public();
        Node::new(
            NodeAddressBytes::from_bytes(id.0),
            x25519_dalek::PublicKey::from(key.0),
        )
    });
    let destination = Destination::new(DestinationAddressBytes::from_bytes([1; 32]), [1; 16]);
    let delays = [Delay::new_from_nanos(1000); 2];
    for version in [1, 257, 258, 259, 260] {
        let packet = SphinxPacketBuilder::new()
            .with_payload_size(GEOMETRY.payload_len())
            .with_version(Version::new(version))
            .build_packet(b"dated", &nodes, &destination, &delays)
            .unwrap();
        let expected = (version != 260).then_some(Refusal::UnsupportedVersion);
        assert_eq!(bench.hand_in(&packet.to_bytes()), expected, "{version}");
    }
    assert_eq!(bench.forwarded(), 1);
}

#[test]
fn refuses_every_next_hop_but_the_next_layers() {
    let mut bench = Bench::new();
    let places = [
        (Place::Layer1, 0),
        (Place::Layer1, 1),
        (Place::Layer2, 0),
        (Place::Layer2, 1),
        (Place::Gateway, 0),
    ];
    let known = places.map(|(place, index)| bench.net.id(place, index));
    for next in known.into_iter().chain([NodeId([9; 32])]) {
        let packet = bench.to(next, HELD);
        assert_eq!(bench.hand_in(packet.as_bytes()), Some(Refusal::BadNextHop));
    }
    assert_eq!(bench.forwarded(), 0);
    let other = bench.net.id(Place::Layer3, 1);
    let packet = bench.to(other, HELD);
    assert_eq!(bench.hand_in(packet.as_bytes()), None);
    assert_eq!(bench.forwarded(), 1);
}

#[test]
fn refuses_to_deliver_anything_but_its_own_loops() {
    let mut bench = Bench::new();
    let own = Address::from(bench.net.id(Place::Layer2, 0));
    for (destination, refusal) in [
        (Address::DROP, Refusal::BadNextHop),
        (Address([5; 32]), Refusal::BadNextHop),
        (own, Refusal::BadNextHop),
        // Somebody else's identifier.
        (Address::LOOP, Refusal::SurbReused),
    ] {
        let packet = bench
            .net
            .ending(&mut bench.rng, E, Place::Layer2, destination);
        assert_eq!(bench.hand_in(packet.as_bytes()), Some(refusal));
    }
    assert_eq!(bench.forwarded(), 0);
}

#[test]
fn refuses_delays_that_no_honest_sender_draws() {
    let mut bench = Bench::new();
    let bound = bench.net.parameters.rates.delay.bound();
    let next = bench.net.id(Place::Layer3, 0);
    for delay in [bound, bound * 2, Duration::from_nanos(u64::MAX)] {
        let packet = bench.to(next, delay);
        assert_eq!(
            bench.hand_in(packet.as_bytes()),
            Some(Refusal::DelayOutOfRange)
        );
    }
    assert_eq!(bench.forwarded(), 0);
    for delay in [Duration::ZERO, bound - Duration::from_nanos(1)] {
        let packet = bench.to(next, delay);
        assert_eq!(bench.hand_in(packet.as_bytes()), None);
    }
    assert_eq!(bench.forwarded(), 2);
}

#[test]
fn forwards_one_of_two_copies_whatever_their_payloads() {
    let mut bench = Bench::new();
    let good = bench.good().into_bytes();
    let mut retouched = good.clone();
    *retouched.last_mut().unwrap() ^= 1;
    assert_eq!(bench.hand_in(&good), None);
    assert_eq!(bench.hand_in(&good), Some(Refusal::Replay));
    assert_eq!(bench.hand_in(&retouched), Some(Refusal::Replay));
    assert_eq!(bench.forwarded(), 1);
    assert_eq!(bench.hand_in(&good), Some(Refusal::Replay));
    assert_eq!(bench.forwarded(), 0);
}

#[test]
fn a_full_replay_filter_refuses_what_is_new_and_forgets_nothing() {
    let mut bench = Bench::with(MixLimits {
        replay_capacity: 50,
        ..MixLimits::default()
    });
    let packets: Vec<Packet> = (0..60).map(|_| bench.good()).collect();
    for (number, packet) in packets.iter().enumerate() {
        let expected = (number >= 50).then_some(Refusal::ReplayFilterFull);
        assert_eq!(bench.hand_in(packet.as_bytes()), expected);
    }
    for (number, packet) in packets.iter().enumerate() {
        let expected = if number < 50 {
            Refusal::Replay
        } else {
            Refusal::ReplayFilterFull
        };
        assert_eq!(bench.hand_in(packet.as_bytes()), Some(expected));
    }
    assert_eq!(bench.forwarded(), 50);
    assert_eq!(bench.mix.replay_len(E), 50);
}

#[test]
fn a_draining_mix_refuses_what_comes_and_sends_what_it_holds() {
    let mut bench = Bench::new();
    let (held, late) = (bench.good(), bench.good());
    assert_eq!(bench.hand_in(held.as_bytes()), None);
    bench.mix.drain();
    assert_eq!(bench.hand_in(late.as_bytes()), Some(Refusal::Draining));
    assert_eq!(bench.forwarded(), 1);
}
