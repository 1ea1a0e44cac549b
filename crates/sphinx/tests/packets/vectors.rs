//! The frozen vectors, which `examples/make_vectors.rs` made with the reference implementation.

use std::time::Duration;

use serde_json::Value;
use subrosa_sphinx::{Address, Geometry, Next, Packet, Peeled, SecretKey, Surb};
use wire::Refusal;

macro_rules! vector {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../vectors/", $name, ".json"))).unwrap()
    };
}

#[test]
fn opens_the_frozen_packets_hop_by_hop() {
    let vectors = [
        vector!("packet_1_hops"),
        vector!("packet_2_hops"),
        vector!("packet_3_hops"),
        vector!("packet_4_hops"),
        vector!("packet_5_hops"),
    ];
    for (hops, vector) in (1..).zip(&vectors) {
        assert_eq!(walk(vector).plaintext(), Ok(hex(&vector["plaintext"])));
        assert_eq!(vector["hops"].as_array().unwrap().len(), hops);
    }
}

#[test]
fn makes_the_frozen_reply_and_opens_it() {
    let vector = vector!("surb_reply");
    let surb = hex(&vector["surb"]);
    let surb = Surb::from_bytes(surb.as_slice().try_into().unwrap()).unwrap();
    assert_eq!(surb.first_hop().0.to_vec(), hex(&vector["first_hop"]));
    let packet = surb
        .reply(geometry(&vector), &hex(&vector["plaintext"]))
        .unwrap();
    assert!(packet.as_bytes() == hex(&vector["hops"][0]["packet"]));

    // Only the maker of the reply block reads it.
    let payload = walk(&vector);
    assert_eq!(payload.plaintext(), Err(Refusal::PayloadIntegrity));
}

#[test]
fn forwards_the_frozen_payload_flip_and_refuses_it_at_the_end() {
    let vector = vector!("payload_flip");
    assert_eq!(vector["refusal"], Refusal::PayloadIntegrity.label());
    assert_eq!(walk(&vector).plaintext(), Err(Refusal::PayloadIntegrity));
}

#[test]
fn refuses_the_frozen_bad_packets_by_name() {
    let vectors = [
        (vector!("bad_mac"), Refusal::BadMac),
        (vector!("bad_version"), Refusal::UnsupportedVersion),
        (vector!("low_order_alpha"), Refusal::BadGroupElement),
        (vector!("non_canonical_alpha"), Refusal::BadGroupElement),
        (vector!("truncated"), Refusal::BadLength),
    ];
    for (vector, refusal) in vectors {
        let packet = Packet::from_bytes(geometry(&vector), &hex(&vector["packet"]));
        let opened = packet.and_then(|packet| packet.open(&[&key(&vector)]));
        assert_eq!(opened.map(|_| ()), Err(refusal));
        assert_eq!(vector["refusal"], refusal.label());
    }
}

/// Opens the packet at every hop and compares it with the vector, to the payload's end.
fn walk(vector: &Value) -> subrosa_sphinx::Payload {
    let hops = vector["hops"].as_array().unwrap();
    let first = hex(&hops[0]["packet"]);
    let mut packet = Packet::from_bytes(geometry(vector), &first).unwrap();
    for hop in hops {
        assert!(packet.as_bytes() == hex(&hop["packet"]));
        let opened = packet.open(&[&key(hop)]).unwrap();
        assert_eq!(opened.replay_tag().0.to_vec(), hex(&hop["replay_tag"]));
        if let Next::Hop { address, delay } = opened.next() {
            assert_eq!(address.0.to_vec(), hex(&hop["next"]));
            assert_eq!(
                delay,
                Duration::from_nanos(hop["delay_nanos"].as_u64().unwrap())
            );
        }
        match opened.finish() {
            Peeled::Forward { packet: next, .. } => packet = next,
            Peeled::Deliver {
                address: Address(address),
                identifier,
                payload,
            } => {
                let expected = &vector["deliver"];
                assert_eq!(address.to_vec(), hex(&expected["address"]));
                assert_eq!(identifier.to_vec(), hex(&expected["identifier"]));
                assert!(payload.as_bytes() == hex(&expected["payload"]));
                return payload;
            }
        }
    }
    panic!("the vector delivers nothing")
}

fn geometry(vector: &Value) -> Geometry {
    let payload_len = vector["payload_len"].as_u64().unwrap();
    Geometry::new(payload_len.try_into().unwrap()).unwrap()
}

fn key(from: &Value) -> SecretKey {
    SecretKey::from_bytes(hex(&from["secret_key"]).try_into().unwrap())
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    (0..text.len() / 2).map(byte).collect()
}
