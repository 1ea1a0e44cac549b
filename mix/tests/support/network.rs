//! A small network with keys for every epoch, made without authorities.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use directory::{
    Document, DocumentHash, Identity, NodeDescriptor, NodeDraft, Parameters, Place, Previous, Role,
    Schedule, Topology,
};
use rand::CryptoRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sphinx::{Address, Geometry, Hop, Packet, SecretKey};
use subrosa_mix::peel::Window;
use subrosa_mix::{Mix, MixLimits};
use wire::{Epoch, NodeId, NodeName, Time};

/// Small packets: the tests are about headers.
pub(crate) const GEOMETRY: Geometry = Geometry::new(1024).unwrap();

/// Two mixes a layer and two gateways.
pub(crate) struct Net {
    pub(crate) parameters: Parameters,
    pub(crate) schedule: Schedule,
    topologies: BTreeMap<Epoch, Arc<Topology>>,
}

impl Net {
    /// The same for all tests: building route keys takes its time.
    pub(crate) fn shared() -> &'static Self {
        static NET: LazyLock<Net> = LazyLock::new(|| Net::of(GEOMETRY));
        &NET
    }

    pub(crate) fn of(geometry: Geometry) -> Self {
        let parameters = Parameters {
            geometry,
            ..Parameters::default()
        };
        let genesis = Time::ZERO.after(Duration::from_secs(1_000_000));
        let mut net = Self {
            schedule: Schedule::new(genesis, &parameters),
            parameters,
            topologies: BTreeMap::new(),
        };
        for epoch in (1..=EPOCHS).map(Epoch) {
            let topology = net.build(epoch);
            net.topologies.insert(epoch, topology);
        }
        net
    }

    pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    /// Node `index` (0 or 1) at `place`.
    pub(crate) fn id(&self, place: Place, index: u8) -> NodeId {
        identity(place, index).node_id()
    }

    pub(crate) fn secret(&self, id: NodeId, epoch: Epoch) -> SecretKey {
        let mut bytes = id.0.to_vec();
        bytes.extend(epoch.0.to_be_bytes());
        SecretKey::from_bytes(*blake3::hash(&bytes).as_bytes())
    }

    /// Of an epoch from 1 to 3.
    pub(crate) fn topology(&self, epoch: Epoch) -> Arc<Topology> {
        Arc::clone(&self.topologies[&epoch])
    }

    fn build(&self, epoch: Epoch) -> Arc<Topology> {
        let nodes = |place| {
            [0, 1]
                .map(|index| self.descriptor(place, index, epoch))
                .to_vec()
        };
        let document = Document {
            network: [0; 32],
            epoch,
            previous: Previous {
                epoch: Epoch(epoch.0 - 1),
                hash: DocumentHash([0; 32]),
            },
            parameters: self.parameters.clone(),
            beacon: [0; 32],
            commitments: Vec::new(),
            silent: Vec::new(),
            layers: [Place::Layer1, Place::Layer2, Place::Layer3].map(nodes),
            gateways: nodes(Place::Gateway),
            services: Vec::new(),
        };
        Topology::new(Arc::new(document), epoch).unwrap()
    }

    pub(crate) fn window(&self, epoch: Epoch) -> Window {
        Window::of(epoch, &self.schedule, &self.parameters)
    }

    /// The first mix at `place`, with keys and topologies of `epochs`.
    pub(crate) fn mix(&self, place: Place, epochs: &[u64], limits: MixLimits) -> Mix {
        let id = self.id(place, 0);
        let now = self.schedule.start(Epoch(1));
        let mut mix = Mix::new(now, id, self.parameters.geometry, limits);
        for epoch in epochs.iter().copied().map(Epoch) {
            self.give_epoch(&mut mix, id, epoch);
        }
        mix
    }

    pub(crate) fn give_epoch(&self, mix: &mut Mix, id: NodeId, epoch: Epoch) {
        mix.set_key(epoch, self.window(epoch), self.secret(id, epoch), &[]);
        mix.set_topology(self.topology(epoch));
    }

    /// A packet of `epoch` for the first mix at `place`, held there for `delay`, then for `next`.
    pub(crate) fn packet(
        &self,
        rng: &mut dyn CryptoRng,
        epoch: Epoch,
        place: Place,
        delay: Duration,
        next: NodeId,
    ) -> Packet {
        let own = self.id(place, 0);
        // The packet goes no further than the mix under test: any key does for the next hop.
        let topology = self.topology(epoch);
        let key = |id| {
            topology
                .relay(&id)
                .unwrap_or(&topology.layer(1)[0])
                .key
                .clone()
        };
        let stop = |address: NodeId, delay| Hop {
            address: Address::from(address),
            key: key(address),
            delay,
        };
        let route = [stop(own, delay), stop(next, Duration::ZERO)];
        let geometry = self.parameters.geometry;
        Packet::wrap(rng, geometry, &route, Address::DROP, [1; 16], b"test").unwrap()
    }

    /// A packet that ends at the first mix at `place`.
    pub(crate) fn ending(
        &self,
        rng: &mut dyn CryptoRng,
        epoch: Epoch,
        place: Place,
        destination: Address,
    ) -> Packet {
        let id = self.id(place, 0);
        let route = [Hop {
            address: Address::from(id),
            key: self.topology(epoch).relay(&id).unwrap().key.clone(),
            delay: Duration::ZERO,
        }];
        let geometry = self.parameters.geometry;
        Packet::wrap(rng, geometry, &route, destination, [1; 16], b"test").unwrap()
    }

    fn descriptor(&self, place: Place, index: u8, epoch: Epoch) -> NodeDescriptor {
        let identity = identity(place, index);
        let port = 1000 + 10 * place as u16 + u16::from(index);
        let draft = NodeDraft {
            name: NodeName::new(&format!("node-{port}")).unwrap(),
            role: match place {
                Place::Gateway => Role::Gateway,
                _ => Role::Mix,
            },
            epoch,
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            sphinx_key: self.secret(identity.node_id(), epoch).public(),
            next_sphinx_key: self.secret(identity.node_id(), epoch.next()).public(),
            family: None,
        };
        NodeDescriptor::sign(&identity, draft)
    }
}

fn identity(place: Place, index: u8) -> Identity {
    Identity::from_seed(&[16 * place as u8 + index + 1; 32])
}

/// Epochs with keys and topologies.
const EPOCHS: u64 = 3;
