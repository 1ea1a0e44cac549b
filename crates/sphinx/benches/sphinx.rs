//! Opening, wrapping and reply blocks beside `sphinx-packet`, and beside what no implementation
//! of the format can do without, in one run.
//!
//! After criterion's own report a summary prints the ratios: each figure there is the least of
//! many rounds in which all contenders take turns, so that a busy machine disturbs them alike.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use chacha20::ChaCha20;
use criterion::{BatchSize, BenchmarkId, Criterion};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use lioness_rs::{KeyInit, Lioness};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sphinx_packet::header::delays::Delay;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::surb::SURBMaterial;
use sphinx_packet::version::SINGLE_SEED_SURB_VERSION;
use sphinx_packet::{SphinxPacket, SphinxPacketBuilder};
use subrosa_sphinx::{Address, Geometry, Hop, Packet, RouteKey, SecretKey, Surb};
use wire::SurbId;
use x25519_dalek::{PublicKey, StaticSecret};

const SIZES: [usize; 2] = [2048, 8192];
const HOPS: usize = 3;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bench = Bench::new();
    bench.report(&mut criterion);
    criterion.final_summary();
    bench.summarise();
}

struct Bench {
    keys: Vec<SecretKey>,
    their_keys: Vec<StaticSecret>,
    route: Vec<Hop>,
    nodes: Vec<Node>,
    delays: Vec<Delay>,
    destination: Destination,
}

