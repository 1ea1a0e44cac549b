//! Bytes that nobody should send.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt};
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::version::Version;
use sphinx_packet::{ProcessedPacketData, SphinxPacket, SphinxPacketBuilder};
use subrosa_sphinx::{Address, Geometry, Packet, Peeled, SecretKey, Surb, WrapError};
use wire::{Refusal, SurbId};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::network::{Network, Route, bytes, deliver, forward, in_parallel, rng};

const GEOMETRY: Geometry = Geometry::new(1024).unwrap();

#[test]
fn refuses_every_alpha_of_low_order_or_not_canonical_before_any_key_is_used() {
    let good = wrapped(1);
    let open = |alpha: [u8; 32], keys: &[&SecretKey]| {
        let mut bytes = good.clone();
        bytes[..32].copy_from_slice(&alpha);
        let packet = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
        packet.open(keys).unwrap_err()
    };
    let key = SecretKey::generate(&mut rng(9));
    for alpha in bad_alphas() {
        // Without a key there is nothing to compute with: what is refused here costs nothing.
        assert_eq!(open(alpha, &[]), Refusal::BadGroupElement, "{alpha:02x?}");
        assert_eq!(open(alpha, &[&key]), Refusal::BadGroupElement);
    }
    let mut fine = [0; 32];
    fine[0] = 9;
    assert_eq!(open(fine, &[]), Refusal::BadMac);
    assert_eq!(open(fine, &[&key]), Refusal::BadMac);
}

#[test]
fn refuses_reply_blocks_with_a_bad_alpha() {
    let mut rng = rng(2);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 3).ours();
    let (surb, _) = Surb::create(&mut rng, &route, SurbId([1; 16])).unwrap();
    let mut bytes = surb.to_bytes();
    assert!(Surb::from_bytes(&bytes).is_ok());
    for alpha in bad_alphas() {
        bytes[..32].copy_from_slice(&alpha);
        assert_eq!(Surb::from_bytes(&bytes).unwrap_err(), Refusal::SurbInvalid);
    }
}

#[test]
fn refuses_the_packet_that_any_key_opens() {
    // All keys agree with zero, so a sender who routes past zeros needs to know nobody's key.
    let nodes: Vec<_> = (1..=3)
        .map(|n| {
            Node::new(
                NodeAddressBytes::from_bytes([n; 32]),
                PublicKey::from([0; 32]),
            )
        })
        .collect();
    let delays = [sphinx_packet::header::delays::Delay::new_from_millis(1); 3];
    let destination = Destination::new(DestinationAddressBytes::from_bytes([9; 32]), [7; 16]);
    let packet = SphinxPacketBuilder::new()
        .with_payload_size(GEOMETRY.payload_len())
        .build_packet(b"universal", &nodes, &destination, &delays)
        .unwrap();
    let mut bytes = packet.to_bytes();
    bytes[..32].fill(0);

    let mut rng = rng(3);
    let ours = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
    let refused = ours.open(&[&SecretKey::generate(&mut rng)]).unwrap_err();
    assert_eq!(refused, Refusal::BadGroupElement);

    // The reference does open it: the packet is what it claims to be.
    let theirs = SphinxPacket::from_bytes(&bytes).unwrap();
    let anyone = StaticSecret::from(crate::network::bytes(&mut rng));
    let peeled = theirs.process(&anyone).unwrap().data;
    assert!(matches!(peeled, ProcessedPacketData::ForwardHop { .. }));
}

#[test]
fn refuses_every_single_bit_flip_of_a_header_at_every_hop() {
    let mut rng = rng(4);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 3);
    let mut packet = wrap(&mut rng, &route);
    let last = route.stations.len() - 1;
    for (place, station) in route.stations.iter().enumerate() {
        let mut refused = 0;
        for bit in 0..Geometry::HEADER_LEN * 8 {
            let mut bytes = packet.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let flipped = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
            match flipped.open(&[&station.key]).unwrap_err() {
                Refusal::BadGroupElement => assert_eq!(bit, 255),
                refusal => assert_eq!(refusal, Refusal::BadMac),
            }
            refused += 1;
        }
        assert_eq!(refused, 2784);
        if place < last {
            packet = forward(packet, &station.key);
        }
    }
}

#[test]
fn opens_none_of_1_000_000_random_packets() {
    let key = SecretKey::generate(&mut rng(5));
    let refused = AtomicU64::new(0);
    in_parallel(1000, |batch| {
        let mut rng = rng(batch);
        let mut bytes = vec![0; GEOMETRY.packet_len()];
        rng.fill_bytes(&mut bytes);
        for _ in 0..1000 {
            rng.fill_bytes(&mut bytes[..Geometry::HEADER_LEN]);
            // Otherwise half of them would be refused for bit 255 alone.
            bytes[31] &= 0x7f;
            let packet = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
            assert_eq!(packet.open(&[&key]).unwrap_err(), Refusal::BadMac);
        }
        refused.fetch_add(1000, Ordering::Relaxed);
    });
    assert_eq!(refused.into_inner(), 1_000_000);
}

