//! Who is where in one epoch, with keys ready to wrap packets for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::{CryptoRng, RngExt};
use sphinx::{Geometry, RouteKey};
use wire::{Epoch, FamilyId, MailboxAddress, NodeId, NodeName};

use crate::{
    Document, DocumentHash, ModelCard, NodeDescriptor, Parameters, ServiceDescriptor,
    UnsafeTopology, family,
};

/// The nodes of one epoch by place, and the catalogue. Built once, shared by [`Arc`].
pub struct Topology {
    epoch: Epoch,
    document: Arc<Document>,
    hash: DocumentHash,
    layers: [Vec<Relay>; 3],
    gateways: Vec<Relay>,
    places: BTreeMap<NodeId, (Place, usize)>,
}

/// A place on a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// First mix layer.
    Layer1,
    /// Second mix layer.
    Layer2,
    /// Third mix layer.
    Layer3,
    /// Gateways: the last hop, and the way into layer 1.
    Gateway,
}

/// A node that packets pass through.
#[derive(Clone)]
pub struct Relay {
    /// Its identity, under which the hop before reaches it.
    pub id: NodeId,
    /// Its name in documents and logs.
    pub name: NodeName,
    /// Where it is reached.
    pub addresses: Vec<SocketAddr>,
    /// Its Sphinx key of the topology's epoch.
    pub key: RouteKey,
    /// Whose it is, if its operator says that it runs others.
    pub family: Option<FamilyId>,
}

impl Topology {
    /// The topology of `epoch` by `document`: of the document's own epoch, or, while a newer
    /// document is missing, of the one after it.
    ///
    /// # Errors
    /// [`UnsafeTopology`] if a layer is empty, there is no gateway, a family has more than a
    /// third of the mixes or leaves hardly a route without two of its own, a key cannot be
    /// used, or the document names no keys for `epoch`.
    pub fn new(document: Arc<Document>, epoch: Epoch) -> Result<Arc<Self>, UnsafeTopology> {
        let relays = |nodes: &[NodeDescriptor]| {
            nodes
                .iter()
                .map(|node| Relay::new(node, epoch))
                .collect::<Result<Vec<_>, _>>()
        };
        let [first, second, third] = &document.layers;
        let layers = [relays(first)?, relays(second)?, relays(third)?];
        let gateways = relays(&document.gateways)?;
        for (number, layer) in (1..).zip(&layers) {
            if layer.is_empty() {
                return Err(UnsafeTopology::EmptyLayer(number));
            }
        }
        if gateways.is_empty() {
            return Err(UnsafeTopology::NoGateway);
        }
        if let Some((family, mixes, of)) = family::too_large(&layers) {
            return Err(UnsafeTopology::LargeFamily { family, mixes, of });
        }
        if !family::leave_routes(&layers) {
            return Err(UnsafeTopology::TooFewRoutes);
        }
        let places = Place::ALL
            .into_iter()
            .zip(layers.iter().chain([&gateways]))
            .flat_map(|(place, relays)| {
                let numbered = relays.iter().enumerate();
                numbered.map(move |(index, relay)| (relay.id, (place, index)))
            })
            .collect();
        Ok(Arc::new(Self {
            epoch,
            hash: document.hash(),
            document,
            layers,
            gateways,
            places,
        }))
    }

    /// The epoch whose keys it names.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The document behind it; older than [`Self::epoch`] under grace.
    #[must_use]
    pub fn document(&self) -> &Arc<Document> {
        &self.document
    }

    /// Hash of the document behind it.
    #[must_use]
    pub const fn hash(&self) -> &DocumentHash {
        &self.hash
    }

