//! The reference implementation opens ours, and we open its.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::CryptoRng;
use sphinx_packet::SphinxPacketBuilder;
use sphinx_packet::route::{Destination, DestinationAddressBytes};
use sphinx_packet::surb::{SURB, SURBMaterial};
use sphinx_packet::version::SINGLE_SEED_SURB_VERSION;
use subrosa_sphinx::{Address, Geometry, Packet, Surb};
use wire::SurbId;

use crate::network::{Network, Route, bytes, in_parallel, plaintext, rng};

/// All of 1 to 5 hops, 2, 8 and 32 KiB, packets and replies made by either side.
const CASES: u64 = 10_000;
const PAYLOADS: [usize; 5] = [2048, 8192, 2048, 8192, 32_768];

#[test]
fn agrees_with_the_reference_on_every_byte_of_10_000_packets() {
    let network = Network::new(&mut rng(0));
    let delivered = AtomicU64::new(0);
    in_parallel(CASES, |case| {
        let mut rng = rng(case + 1);
        let hops = case / 4 % 5 + 1;
        let geometry = Geometry::new(PAYLOADS[(case / 20 % 5) as usize]).unwrap();
        let route = network.route(&mut rng, hops as usize);
        match case % 4 {
            0 => our_packet(&mut rng, geometry, &route),
            1 => their_packet(&mut rng, geometry, &route),
            2 => our_surb_used_by_them(&mut rng, geometry, &route),
            _ => their_surb_used_by_us(&mut rng, geometry, &route),
        }
        delivered.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(delivered.into_inner(), CASES);
}

fn our_packet(rng: &mut dyn CryptoRng, geometry: Geometry, route: &Route<'_>) {
    let (address, identifier) = (Address(bytes(rng)), bytes(rng));
    let plaintext = plaintext(rng, geometry);
    let hops = route.ours();
    let packet = Packet::wrap(rng, geometry, &hops, address, identifier, &plaintext).unwrap();

    let delivery = route.walk(geometry, packet.as_bytes());
    assert_eq!(delivery.address, address);
    assert_eq!(delivery.identifier, identifier);
    assert!(delivery.payload.plaintext().unwrap() == plaintext);
    assert!(delivery.their_payload.recover_plaintext().unwrap() == plaintext);
}

fn their_packet(rng: &mut dyn CryptoRng, geometry: Geometry, route: &Route<'_>) {
    let (address, identifier): ([u8; 32], _) = (bytes(rng), bytes(rng));
    let plaintext = plaintext(rng, geometry);
    let (nodes, delays) = route.theirs();
    let destination = Destination::new(DestinationAddressBytes::from_bytes(address), identifier);
    let packet = SphinxPacketBuilder::new()
        .with_payload_size(geometry.payload_len())
        .build_packet(&plaintext, &nodes, &destination, &delays)
        .unwrap();

    let delivery = route.walk(geometry, &packet.to_bytes());
    assert_eq!(delivery.address.0, address);
    assert_eq!(delivery.identifier, identifier);
    assert!(delivery.payload.plaintext().unwrap() == plaintext);
}

fn our_surb_used_by_them(rng: &mut dyn CryptoRng, geometry: Geometry, route: &Route<'_>) {
    let identifier = SurbId(bytes(rng));
    let plaintext = plaintext(rng, geometry);
    let (surb, recovery) = Surb::create(rng, &route.ours(), identifier).unwrap();
    assert_eq!(recovery.identifier(), identifier);

    let theirs = SURB::from_bytes(&surb.to_bytes()).unwrap();
    assert_eq!(theirs.materials_count(), 1);
    let (packet, first_hop) = theirs.use_surb(&plaintext, geometry.payload_len()).unwrap();
    assert_eq!(first_hop.to_bytes(), route.stations[0].address.0);

    let delivery = route.walk(geometry, &packet.to_bytes());
    assert_eq!(delivery.address, Address::REPLY);
    assert_eq!(delivery.identifier, identifier.0);
    assert!(recovery.recover(delivery.payload).unwrap() == plaintext);
}

fn their_surb_used_by_us(rng: &mut dyn CryptoRng, geometry: Geometry, route: &Route<'_>) {
    let (address, identifier) = (bytes(rng), bytes(rng));
    let plaintext = plaintext(rng, geometry);
    let (nodes, delays) = route.theirs();
    let destination = Destination::new(DestinationAddressBytes::from_bytes(address), identifier);
    let material = SURBMaterial::new(nodes, delays, destination, SINGLE_SEED_SURB_VERSION);
    let (theirs, recovery) = material.construct_recoverable_SURB().unwrap();

    let surb = Surb::from_bytes(theirs.to_bytes().as_slice().try_into().unwrap()).unwrap();
    assert_eq!(surb.first_hop(), route.stations[0].address);
    let packet = surb.reply(geometry, &plaintext).unwrap();

    let delivery = route.walk(geometry, packet.as_bytes());
    assert_eq!(delivery.identifier, identifier);
    assert!(recovery.recover_plaintext(delivery.their_payload).unwrap() == plaintext);
}