#[test]
fn takes_packets_of_the_geometrys_length_only() {
    let bytes = vec![9; 65_536 + 348];
    for length in (0..1500).chain([8540, 65_536, 65_536 + 348]) {
        let taken = Packet::from_bytes(GEOMETRY, &bytes[..length]);
        let right = length == GEOMETRY.packet_len();
        assert_eq!(
            taken.map(|_| ()),
            if right {
                Ok(())
            } else {
                Err(Refusal::BadLength)
            }
        );
    }
}

#[test]
fn refuses_every_version_but_260() {
    let mut rng = rng(6);
    let network = Network::new(&mut rng);
    for hops in [1, 3] {
        let route = network.route(&mut rng, hops);
        let (nodes, delays) = route.theirs();
        let destination = Destination::new(DestinationAddressBytes::from_bytes([1; 32]), [2; 16]);
        for version in [0, 1, 4, 256, 257, 258, 259, 260, 261, 516, u16::MAX] {
            let packet = SphinxPacketBuilder::new()
                .with_payload_size(GEOMETRY.payload_len())
                .with_version(Version::new(version))
                .build_packet(b"dated", &nodes, &destination, &delays)
                .unwrap();
            let packet = Packet::from_bytes(GEOMETRY, &packet.to_bytes()).unwrap();
            let opened = packet.open(&[&route.stations[0].key]);
            if version == 260 {
                assert!(opened.is_ok());
            } else {
                assert_eq!(
                    opened.unwrap_err(),
                    Refusal::UnsupportedVersion,
                    "{version}"
                );
            }
        }
    }
}

#[test]
fn forwards_a_changed_payload_and_refuses_it_at_the_end() {
    let mut rng = rng(7);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 3);
    let good = wrap(&mut rng, &route);
    for _ in 0..500 {
        let mut packet = good.clone();
        let changed_at = rng.random_range(0..3);
        for (place, station) in route.stations.iter().enumerate() {
            if place == changed_at {
                let mut bytes = packet.into_bytes();
                let bit = rng.random_range(0..GEOMETRY.payload_len() * 8);
                bytes[Geometry::HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
                packet = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
            }
            if place < 2 {
                packet = forward(packet, &station.key);
                assert_eq!(packet.as_bytes().len(), GEOMETRY.packet_len());
            } else {
                let payload = deliver(packet, &station.key);
                assert_eq!(payload.plaintext(), Err(Refusal::PayloadIntegrity));
                assert_eq!(payload.as_bytes().len(), GEOMETRY.payload_len());
                break;
            }
        }
    }
}

#[test]
fn tries_the_keys_in_order_and_says_which_fitted() {
    let mut rng = rng(8);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 1);
    let packet = wrap(&mut rng, &route);
    let (other, right) = (SecretKey::generate(&mut rng), &route.stations[0].key);
    let fitted = |keys: &[&SecretKey]| packet.clone().open(keys).map(|opened| opened.key_index());
    assert_eq!(fitted(&[right, &other]).unwrap(), 0);
    assert_eq!(fitted(&[&other, right]).unwrap(), 1);
    assert_eq!(fitted(&[&other]).unwrap_err(), Refusal::BadMac);
}

#[test]
fn a_point_of_torsion_added_to_alpha_changes_no_replay_tag() {
    use curve25519_dalek::{constants::EIGHT_TORSION, montgomery::MontgomeryPoint};
    let mut rng = rng(10);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 2);
    let packet = wrap(&mut rng, &route);
    let key = &route.stations[0].key;
    let tag = *packet.clone().open(&[key]).unwrap().replay_tag();
    let alpha = MontgomeryPoint(packet.as_bytes()[..32].try_into().unwrap());
    let mut copies = 0;
    for torsion in &EIGHT_TORSION[1..] {
        let mut bytes = packet.as_bytes().to_vec();
        let shifted = alpha.to_edwards(0).unwrap() + torsion;
        bytes[..32].copy_from_slice(&shifted.to_montgomery().0);
        assert_ne!(bytes, packet.as_bytes());
        let copy = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
        assert_eq!(*copy.open(&[key]).unwrap().replay_tag(), tag);
        copies += 1;
    }
    assert_eq!(copies, 7);
}

#[test]
fn refuses_to_wrap_what_the_format_has_no_room_for() {
    let mut rng = rng(11);
    let network = Network::new(&mut rng);
    let mut refused = |route: &[_], payload: &[u8]| {
        let to = Address::DROP;
        Packet::wrap(&mut rng, GEOMETRY, route, to, [0; 16], payload).unwrap_err()
    };
    let route = network.route(&mut crate::network::rng(1), 5).ours();
    assert_eq!(refused(&[], b""), WrapError::EmptyRoute);
    assert_eq!(
        refused(&[&route[..4], &route[..2]].concat(), b""),
        WrapError::TooManyHops
    );
    let too_long = vec![0; GEOMETRY.capacity() + 1];
    assert_eq!(refused(&route, &too_long), WrapError::PayloadTooLong);
    let mut held = route.clone();
    held[4].delay = std::time::Duration::from_nanos(1);
    assert_eq!(refused(&held, b""), WrapError::DelayAtLastHop);
    held = route;
    held[0].delay = std::time::Duration::MAX;
    assert_eq!(refused(&held, b""), WrapError::DelayTooLong);
}

