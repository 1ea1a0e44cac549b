//! What becomes of packets that layer 3 hands over.

use std::time::Duration;

use link::{Frame, GuestId, Peer};
use sphinx::{Address, Packet};
use subrosa_gateway::Limits;
use wire::{Handle, NodeId, Refusal};

use crate::fixture::{GATEWAY, Network};

const MINUTE: Duration = Duration::from_secs(60);

/// What waits at the far side of one hop: the packet that the gateway passes on.
fn real(sent: &[(wire::Time, Peer, Frame)], kind: u16) -> usize {
    let to_guest = |peer: &Peer| matches!(peer, Peer::Guest(_));
    let of_kind =
        |(_, peer, frame): &&(wire::Time, Peer, Frame)| to_guest(peer) && frame.prefix() == kind;
    sent.iter().filter(of_kind).count()
}

#[test]
fn a_packet_for_a_handle_is_delivered_to_its_client_and_looks_like_the_rest() {
    let mut network = Network::new(2, Limits::default());
    let handle = network.register(1, 0);
    network.register(2, 0);
    let packet = network.passing(handle.into());
    network.arrive(&packet);
    let sent = network.run_until(network.now.after(MINUTE));
    let delivered: Vec<_> = sent
        .iter()
        .filter(|(_, _, frame)| frame.prefix() == Frame::PACKET)
        .collect();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].1, Peer::Guest(GuestId(1)));
    let frame_len = network.parameters.geometry.frame_len();
    assert!(sent.iter().all(|(_, _, f)| f.as_bytes().len() == frame_len));
    assert!(real(&sent, Frame::DUMMY) > 1_000);
}

#[test]
fn what_comes_for_a_client_that_is_away_waits_to_its_bound() {
    let limits = Limits {
        client_queue: 3,
        ..Limits::default()
    };
    let mut network = Network::new(2, limits);
    let handle = network.register(1, 0);
    network.gateway.handle_disconnect(network.now, GuestId(1));
    for _ in 0..5 {
        let packet = network.passing(handle.into());
        network.arrive(&packet);
    }
    assert_eq!(network.refused(Refusal::Overload), 2);
    let sent = network.run_until(network.now.after(MINUTE));
    assert_eq!(real(&sent, Frame::DUMMY) + real(&sent, Frame::PACKET), 0);
    network.register_as(9, handle, 0);
    let sent = network.run_until(network.now.after(MINUTE));
    assert_eq!(real(&sent, Frame::PACKET), 3);
}

#[test]
fn refuses_a_handle_that_nobody_has() {
    let mut network = Network::new(2, Limits::default());
    let packet = network.passing(Handle([5; 32]).into());
    network.arrive(&packet);
    assert_eq!(network.refused(Refusal::UnknownHandle), 1);
}

#[test]
fn refuses_every_node_but_a_mix_of_layer_1() {
    let mut network = Network::new(2, Limits::default());
    for node in 2..8 {
        let packet = network.passing(network.id(node).into());
        network.arrive(&packet);
    }
    assert_eq!(network.refused(Refusal::BadNextHop), 6);
    assert_eq!(network.gateway.held(), 0);
}

#[test]
fn refuses_a_packet_that_asks_for_a_delay() {
    let mut network = Network::new(2, Limits::default());
    let handle = network.register(1, 0);
    for delay in [Duration::from_nanos(1), Duration::from_secs(3_600)] {
        let mut hop = network.gateway_hop();
        hop.delay = delay;
        let last = network.hop(0);
        let route = [
            hop,
            sphinx::Hop {
                address: handle.into(),
                ..last
            },
        ];
        let packet = network.wrap(&route, Address::LOOP, b"");
        network.arrive(&packet);
    }
    assert_eq!(network.refused(Refusal::DelayOutOfRange), 2);
}

#[test]
fn refuses_a_replay() {
    let mut network = Network::new(2, Limits::default());
    let handle = network.register(1, 0);
    let packet = network.passing(handle.into());
    for _ in 0..10 {
        network.arrive(&packet);
    }
    assert_eq!(network.refused(Refusal::Replay), 9);
    let sent = network.run_until(network.now.after(MINUTE));
    assert_eq!(real(&sent, Frame::PACKET), 1);
}

#[test]
fn a_loop_of_a_mix_passes_through_on_the_gateways_own_clock() {
    let mut network = Network::new(2, Limits::default());
    let packets: Vec<Packet> = (0..20)
        .map(|number| network.passing(network.id(number % 2).into()))
        .collect();
    for packet in &packets {
        network.arrive(packet);
    }
    // Nothing leaves because something came.
    assert!(network.gateway.poll_transmit().is_none());
    assert_eq!(network.gateway.held(), 20);
    let sent = network.run_until(network.now.after(MINUTE));
    let (loops, counts) = (sent.len() as u64 - 20, network.gateway.loops().counts());
    assert_eq!(counts.sent, loops);
    for (place, (_, peer, _)) in sent.iter().take(20).enumerate() {
        assert_eq!(*peer, Peer::Node(network.id(place % 2)));
    }
}

