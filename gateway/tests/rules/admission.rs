//! Who may send, and where to.

use link::{GuestId, Peer};
use subrosa_gateway::Limits;
use wire::Refusal;

use crate::fixture::Network;

#[test]
fn a_clients_frame_goes_to_the_mix_that_it_names_at_once() {
    let mut network = Network::new(1, Limits::default());
    network.register(1, 0);
    let packet = vec![9; network.parameters.geometry.packet_len()];
    for index in 0..2 {
        network
            .gateway
            .handle_client_frame(network.now, GuestId(1), index, &packet);
        let (peer, frame) = network.gateway.poll_transmit().unwrap();
        assert_eq!(peer, Peer::Node(network.id(usize::from(index))));
        assert_eq!((frame.prefix(), frame.packet()), (0, &packet[..]));
    }
    network.check();
    assert_eq!(network.refused(Refusal::BadFirstHop), 0);
}