#[test]
fn no_length_changes_on_the_way() {
    let network = Network::new(&mut rng(12));
    bolero::check!()
        .with_type::<(u64, u8, u16)>()
        .for_each(|&(seed, hops, length)| {
            let mut rng = rng(seed);
            let route = network.route(&mut rng, usize::from(hops % 5) + 1);
            let payload = vec![1; usize::from(length) % (GEOMETRY.capacity() + 1)];
            let to = Address::LOOP;
            let hops = route.ours();
            let mut packet =
                Packet::wrap(&mut rng, GEOMETRY, &hops, to, [1; 16], &payload).unwrap();
            for station in &route.stations {
                assert_eq!(packet.as_bytes().len(), GEOMETRY.packet_len());
                match packet.open(&[&station.key]).unwrap().finish() {
                    Peeled::Forward { packet: next, .. } => packet = next,
                    Peeled::Deliver { payload: end, .. } => {
                        assert_eq!(end.as_bytes().len(), GEOMETRY.payload_len());
                        assert_eq!(end.plaintext().unwrap(), payload);
                        break;
                    }
                }
            }
        });
}

#[test]
fn opening_any_bytes_opens_or_refuses() {
    let key = SecretKey::from_bytes([7; 32]);
    let good = wrapped(13);
    bolero::check!().for_each(|input: &[u8]| {
        if let Ok(packet) = Packet::from_bytes(GEOMETRY, input) {
            let _ = packet.open(&[&key]).map(|opened| opened.finish());
        }
        // The same bytes laid over a packet, so that inputs of any length reach the header.
        let mut bytes = good.clone();
        for (byte, input) in bytes.iter_mut().zip(input) {
            *byte ^= input;
        }
        let packet = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
        let changed = input
            .iter()
            .take(Geometry::HEADER_LEN)
            .any(|&byte| byte != 0);
        match packet.open(&[&good_key()]) {
            Ok(opened) => {
                assert!(!changed);
                let _ = opened.finish();
            }
            Err(refusal) => {
                assert!(changed);
                assert!([Refusal::BadMac, Refusal::BadGroupElement].contains(&refusal));
            }
        }
    });
}

#[test]
fn replying_with_any_bytes_gives_a_packet_or_a_refusal() {
    bolero::check!()
        .with_type::<([u8; Geometry::SURB_LEN], Vec<u8>)>()
        .for_each(|(bytes, payload)| match Surb::from_bytes(bytes) {
            Err(refusal) => assert_eq!(refusal, Refusal::SurbInvalid),
            Ok(surb) => {
                assert_eq!(surb.to_bytes(), *bytes);
                let fits = payload.len() <= GEOMETRY.capacity();
                let packet = surb.reply(GEOMETRY, payload);
                assert_eq!(packet.is_ok(), fits);
                if let Ok(packet) = packet {
                    assert_eq!(packet.as_bytes().len(), GEOMETRY.packet_len());
                }
            }
        });
}

/// Every encoding of every point of low order, and others that are not canonical.
fn bad_alphas() -> Vec<[u8; 32]> {
    let low_order = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        // p - 1, p, p + 1
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut alphas: Vec<[u8; 32]> = low_order.into_iter().map(hex).collect();
    // The rest of the encodings at and above p.
    alphas.extend((0xed..=0xff).map(|first| {
        let mut alpha = [0xff; 32];
        (alpha[0], alpha[31]) = (first, 0x7f);
        alpha
    }));
    // Bit 255, which X25519 ignores, on all of these and on points that are fine without it.
    let fine = (0..16).map(|seed| SecretKey::from_bytes([seed; 32]).public().0);
    let high: Vec<_> = alphas.iter().copied().chain(fine).collect();
    alphas.extend(high.into_iter().map(|mut alpha| {
        alpha[31] |= 0x80;
        alpha
    }));
    alphas
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

fn wrap(rng: &mut rand_chacha::ChaCha20Rng, route: &Route<'_>) -> Packet {
    let (to, identifier) = (Address(bytes(rng)), bytes(rng));
    Packet::wrap(rng, GEOMETRY, &route.ours(), to, identifier, b"a question").unwrap()
}

/// A packet of one hop that [`good_key`] opens.
fn wrapped(seed: u64) -> Vec<u8> {
    let hop = subrosa_sphinx::Hop {
        address: Address([1; 32]),
        key: subrosa_sphinx::RouteKey::new(good_key().public()).unwrap(),
        delay: std::time::Duration::ZERO,
    };
    let to = Address::DROP;
    let packet = Packet::wrap(&mut rng(seed), GEOMETRY, &[hop], to, [1; 16], b"a question");
    packet.unwrap().into_bytes().into_vec()
}

fn good_key() -> SecretKey {
    SecretKey::from_bytes([5; 32])
}