impl Bench {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let keys: Vec<_> = (0..HOPS).map(|_| SecretKey::generate(&mut rng)).collect();
        let their_keys: Vec<_> = keys
            .iter()
            .map(|key| StaticSecret::from(*key.to_bytes()))
            .collect();
        let delay = |place| Duration::from_millis(if place + 1 < HOPS { 50 } else { 0 });
        let route = keys.iter().enumerate().map(|(place, key)| Hop {
            address: Address([place as u8; 32]),
            key: RouteKey::new(key.public()).expect("a generated key is good"),
            delay: delay(place),
        });
        let address = |place| NodeAddressBytes::from_bytes([place as u8; 32]);
        let node = |(place, key)| Node::new(address(place), PublicKey::from(key));
        Self {
            route: route.collect(),
            nodes: their_keys.iter().enumerate().map(node).collect(),
            delays: vec![Delay::new_from_millis(50); HOPS],
            destination: Destination::new(DestinationAddressBytes::from_bytes([9; 32]), [7; 16]),
            keys,
            their_keys,
        }
    }

    fn report(&self, criterion: &mut Criterion) {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut group = criterion.benchmark_group("unwrap");
        for size in SIZES {
            let geometry = Geometry::new(size).expect("a geometry");
            let bytes = self.wrap(&mut rng, geometry).into_bytes();
            group.bench_function(BenchmarkId::new("ours", size), |b| {
                b.iter(|| self.unwrap(geometry, &bytes));
            });
            group.bench_function(BenchmarkId::new("sphinx-packet", size), |b| {
                b.iter(|| self.their_unwrap(&bytes));
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group("wrap 3 hops");
        for size in SIZES {
            let geometry = Geometry::new(size).expect("a geometry");
            group.bench_function(BenchmarkId::new("ours", size), |b| {
                b.iter(|| self.wrap(&mut rng, geometry));
            });
            group.bench_function(BenchmarkId::new("sphinx-packet", size), |b| {
                b.iter(|| self.their_wrap(size));
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group("reply block 3 hops");
        group.bench_function("create ours", |b| b.iter(|| self.surb(&mut rng)));
        group.bench_function("create sphinx-packet", |b| b.iter(|| self.their_surb()));
        group.bench_function("reply ours", |b| {
            b.iter_batched(
                || self.surb(&mut rng),
                |surb| surb.reply(Geometry::DEFAULT, &[1; 1000]),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }

    fn summarise(&self) {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        println!("\nleast of {ROUNDS} rounds, one thread");
        for size in SIZES {
            let geometry = Geometry::new(size).expect("a geometry");
            let bytes = self.wrap(&mut rng, geometry).into_bytes();
            let exchange = Exchange::new();
            let [ours, theirs, limit] = least([
                &mut || self.unwrap(geometry, &bytes),
                &mut || self.their_unwrap(&bytes),
                &mut || exchange.opening_limit(size),
            ]);
            print(&format!("unwrap {} KiB", size / 1024), ours, theirs);
            println!(
                "    limit (2 X25519 + wide block) {limit:.1} us, limit/ours {:.2}",
                limit / ours
            );
        }
        for size in SIZES {
            let geometry = Geometry::new(size).expect("a geometry");
            let exchange = Exchange::new();
            let [ours, theirs, limit] = least([
                &mut || drop(black_box(self.wrap(&mut rng, geometry))),
                &mut || self.their_wrap(size),
                &mut || exchange.wrapping_limit(size),
            ]);
            print(
                &format!("wrap {HOPS} hops {} KiB", size / 1024),
                ours,
                theirs,
            );
            println!(
                "    limit ({} table products + {HOPS} wide blocks) {limit:.1} us, limit/ours {:.2}",
                HOPS + 1,
                limit / ours
            );
        }
        let [ours, theirs] = least([&mut || drop(black_box(self.surb(&mut rng))), &mut || {
            self.their_surb()
        }]);
        print(&format!("reply block, {HOPS} hops"), ours, theirs);
        let [table] = least([&mut || {
            let _ = black_box(RouteKey::new(self.keys[0].public()));
        }]);
        println!("table of a node's key: {table:.0} us, once an epoch");
    }

    fn wrap(&self, rng: &mut ChaCha20Rng, geometry: Geometry) -> Packet {
        let payload = &PAYLOAD[..geometry.capacity() - 100];
        Packet::wrap(
            rng,
            geometry,
            &self.route,
            Address([9; 32]),
            [7; 16],
            payload,
        )
        .expect("the payload fits")
    }

    fn their_wrap(&self, size: usize) {
        let payload = &PAYLOAD[..size - 117];
        let packet = SphinxPacketBuilder::new()
            .with_payload_size(size)
            .build_packet(payload, &self.nodes, &self.destination, &self.delays)
            .expect("the payload fits");
        black_box(packet.to_bytes());
    }

    /// From bytes to bytes, as at a mix.
    fn unwrap(&self, geometry: Geometry, bytes: &[u8]) {
        let packet = Packet::from_bytes(geometry, bytes).expect("the length is right");
        let opened = packet.open(&[&self.keys[0]]).expect("the key is right");
        black_box(opened.finish());
    }

    fn their_unwrap(&self, bytes: &[u8]) {
        let packet = SphinxPacket::from_bytes(bytes).expect("the length is right");
        let peeled = packet
            .process(&self.their_keys[0])
            .expect("the key is right");
        if let sphinx_packet::ProcessedPacketData::ForwardHop {
            next_hop_packet, ..
        } = peeled.data
        {
            black_box(next_hop_packet.to_bytes());
        }
    }

    fn surb(&self, rng: &mut ChaCha20Rng) -> Surb {
        let made = Surb::create(rng, &self.route, SurbId([1; 16])).expect("the route fits");
        black_box(made).0
    }

    fn their_surb(&self) {
        let material = SURBMaterial::new(
            self.nodes.clone(),
            self.delays.clone(),
            self.destination.clone(),
            SINGLE_SEED_SURB_VERSION,
        );
        black_box(
            material
                .construct_recoverable_SURB()
                .expect("the route fits"),
        );
    }
}

/// The operations that the format itself asks for, and nothing around them.
struct Exchange {
    key: PrivateKey,
    peer: [u8; 32],
    layer: Lioness<ChaCha20, Blake2bMac<U32>>,
    scalar: Scalar,
}

impl Exchange {
    fn new() -> Self {
        Self {
            key: PrivateKey::from_private_key(&X25519, &[5; 32]).expect("any 32 bytes are a key"),
            peer: SecretKey::from_bytes([6; 32]).public().0,
            layer: Lioness::new(&[7; 192].into()),
            scalar: Scalar::from_bytes_mod_order([8; 32]),
        }
    }

    fn opening_limit(&self, size: usize) {
        for _ in 0..2 {
            let peer = UnparsedPublicKey::new(&X25519, self.peer.as_slice());
            let _ = black_box(agree(&self.key, peer, (), |shared| Ok::<_, ()>(shared[0])));
        }
        self.wide_blocks(1, size);
    }

    fn wrapping_limit(&self, size: usize) {
        for _ in 0..=HOPS {
            black_box(EdwardsPoint::mul_base(black_box(&self.scalar)).to_montgomery());
        }
        self.wide_blocks(HOPS, size);
    }

    fn wide_blocks(&self, count: usize, size: usize) {
        let mut block = vec![0; size];
        for _ in 0..count {
            self.layer.encrypt_block(&mut block).expect("long enough");
        }
        black_box(block);
    }
}

/// The least time of each contender in microseconds, the contenders taking turns.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn least<const N: usize>(mut contenders: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut least = [f64::MAX; N];
    for _ in 0..ROUNDS {
        for (least, contender) in least.iter_mut().zip(&mut contenders) {
            let start = Instant::now();
            for _ in 0..BATCH {
                contender();
            }
            *least = least.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH));
        }
    }
    least
}

fn print(what: &str, ours: f64, theirs: f64) {
    let ratio = ours / theirs;
    println!("{what}: ours {ours:.1} us, sphinx-packet {theirs:.1} us, ratio {ratio:.2}");
}

const ROUNDS: u32 = 300;
const BATCH: u32 = 8;
const PAYLOAD: [u8; 8192] = [1; 8192];