#[test]
fn the_queue_for_layer_1_has_its_bound() {
    let limits = Limits {
        layer_queue: 4,
        ..Limits::default()
    };
    let mut network = Network::new(2, limits);
    for _ in 0..6 {
        let packet = network.passing(network.id(0).into());
        network.arrive(&packet);
    }
    assert_eq!(network.refused(Refusal::Overload), 2);
    assert_eq!(network.gateway.held(), 4);
}

#[test]
fn cover_ends_here() {
    let mut network = Network::new(2, Limits::default());
    let packet = network.ending(Address::DROP, b"");
    network.arrive(&packet);
    assert_eq!(network.gateway.ledger().consumed, 1);
}

#[test]
fn own_loops_come_back_once() {
    let mut network = Network::new(2, Limits::default());
    let sent = network.run_until(network.now.after(Duration::from_secs(5)));
    assert!(sent.len() > 50);
    for (_, peer, frame) in &sent {
        let Peer::Node(first) = peer else {
            panic!("nobody else is linked");
        };
        let (at, packet) = network.through_the_mixes(*first, frame.packet());
        assert_eq!(at, network.id(GATEWAY));
        network.arrive(&packet);
    }
    let counts = network.gateway.loops().counts();
    assert_eq!(
        (counts.sent, counts.returned),
        (sent.len() as u64, counts.sent)
    );
    assert_eq!(network.gateway.ledger().consumed, counts.returned);
}

#[test]
fn loops_that_do_not_come_back_are_missed() {
    let mut network = Network::new(2, Limits::default());
    network.run_until(network.now.after(MINUTE));
    let counts = network.gateway.loops().counts();
    assert!(counts.lost > 800 && counts.returned == 0);
    assert!(network.gateway.loops().alarms());
}

#[test]
fn refuses_a_loop_that_is_not_its_own() {
    let mut network = Network::new(2, Limits::default());
    let packet = network.ending(Address::LOOP, b"");
    network.arrive(&packet);
    assert_eq!(network.refused(Refusal::SurbReused), 1);
}

#[test]
fn a_packet_for_another_gateway_does_not_open() {
    let mut network = Network::new(2, Limits::default());
    let other = network.hop(GATEWAY + 1);
    let packet = network.wrap(&[other], Address::DROP, b"");
    network.arrive(&packet);
    assert_eq!(network.refused(Refusal::BadMac), 1);
}

#[test]
fn a_changed_payload_is_counted_and_changes_nothing_that_shows() {
    let clean = transcript(false);
    let changed = transcript(true);
    assert_eq!(clean.0, changed.0);
    assert_eq!((clean.1, changed.1), (0, 50));
}

/// Times, receivers and lengths of a minute's frames, while 50 packets for a mailbox come in.
type Seen = Vec<(wire::Time, Peer, usize)>;

fn transcript(change: bool) -> (Seen, u64) {
    let mut network = Network::new(3, Limits::default());
    let handle = network.register(1, 0);
    let mailbox = network.attach(1, handle, 1);
    for number in 0..50 {
        let packet = network.ending(mailbox.into(), b"sealed");
        let mut bytes = packet.into_bytes();
        if change {
            bytes[360 + 20 * number] ^= 1 << (number % 8);
        }
        let packet = Packet::from_bytes(network.parameters.geometry, &bytes).unwrap();
        network.arrive(&packet);
    }
    let sent = network.run_until(network.now.after(MINUTE));
    let seen = sent
        .iter()
        .map(|(at, peer, frame)| (*at, *peer, frame.as_bytes().len()));
    let to_clients = seen.filter(|(_, peer, _)| matches!(peer, Peer::Guest(_)));
    (
        to_clients.collect(),
        network.refused(Refusal::PayloadIntegrity),
    )
}

#[test]
fn the_link_may_refuse_and_the_account_stays_in_order() {
    let mut network = Network::new(2, Limits::default());
    network.register(1, 0);
    network.gateway.refuse_unseen(Refusal::RateExceeded, 3);
    let sent = network.run_until(network.now.after(MINUTE));
    let half = sent.len() as u64 / 2;
    network.gateway.unsent(half, Refusal::NotConnected);
    network.check();
    assert_eq!(network.refused(Refusal::RateExceeded), 3);
    assert_eq!(network.refused(Refusal::NotConnected), half);
    assert_eq!(network.gateway.ledger().sent, sent.len() as u64 - half);
}

#[test]
fn a_handle_in_the_place_of_a_node_is_nobodys() {
    let mut network = Network::new(2, Limits::default());
    let packet = network.passing(NodeId([0x55; 32]).into());
    network.arrive(&packet);
    assert_eq!(network.refused(Refusal::UnknownHandle), 1);
}
