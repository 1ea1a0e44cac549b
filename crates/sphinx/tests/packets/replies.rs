//! What a reply block gives to who holds it, and what not.

use sphinx_packet::payload::Payload;
use sphinx_packet::payload::key::derive_payload_key;
use sphinx_packet::route::{Destination, DestinationAddressBytes};
use sphinx_packet::surb::SURBMaterial;
use sphinx_packet::version::PAYLOAD_KEYS_SEEDS_VERSION;
use subrosa_sphinx::{Geometry, Packet, Surb, WrapError};
use wire::{Refusal, SurbId};

use crate::network::{Network, Route, deliver, forward, rng};

const GEOMETRY: Geometry = Geometry::new(1024).unwrap();

#[test]
fn holds_the_seed_of_the_last_hop_and_no_other() {
    let mut rng = rng(1);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 5);
    let (surb, _) = Surb::create(&mut rng, &route.ours(), SurbId([1; 16])).unwrap();
    let bytes = surb.to_bytes();
    assert_eq!(bytes.len(), 396);
    let packet = surb.reply(GEOMETRY, b"an answer").unwrap();
    // The holder knows the last hop's key and no other: what leaves the hops before it cannot be
    // computed from what the reply block holds.
    assert_eq!(predictable_hops(&bytes, &route, packet), [4]);
}

#[test]
fn an_old_reply_block_would_give_every_hop_away() {
    let mut rng = rng(2);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 3);
    let (nodes, delays) = route.theirs();
    let destination = Destination::new(DestinationAddressBytes::from_bytes([1; 32]), [2; 16]);
    let old = SURBMaterial::new(nodes, delays, destination, PAYLOAD_KEYS_SEEDS_VERSION);
    let old = old.construct_SURB().unwrap();
    let bytes = old.to_bytes();
    assert_eq!(old.materials_count(), 3);
    let (packet, _) = old.use_surb(b"an answer", GEOMETRY.payload_len()).unwrap();
    let key = &route.stations[0].their_key;
    let payload = payload_of(&packet.to_bytes());
    let sphinx_packet::ProcessedPacketData::ForwardHop {
        next_hop_packet, ..
    } = packet.process(key).unwrap().data
    else {
        panic!("two hops are left")
    };
    assert!(maps_with_some_seed(
        &bytes,
        &payload,
        &payload_of(&next_hop_packet.to_bytes())
    ));
}

#[test]
fn refuses_a_reply_that_was_changed_on_its_way() {
    let mut rng = rng(3);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 2);
    for flipped in [348, 348 + 500, 348 + 1023] {
        let (surb, recovery) = Surb::create(&mut rng, &route.ours(), SurbId([1; 16])).unwrap();
        let mut bytes = surb.reply(GEOMETRY, b"an answer").unwrap().into_bytes();
        bytes[flipped] ^= 0x10;
        let packet = Packet::from_bytes(GEOMETRY, &bytes).unwrap();
        let packet = forward(packet, &route.stations[0].key);
        let payload = deliver(packet, &route.stations[1].key);
        assert_eq!(recovery.recover(payload), Err(Refusal::PayloadIntegrity));
    }
}

#[test]
fn reads_no_reply_to_another_block() {
    let mut rng = rng(4);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 2);
    let (surb, _) = Surb::create(&mut rng, &route.ours(), SurbId([1; 16])).unwrap();
    let (_, other) = Surb::create(&mut rng, &route.ours(), SurbId([1; 16])).unwrap();
    let packet = surb.reply(GEOMETRY, b"an answer").unwrap();
    let packet = forward(packet, &route.stations[0].key);
    let payload = deliver(packet, &route.stations[1].key);
    assert_eq!(other.recover(payload), Err(Refusal::PayloadIntegrity));
}

#[test]
fn refuses_to_make_what_the_format_has_no_room_for() {
    let mut rng = rng(5);
    let network = Network::new(&mut rng);
    let route = network.route(&mut rng, 2).ours();
    let refused = |rng: &mut rand_chacha::ChaCha20Rng, route: &[_], id| {
        Surb::create(rng, route, SurbId(id)).unwrap_err()
    };
    assert_eq!(refused(&mut rng, &[], [1; 16]), WrapError::EmptyRoute);
    assert_eq!(
        refused(&mut rng, &route, [0; 16]),
        WrapError::ZeroIdentifier
    );
    let long = network.route(&mut rng, 6).ours();
    assert_eq!(refused(&mut rng, &long, [1; 16]), WrapError::TooManyHops);

    let (surb, _) = Surb::create(&mut rng, &route, SurbId([1; 16])).unwrap();
    let too_long = vec![0; GEOMETRY.capacity() + 1];
    assert_eq!(
        surb.reply(GEOMETRY, &too_long),
        Err(WrapError::PayloadTooLong)
    );
}

/// The hops whose work on the payload can be repeated with a key found anywhere in `surb`.
fn predictable_hops(surb: &[u8], route: &Route<'_>, packet: Packet) -> Vec<usize> {
    let mut before = payload_of(packet.as_bytes());
    let mut packet = Some(packet);
    let mut found = Vec::new();
    for (place, station) in route.stations.iter().enumerate() {
        let now = packet.take().unwrap();
        let after = if place + 1 == route.stations.len() {
            deliver(now, &station.key).as_bytes().to_vec()
        } else {
            let now = packet.insert(forward(now, &station.key));
            payload_of(now.as_bytes())
        };
        if maps_with_some_seed(surb, &before, &after) {
            found.push(place);
        }
        before = after;
    }
    found
}

/// Whether some 16 bytes of `surb` are the seed of the layer between `before` and `after`.
fn maps_with_some_seed(surb: &[u8], before: &[u8], after: &[u8]) -> bool {
    surb.windows(16).any(|window| {
        let key = derive_payload_key(window.try_into().unwrap());
        let payload = Payload::from_bytes(before).unwrap();
        payload.unwrap(key).unwrap().as_bytes() == after
    })
}

fn payload_of(packet: &[u8]) -> Vec<u8> {
    packet[Geometry::HEADER_LEN..].to_vec()
}
