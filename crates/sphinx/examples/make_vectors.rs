//! Made the frozen vectors under `tests/vectors/` with the reference implementation and its own
//! randomness. It is kept to show how; running it again replaces them by others:
//! `cargo run -p subrosa-sphinx --example make_vectors -- DIRECTORY`.

use std::path::Path;

use serde_json::{Value, json};
use sphinx_packet::header::delays::Delay;
use sphinx_packet::payload::Payload;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::surb::{SURBMaterial, SurbReplyRecovery};
use sphinx_packet::version::{PAYLOAD_KEYS_SEEDS_VERSION, SINGLE_SEED_SURB_VERSION, Version};
use sphinx_packet::{ProcessedPacketData, SphinxPacket, SphinxPacketBuilder};
use x25519_dalek::{PublicKey, StaticSecret};

const PAYLOAD_LEN: usize = 1024;
const PLAINTEXT: &[u8] = b"Ask a model a question, and nobody learns who asked.";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("name a directory")?;
    let write = |name: &str, vector: Value| {
        let text = serde_json::to_string_pretty(&vector)? + "\n";
        std::fs::write(Path::new(&directory).join(name), text)
    };
    for hops in 1..=5 {
        write(&format!("packet_{hops}_hops.json"), good_packet(hops))?;
    }
    write("surb_reply.json", surb_reply())?;

    let route = Route::random(3);
    let good = route.packet(SINGLE_SEED_SURB_VERSION).to_bytes();
    let bad = |refusal: &str, bytes: &[u8]| {
        json!({
            "payload_len": PAYLOAD_LEN,
            "refusal": refusal,
            "secret_key": hex(route.keys[0].as_bytes()),
            "packet": hex(bytes),
        })
    };
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let old = route.packet(PAYLOAD_KEYS_SEEDS_VERSION).to_bytes();
    write(
        "bad_mac.json",
        bad("bad_mac", &with(&|bytes| bytes[100] ^= 1)),
    )?;
    write("bad_version.json", bad("unsupported_version", &old))?;
    write(
        "low_order_alpha.json",
        bad("bad_group_element", &universal()),
    )?;
    // The same point, so the reference opens it: bit 255 is ignored by X25519.
    let high_bit = with(&|bytes| bytes[31] |= 0x80);
    write(
        "non_canonical_alpha.json",
        bad("bad_group_element", &high_bit),
    )?;
    let truncated = with(&|bytes| bytes.truncate(bytes.len() - 1));
    write("truncated.json", bad("bad_length", &truncated))?;
    let mut flip = walk(
        &route,
        SphinxPacket::from_bytes(&with(&|bytes| bytes[700] ^= 1))?,
    );
    flip["refusal"] = json!("payload_integrity");
    write("payload_flip.json", flip)?;
    Ok(())
}

struct Route {
    keys: Vec<StaticSecret>,
    nodes: Vec<Node>,
    delays: Vec<Delay>,
    destination: Destination,
}

impl Route {
    fn random(hops: usize) -> Self {
        let keys: Vec<_> = (0..hops).map(|_| StaticSecret::random()).collect();
        let node = |key| Node::new(NodeAddressBytes::from_bytes(random()), PublicKey::from(key));
        let delay = |place| Delay::new_from_nanos(1_000_007 * (place as u64 + 1));
        Self {
            nodes: keys.iter().map(node).collect(),
            delays: (0..hops).map(delay).collect(),
            destination: Destination::new(
                DestinationAddressBytes::from_bytes(random()),
                random()[..16].try_into().expect("half of 32 bytes"),
            ),
            keys,
        }
    }

    fn packet(&self, version: Version) -> SphinxPacket {
        SphinxPacketBuilder::new()
            .with_payload_size(PAYLOAD_LEN)
            .with_version(version)
            .build_packet(PLAINTEXT, &self.nodes, &self.destination, &self.delays)
            .expect("the route fits")
    }
}

fn good_packet(hops: usize) -> Value {
    let route = Route::random(hops);
    let packet = route.packet(SINGLE_SEED_SURB_VERSION);
    let mut vector = walk(&route, packet);
    vector["plaintext"] = json!(hex(PLAINTEXT));
    vector
}

fn surb_reply() -> Value {
    let route = Route::random(5);
    let material = SURBMaterial::new(
        route.nodes.clone(),
        route.delays.clone(),
        route.destination.clone(),
        SINGLE_SEED_SURB_VERSION,
    );
    let (surb, recovery) = material.construct_recoverable_SURB().expect("it fits");
    let bytes = hex(&surb.to_bytes());
    let (packet, first_hop) = surb.use_surb(PLAINTEXT, PAYLOAD_LEN).expect("it fits");
    let mut vector = walk(&route, packet);
    check_recovery(&recovery, &vector);
    vector["surb"] = json!(bytes);
    vector["first_hop"] = json!(hex(&first_hop.to_bytes()));
    vector["recovery"] = json!(hex(&recovery.to_bytes()));
    vector["plaintext"] = json!(hex(PLAINTEXT));
    vector
}

fn check_recovery(recovery: &SurbReplyRecovery, vector: &Value) {
    let payload = vector["deliver"]["payload"].as_str().expect("a delivery");
    let bytes: Vec<u8> = (0..payload.len() / 2)
        .map(|at| u8::from_str_radix(&payload[2 * at..2 * at + 2], 16).expect("hex"))
        .collect();
    let payload = Payload::from_bytes(&bytes).expect("long enough");
    assert_eq!(
        recovery.recover_plaintext(payload).expect("ours"),
        PLAINTEXT
    );
}

/// The packet as it comes to every hop of the route, and what is delivered.
fn walk(route: &Route, mut packet: SphinxPacket) -> Value {
    let mut hops = Vec::new();
    for key in &route.keys {
        let secrets = packet.header.compute_expanded_shared_secret(key);
        let mut hop = json!({
            "secret_key": hex(key.as_bytes()),
            "packet": hex(&packet.to_bytes()),
            "replay_tag": hex(secrets.replay_tag()),
        });
        match packet.process(key).expect("the header is good").data {
            ProcessedPacketData::ForwardHop {
                next_hop_packet,
                next_hop_address,
                delay,
            } => {
                hop["next"] = json!(hex(&next_hop_address.to_bytes()));
                hop["delay_nanos"] = json!(delay.to_nanos());
                hops.push(hop);
                packet = next_hop_packet;
            }
            ProcessedPacketData::FinalHop {
                destination,
                identifier,
                payload,
            } => {
                hops.push(hop);
                return json!({
                    "payload_len": PAYLOAD_LEN,
                    "hops": hops,
                    "deliver": {
                        "address": hex(&destination.as_bytes()),
                        "identifier": hex(&identifier),
                        "payload": hex(payload.as_bytes()),
                    },
                });
            }
        }
    }
    unreachable!("the last hop delivers")
}

/// A packet that any key opens, if it is let: every key agrees with zero.
fn universal() -> Vec<u8> {
    let mut route = Route::random(3);
    for node in &mut route.nodes {
        node.pub_key = PublicKey::from([0; 32]);
    }
    let mut bytes = route.packet(SINGLE_SEED_SURB_VERSION).to_bytes();
    bytes[..32].fill(0);
    bytes
}

fn random() -> [u8; 32] {
    StaticSecret::random().to_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
