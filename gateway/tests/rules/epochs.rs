//! The turn of an epoch.

use link::{Frame, GuestId, Peer};
use sphinx::Address;
use subrosa_gateway::Limits;
use wire::{Epoch, Refusal, Time};

use crate::fixture::Network;

/// Just before and after the keys of epoch 1 go.
fn end_of_overlap(network: &Network) -> Time {
    let parameters = &network.parameters;
    Time::ZERO.after(parameters.epoch + parameters.overlap)
}

#[test]
fn two_epochs_open_in_the_overlap_and_one_after_it() {
    let mut network = Network::new(5, Limits::default());
    let old = network.ending(Address::DROP, b"");
    let late = network.ending(Address::DROP, b"");
    network.run_until(Time::ZERO.after(network.parameters.epoch));
    network.enter_epoch(Epoch(2));
    network.arrive(&old);
    let new = network.ending(Address::DROP, b"");
    network.arrive(&new);
    assert_eq!(network.gateway.ledger().consumed, 2);
    let end = end_of_overlap(&network);
    network.run_until(end);
    network.arrive(&late);
    assert_eq!(network.refused(Refusal::BadMac), 1);
}

#[test]
fn a_handle_of_the_last_epoch_leads_to_its_client_until_the_overlap_ends() {
    let mut network = Network::new(5, Limits::default());
    let old = network.register(1, 0);
    let packets = [network.passing(old.into()), network.passing(old.into())];
    network.run_until(Time::ZERO.after(network.parameters.epoch));
    network.enter_epoch(Epoch(2));
    network.register(1, 0);
    network.arrive(&packets[0]);
    let end = end_of_overlap(&network);
    let sent = network.run_until(end);
    let delivered = |(_, peer, frame): &&(Time, Peer, Frame)| {
        *peer == Peer::Guest(GuestId(1)) && frame.prefix() == Frame::PACKET
    };
    assert_eq!(sent.iter().filter(delivered).count(), 1);
    let now_unknown = network.passing(old.into());
    network.arrive(&now_unknown);
    assert_eq!(network.refused(Refusal::UnknownHandle), 1);
}

#[test]
fn an_account_without_a_handle_ends_when_its_client_is_away() {
    let mut network = Network::new(5, Limits::default());
    let handle = network.register(1, 0);
    network.register(2, 0);
    network.attach(1, handle, 1);
    network.gateway.handle_disconnect(network.now, GuestId(1));
    let packet = network.passing(handle.into());
    network.arrive(&packet);
    let end = end_of_overlap(&network);
    network.enter_epoch(Epoch(2));
    network.run_until(end);
    let census = network.gateway.census();
    assert_eq!((census.accounts, census.mailboxes), (1, 0));
    assert_eq!(network.refused(Refusal::WrongEpoch), 1);
}

#[test]
fn a_client_that_does_not_register_anew_gets_cover_and_sends_nothing() {
    let mut network = Network::new(5, Limits::default());
    network.register(1, 0);
    network.enter_epoch(Epoch(2));
    let end = end_of_overlap(&network);
    network.run_until(end);
    let packet = vec![0; network.parameters.geometry.packet_len()];
    network
        .gateway
        .handle_client_frame(network.now, GuestId(1), 0, &packet);
    assert_eq!(network.refused(Refusal::WrongEpoch), 1);
    let sent = network.run_until(end.after(std::time::Duration::from_secs(10)));
    let to_client = |(_, peer, _): &&(Time, Peer, Frame)| *peer == Peer::Guest(GuestId(1));
    assert!(sent.iter().filter(to_client).count() > 60);
}

#[test]
fn a_gateway_without_a_place_in_the_document_sends_no_loops() {
    let mut network = Network::new(5, Limits::default());
    network
        .gateway
        .enter_epoch(network.now, &mut network.rng, Epoch(7));
    let sent = network.run_until(Time::ZERO.after(std::time::Duration::from_secs(60)));
    assert!(sent.is_empty());
}