    /// Sizes of all packets.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.document.parameters.geometry
    }

    /// The signed parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.document.parameters
    }

    /// The mixes of layer 1, 2 or 3; the order is the same for all, so that an index names one.
    /// Empty for any other number.
    #[must_use]
    pub fn layer(&self, number: u8) -> &[Relay] {
        usize::from(number)
            .checked_sub(1)
            .and_then(|index| self.layers.get(index))
            .map_or(&[], Vec::as_slice)
    }

    /// The gateways.
    #[must_use]
    pub fn gateways(&self) -> &[Relay] {
        &self.gateways
    }

    /// Every node, in the order of identities.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.places.keys().copied()
    }

    /// The relays at `place`.
    #[must_use]
    pub fn at(&self, place: Place) -> &[Relay] {
        match place {
            Place::Layer1 => self.layer(1),
            Place::Layer2 => self.layer(2),
            Place::Layer3 => self.layer(3),
            Place::Gateway => self.gateways(),
        }
    }

    /// One mix of each layer, no two of one family: uniform among all such routes, whoever
    /// draws and whatever stands before and behind the mixes (docs/spec/message.md, 1.4).
    pub fn draw_mixes(&self, rng: &mut dyn CryptoRng) -> Option<[&Relay; 3]> {
        draw(rng, self.layers.each_ref().map(Vec::as_slice))
    }

    /// As [`Topology::draw_mixes`], of the routes through `mix`; `None` if it is no mix, or on
    /// no route.
    pub fn draw_mixes_through(&self, rng: &mut dyn CryptoRng, mix: &NodeId) -> Option<[&Relay; 3]> {
        let place = self.place(mix)?;
        let mut layers = [Place::Layer1, Place::Layer2, Place::Layer3].map(|at| self.at(at));
        let own = match place {
            Place::Layer1 => layers.first_mut(),
            Place::Layer2 => layers.get_mut(1),
            Place::Layer3 => layers.last_mut(),
            Place::Gateway => None,
        };
        *own? = std::slice::from_ref(self.relay(mix)?);
        draw(rng, layers)
    }

    /// The catalogue.
    #[must_use]
    pub fn services(&self) -> &[ServiceDescriptor] {
        &self.document.services
    }

    /// The service behind `mailbox`.
    #[must_use]
    pub fn service(&self, mailbox: &MailboxAddress) -> Option<&ServiceDescriptor> {
        self.services().iter().find(|s| s.mailbox() == *mailbox)
    }

    /// Every model on offer, with the service that offers it.
    pub fn models(&self) -> impl Iterator<Item = (&ServiceDescriptor, &ModelCard)> {
        self.services()
            .iter()
            .flat_map(|service| service.models.iter().map(move |card| (service, card)))
    }

    /// Where `node` is.
    #[must_use]
    pub fn place(&self, node: &NodeId) -> Option<Place> {
        self.places.get(node).map(|(place, _)| *place)
    }

    /// The relay with this identity.
    #[must_use]
    pub fn relay(&self, node: &NodeId) -> Option<&Relay> {
        let (place, index) = self.places.get(node)?;
        self.at(*place).get(*index)
    }

    /// Whether a packet may go from `from` to `to`: layer 1, 2, 3, gateway, layer 1.
    #[must_use]
    pub fn allows(&self, from: Place, to: &NodeId) -> bool {
        self.place(to) == Some(from.next())
    }

    /// The name of `node`, for logs.
    #[must_use]
    pub fn name(&self, node: &NodeId) -> Option<&NodeName> {
        self.relay(node).map(|relay| &relay.name)
    }
}

impl Place {
    /// Every place, in the order of a packet's way.
    pub const ALL: [Self; 4] = [Self::Layer1, Self::Layer2, Self::Layer3, Self::Gateway];

    /// Where packets from here may go.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Layer1 => Self::Layer2,
            Self::Layer2 => Self::Layer3,
            Self::Layer3 => Self::Gateway,
            Self::Gateway => Self::Layer1,
        }
    }

    /// Where packets to here come from.
    #[must_use]
    pub const fn previous(self) -> Self {
        match self {
            Self::Layer1 => Self::Gateway,
            Self::Layer2 => Self::Layer1,
            Self::Layer3 => Self::Layer2,
            Self::Gateway => Self::Layer3,
        }
    }
}

impl Relay {
    fn new(node: &NodeDescriptor, epoch: Epoch) -> Result<Self, UnsafeTopology> {
        let key = node.key_of(epoch).ok_or(UnsafeTopology::NoKeys(epoch))?;
        Ok(Self {
            id: node.id,
            name: node.name.clone(),
            addresses: node.addresses.clone(),
            key: RouteKey::new(key).map_err(|_| UnsafeTopology::SphinxKey(node.id))?,
            family: node.family_id(),
        })
    }
}

/// Draws until no two are of one family, which leaves every such route as likely as any other.
fn draw<'a>(rng: &mut dyn CryptoRng, layers: [&'a [Relay]; 3]) -> Option<[&'a Relay; 3]> {
    if layers.iter().any(|layer| layer.is_empty()) {
        return None;
    }
    for _ in 0..MAX_DRAWS {
        let [first, second, third] =
            layers.map(|layer| layer.get(rng.random_range(0..layer.len())));
        let (first, second, third) = (first?, second?, third?);
        let pairs = [(first, second), (first, third), (second, third)];
        if !pairs.iter().any(|(one, other)| family::are_kin(one, other)) {
            return Some([first, second, third]);
        }
    }
    None
}

/// One route in sixteen will do at least: that none is found in so many draws does not happen.
const MAX_DRAWS: usize = 1024;
