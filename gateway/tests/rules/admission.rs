//! Who may send, and where to; what may be asked.

use std::sync::Arc;
use std::time::Duration;

use directory::ServiceDescriptor;
use link::{GuestId, Peer};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use subrosa_gateway::{Answer, EveryoneUpToTheBound, Gateway, Limits};
use wire::{Call, CallRefused, Epoch, Handle, NodeId, Refusal, Register, Reply, Time};

use crate::fixture::{GATEWAY, Network};

fn frame(network: &mut Network, guest: u64, prefix: u16) {
    let packet = vec![9; network.parameters.geometry.packet_len()];
    let guest = GuestId(guest);
    network
        .gateway
        .handle_client_frame(network.now, guest, prefix, &packet);
    network.check();
}

fn ask(network: &mut Network, from: Peer, call: Call) -> Answer {
    network
        .gateway
        .handle_call(network.now, &mut network.rng, from, call)
}

fn register(network: &mut Network, guest: u64, register: Register) -> Answer {
    ask(
        network,
        Peer::Guest(GuestId(guest)),
        Call::Register(register),
    )
}

fn refused(why: CallRefused) -> Answer {
    Answer::Reply(Reply::Refused(why))
}

fn registration() -> Register {
    Register {
        handle: Handle([3; 32]),
        epoch: Epoch(1),
        class: 0,
    }
}

#[test]
fn a_clients_frame_goes_to_the_mix_that_it_names_at_once() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    for index in 0..2 {
        frame(&mut network, 1, index);
        let (peer, frame) = network.gateway.poll_transmit().unwrap();
        assert_eq!(peer, Peer::Node(network.id(usize::from(index))));
        assert_eq!((frame.prefix(), frame.packet()[0]), (0, 9));
    }
    network.check();
}

#[test]
fn refuses_a_first_hop_that_no_mix_has() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    for index in [2, 3, u16::MAX] {
        frame(&mut network, 1, index);
    }
    assert_eq!(network.refused(Refusal::BadFirstHop), 3);
    assert!(network.gateway.poll_transmit().is_none());
}

#[test]
fn refuses_a_frame_of_another_length() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    let len = network.parameters.geometry.packet_len();
    for bad in [0, len - 1, len + 1] {
        let bytes = vec![0; bad];
        network
            .gateway
            .handle_client_frame(network.now, GuestId(1), 0, &bytes);
    }
    assert_eq!(network.refused(Refusal::BadLength), 3);
    network.check();
}

#[test]
fn refuses_whoever_has_not_registered() {
    let mut network = Network::new(1, Limits::default());
    frame(&mut network, 1, 0);
    assert_eq!(network.refused(Refusal::NotAdmitted), 1);
}

#[test]
fn a_link_that_is_gone_sends_nothing() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    network.gateway.handle_disconnect(network.now, GuestId(1));
    frame(&mut network, 1, 0);
    assert_eq!(network.refused(Refusal::NotAdmitted), 1);
}

#[test]
fn refuses_what_is_faster_than_its_class() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    network.register(2, 0);
    for _ in 0..1_000 {
        frame(&mut network, 1, 0);
    }
    let burst = 1_000 - network.refused(Refusal::RateExceeded);
    assert!((32..=128).contains(&burst), "{burst}");
    // Ten seconds at 6 a second and a quarter: 75.
    network.run_until(network.now.after(Duration::from_secs(10)));
    for _ in 0..1_000 {
        frame(&mut network, 1, 0);
    }
    let later = 2_000 - network.refused(Refusal::RateExceeded) - burst;
    assert!((60..=75).contains(&later), "{later}");
    let before = network.refused(Refusal::RateExceeded);
    frame(&mut network, 2, 0);
    assert_eq!(network.refused(Refusal::RateExceeded), before);
}

#[test]
fn refuses_a_class_and_an_epoch_that_are_not_in_the_document() {
    let mut network = Network::new(1, Limits::default());
    let bad_class = Register {
        class: 9,
        ..registration()
    };
    let bad_epoch = Register {
        epoch: Epoch(2),
        ..registration()
    };
    assert_eq!(
        register(&mut network, 1, bad_class),
        refused(CallRefused::Invalid)
    );
    assert_eq!(
        register(&mut network, 1, bad_epoch),
        refused(CallRefused::WrongEpoch)
    );
    assert_eq!(network.gateway.census().accounts, 0);
}

#[test]
fn no_client_takes_the_name_of_a_node() {
    let mut network = Network::new(1, Limits::default());
    for node in 0..=GATEWAY {
        let stolen = Register {
            handle: Handle(network.id(node).0),
            ..registration()
        };
        assert_eq!(
            register(&mut network, 1, stolen),
            refused(CallRefused::Invalid)
        );
    }
}

#[test]
fn nodes_do_not_register() {
    let mut network = Network::new(1, Limits::default());
    let from = Peer::Node(network.id(0));
    let answer = ask(&mut network, from, Call::Register(registration()));
    assert_eq!(answer, refused(CallRefused::NotForThisNode));
}

#[test]
fn admits_up_to_its_bound_and_makes_room_of_who_is_away() {
    let limits = Limits {
        clients: 2,
        ..Limits::default()
    };
    let mut network = Network::new(1, limits);
    network.register(1, 0);
    network.register(2, 0);
    assert_eq!(
        register(&mut network, 3, registration()),
        refused(CallRefused::Busy)
    );
    network.gateway.handle_disconnect(network.now, GuestId(1));
    assert_eq!(
        register(&mut network, 3, registration()),
        Answer::Reply(Reply::Done)
    );
    assert_eq!(network.gateway.census().accounts, 2);
}

#[test]
fn first_hops_count_by_the_document_of_the_registration() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    network.enter_epoch(Epoch(2));
    // Still by the document of epoch 1, which is kept for the overlap.
    frame(&mut network, 1, 1);
    assert_eq!(
        network.gateway.poll_transmit().unwrap().0,
        Peer::Node(network.id(1))
    );
    network.register(1, 0);
    frame(&mut network, 1, 1);
    // The fixture turns the layers by one place an epoch.
    assert_eq!(
        network.gateway.poll_transmit().unwrap().0,
        Peer::Node(network.id(0))
    );
}

#[test]
fn hands_out_the_documents_that_it_has() {
    let mut network = Network::new(1, Limits::default());
    let from = Peer::Guest(GuestId(1));
    assert_eq!(
        ask(&mut network, from, Call::NewestDocument),
        refused(CallRefused::NotYet)
    );
    for epoch in 1..=5u8 {
        let encoded: Arc<[u8]> = Arc::new([epoch; 3]);
        network
            .gateway
            .set_document(Epoch(u64::from(epoch)), encoded);
    }
    let document = |byte| Answer::Reply(Reply::Document(vec![byte; 3]));
    assert_eq!(ask(&mut network, from, Call::NewestDocument), document(5));
    assert_eq!(
        ask(&mut network, from, Call::Document(Epoch(4))),
        document(4)
    );
    assert_eq!(
        ask(&mut network, from, Call::Document(Epoch(1))),
        refused(CallRefused::NotYet)
    );
}

#[test]
fn hands_out_what_the_authorities_clocks_show_while_it_is_fresh() {
    let mut network = Network::new(1, Limits::default());
    let from = Peer::Guest(GuestId(1));
    let unknown = refused(CallRefused::NotYet);
    assert_eq!(ask(&mut network, from, Call::Clocks), unknown);
    network.gateway.set_clocks(network.now, Arc::from([7; 9]));
    let shown = Answer::Reply(Reply::Clocks(vec![7; 9]));
    assert_eq!(ask(&mut network, from, Call::Clocks), shown);
    network.now = network.now.after(Duration::from_secs(45));
    assert_eq!(ask(&mut network, from, Call::Clocks), shown);
    network.now = network.now.after(Duration::from_secs(1));
    assert_eq!(ask(&mut network, from, Call::Clocks), unknown);
}

#[test]
fn passes_on_a_clients_service_descriptor_and_nothing_else() {
    let limits = Limits {
        publications: 2,
        ..Limits::default()
    };
    let mut network = Network::new(1, limits);
    let from = Peer::Guest(GuestId(1));
    let service = network.service_descriptor();
    let publish = Call::Publish(service.clone());
    assert_eq!(
        ask(&mut network, from, publish.clone()),
        Answer::Relay(service.clone())
    );
    let mut forged = service;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        ask(&mut network, from, Call::Publish(forged)),
        refused(CallRefused::Invalid)
    );
    assert_eq!(ask(&mut network, from, publish), refused(CallRefused::Busy));
}

#[test]
fn a_gateway_that_drains_admits_nothing_and_holds_nothing() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    frame(&mut network, 1, 0);
    network.gateway.drain();
    frame(&mut network, 1, 0);
    assert_eq!(network.refused(Refusal::Draining), 2);
    assert_eq!(network.gateway.held(), 0);
    assert!(network.gateway.poll_transmit().is_none());
    assert_eq!(
        register(&mut network, 2, registration()),
        refused(CallRefused::Busy)
    );
}

#[test]
fn before_the_first_document_services_publish_within_their_bound() {
    let network = Network::new(1, Limits::default());
    let service = network.service_descriptor();
    let limits = Limits {
        publications: 3,
        ..Limits::default()
    };
    let admission = Box::new(EveryoneUpToTheBound);
    let parameters = network.parameters.clone();
    let mut gateway = Gateway::new(NodeId([9; 32]), parameters, limits, admission);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut publish = |guest: u64, bytes: Vec<u8>| {
        let from = Peer::Guest(GuestId(guest));
        gateway.handle_call(Time::ZERO, &mut rng, from, Call::Publish(bytes))
    };
    let long = vec![0; ServiceDescriptor::MAX_LEN + 1];
    assert_eq!(publish(1, long), refused(CallRefused::Invalid));
    for _ in 0..2 {
        let answer = publish(1, service.clone());
        assert_eq!(answer, Answer::Relay(service.clone()));
    }
    assert_eq!(publish(1, service.clone()), refused(CallRefused::Busy));
    // All links together have their bound, too.
    let passed =
        (2..200).filter(|guest| publish(*guest, service.clone()) == Answer::Relay(service.clone()));
    assert_eq!(passed.count(), 62);
}
