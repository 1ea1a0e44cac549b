//! From a model's name to a question for one provider of it.

use std::collections::BTreeSet;

use directory::{ModelCard, ServiceDescriptor, Topology};
use message::{Recipient, RequestDraft, SealingPublicKey};
use rand::{CryptoRng, RngExt};
use wire::{GraphHash, MailboxAddress, NodeName, RequestId};
use zeroize::Zeroizing;

use crate::answer::argmax;
use crate::nearest::nearest;
use crate::{DummyInputs, Input, QueryError};

/// A question that is ready to be asked: one model, its input, one provider that serves it.
/// No `Debug`: a question is nobody's business.
pub struct Question {
    card: ModelCard,
    to: Recipient,
    input: Zeroizing<Vec<u8>>,
}

/// A model on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelListing {
    /// The name by which it is asked.
    pub name: String,
    /// What it answers, for people.
    pub description: String,
    /// Which model exactly; its hexadecimal form may be asked for instead of the name.
    pub graph_hash: GraphHash,
    /// How many numbers it takes.
    pub inputs: usize,
    /// How many numbers come out.
    pub outputs: usize,
    /// What the outputs are called; empty if it is not a classifier.
    pub labels: Vec<String>,
    /// How many packets each of its answers has.
    pub answer_packets: usize,
    /// How many providers serve it.
    pub providers: usize,
}

impl Question {
    /// A question to the model named `asked`, or to the one whose graph has that hash in
    /// hexadecimal. Among several providers of the model each is as likely.
    ///
    /// # Errors
    /// [`QueryError::NoSuchModel`], [`QueryError::AmbiguousModel`], or what
    /// [`Input::quantise`] says.
    pub fn choose(
        rng: &mut dyn CryptoRng,
        topology: &Topology,
        asked: &str,
        input: &Input,
    ) -> Result<Self, QueryError> {
        let offers: Vec<Offer<'_>> = offers(topology, |card| is(card, asked)).collect();
        let versions = count_versions(&offers);
        if versions > 1 {
            let model = asked.to_owned();
            return Err(QueryError::AmbiguousModel { model, versions });
        }
        let Some(chosen) = pick(rng, offers) else {
            return Err(no_such_model(topology, asked));
        };
        let integers = input.quantise(chosen.card)?;
        Ok(Self::new(chosen.card, chosen.to, &integers))
    }

    /// A question to the model named `asked` at the provider of this name, for who has reason
    /// to prefer one: whoever asks one provider alone is the more easily told apart by it.
    ///
    /// # Errors
    /// As [`Self::choose`]; [`QueryError::NoSuchModel`] if that provider does not serve it.
    pub fn of(
        topology: &Topology,
        provider: &NodeName,
        asked: &str,
        input: &Input,
    ) -> Result<Self, QueryError> {
        let serves = |(service, card): &(&ServiceDescriptor, &ModelCard)| {
            service.name == *provider && is(card, asked)
        };
        let offer = topology.models().find(serves);
        let offer = offer.and_then(|(service, card)| Some((card, recipient(service, topology)?)));
        let (card, to) = offer.ok_or_else(|| no_such_model(topology, asked))?;
        let integers = input.quantise(card)?;
        Ok(Self::new(card, to, &integers))
    }

    /// A question that nobody asks, of the catalogue's offers, each model at each provider: drawn
    /// by the inverse of its packets, there and back, so that all offers take the same share of
    /// the slots. `None` if nothing can be asked.
    #[must_use]
    pub fn dummy(
        rng: &mut dyn CryptoRng,
        topology: &Topology,
        inputs: &DummyInputs,
    ) -> Option<Self> {
        let offers: Vec<_> = topology.models().collect();
        let weight = |card: &ModelCard| PRECISION / packets(topology, card);
        let total: u64 = offers.iter().map(|(_, card)| weight(card)).sum();
        // An offer that cannot be used is drawn again; keys are read of no more than are drawn.
        let (card, to) = (0..MAX_DRAWS).find_map(|_| {
            let mut drawn = rng.random_range(0..total.max(1));
            let (service, card) = offers.iter().find(|(_, card)| {
                let here = drawn < weight(card);
                drawn = drawn.saturating_sub(weight(card));
                here
            })?;
            Some((*card, recipient(service, topology)?))
        })?;
        let integers = inputs.draw(rng, card);
        Some(Self::new(card, to, &integers))
    }

    fn new(card: &ModelCard, to: Recipient, integers: &[i32]) -> Self {
        let bytes = integers.iter().flat_map(|value| value.to_le_bytes());
        Self {
            input: Zeroizing::new(bytes.collect()),
            card: card.clone(),
            to,
        }
    }

    /// The name of the model asked.
    #[must_use]
    pub fn model(&self) -> &str {
        self.card.name.as_str()
    }

    /// The mailbox of the provider asked.
    #[must_use]
    pub const fn mailbox(&self) -> MailboxAddress {
        self.to.mailbox
    }

    pub(crate) fn graph_hash(&self) -> GraphHash {
        self.card.graph_hash
    }

    /// The output in an answer's bytes.
    ///
    /// # Errors
    /// [`QueryError::BadAnswer`] unless it has as many integers as the model's card says.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Vec<i32>, QueryError> {
        let (words, rest) = bytes.as_chunks::<4>();
        let fits = usize::try_from(self.card.output.elements) == Ok(words.len());
        if !rest.is_empty() || !fits {
            return Err(self.bad_answer());
        }
        Ok(words.iter().map(|word| i32::from_le_bytes(*word)).collect())
    }

    pub(crate) fn bad_answer(&self) -> QueryError {
        let model = self.model().to_owned();
        QueryError::BadAnswer { model }
    }

    /// What the model calls this output: of the largest element, or at the one index that it is.
    pub(crate) fn label(&self, output: &[i32]) -> Option<String> {
        let labels = &self.card.output.labels;
        let place = match output {
            [index] => usize::try_from(*index).ok()?,
            logits => argmax(logits)?,
        };
        labels.get(place).map(ToString::to_string)
    }

    /// The input as it is sent.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(crate) fn to(&self) -> &Recipient {
        &self.to
    }

    pub(crate) fn draft(&self, id: RequestId) -> RequestDraft {
        RequestDraft {
            id,
            model: self.card.graph_hash,
            class: self.card.class,
            input: self.input.to_vec(),
        }
    }

    /// Takes gateways and sealing key of the same mailbox from a newer document, if it lists
    /// one that can be asked.
    pub(crate) fn refresh(&mut self, topology: &Topology) -> Listing {
        let service = topology.service(&self.to.mailbox);
        match service.and_then(|service| recipient(service, topology)) {
            Some(to) => {
                self.to = to;
                Listing::Kept
            }
            None => Listing::Gone,
        }
    }
}

/// About how many packets a question and its answer take.
fn packets(topology: &Topology, card: &ModelCard) -> u64 {
    let capacity = topology.geometry().capacity().max(1) as u64;
    let bytes = u64::from(card.input.elements) * 4;
    1 + bytes / capacity + card.class.packets() as u64
}

/// Whether a newer document lists what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    Kept,
    Gone,
}

impl ModelListing {
    /// What `topology` lists, each model once, in the order of names.
    #[must_use]
    pub fn of(topology: &Topology) -> Vec<Self> {
        let mut models: Vec<(Offer<'_>, usize)> = Vec::new();
        for offer in offers(topology, |_| true) {
            let same = |known: &Offer<'_>| known.is_same(&offer) && known.name() == offer.name();
            match models.iter_mut().find(|(known, _)| same(known)) {
                Some((_, providers)) => *providers += 1,
                None => models.push((offer, 1)),
            }
        }
        models.sort_by_key(|(offer, _)| (offer.card.name.clone(), offer.card.graph_hash));
        let listing = |(offer, providers): (Offer<'_>, usize)| offer.listing(providers);
        models.into_iter().map(listing).collect()
    }
}

/// One model at one provider that can be asked.
struct Offer<'a> {
    card: &'a ModelCard,
    to: Recipient,
}

impl Offer<'_> {
    /// Whether both give the same answer to the same numbers, as far as their cards say.
    fn is_same(&self, other: &Self) -> bool {
        self.card.graph_hash == other.card.graph_hash
            && self.card.class == other.card.class
            && self.card.input == other.card.input
            && self.card.output == other.card.output
    }

    fn name(&self) -> &str {
        self.card.name.as_str()
    }

    fn listing(&self, providers: usize) -> ModelListing {
        let card = self.card;
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        ModelListing {
            name: card.name.to_string(),
            description: card.description.to_string(),
            graph_hash: card.graph_hash,
            inputs: count(card.input.elements),
            outputs: count(card.output.elements),
            labels: card.output.labels.iter().map(ToString::to_string).collect(),
            answer_packets: card.class.packets(),
            providers,
        }
    }
}

/// What of the catalogue can be asked: services whose gateway and sealing key are usable.
fn offers<'a>(
    topology: &'a Topology,
    wanted: impl Fn(&ModelCard) -> bool,
) -> impl Iterator<Item = Offer<'a>> {
    let wanted = move |(_, card): &(&ServiceDescriptor, &ModelCard)| wanted(card);
    topology
        .models()
        .filter(wanted)
        .filter_map(|(service, card)| {
            let to = recipient(service, topology)?;
            Some(Offer { card, to })
        })
}

fn is(card: &ModelCard, asked: &str) -> bool {
    let by_hash = || asked.len() == 2 * GraphHash::LEN && card.graph_hash.to_string() == asked;
    card.name.as_str() == asked || by_hash()
}

fn recipient(service: &ServiceDescriptor, topology: &Topology) -> Option<Recipient> {
    let is_listed = |id: &&wire::NodeId| topology.gateways().iter().any(|g| g.id == **id);
    let gateways: Vec<_> = service.gateways.iter().filter(is_listed).copied().collect();
    (!gateways.is_empty()).then_some(())?;
    Some(Recipient {
        gateways,
        mailbox: service.mailbox(),
        sealing_key: SealingPublicKey::from_bytes(&service.sealing_key).ok()?,
    })
}

/// How many different models the offers are.
fn count_versions(offers: &[Offer<'_>]) -> usize {
    let mut versions: Vec<&Offer<'_>> = Vec::new();
    for offer in offers {
        if !versions.iter().any(|known| known.is_same(offer)) {
            versions.push(offer);
        }
    }
    versions.len()
}

fn pick<'a>(rng: &mut dyn CryptoRng, offers: Vec<Offer<'a>>) -> Option<Offer<'a>> {
    if offers.is_empty() {
        return None;
    }
    let place = rng.random_range(0..offers.len());
    offers.into_iter().nth(place)
}

/// Weights are whole numbers: those of the largest models are far from 0.
const PRECISION: u64 = 1 << 20;

/// How often a dummy's offer is drawn at most.
const MAX_DRAWS: usize = 16;

fn no_such_model(topology: &Topology, asked: &str) -> QueryError {
    let names: BTreeSet<&str> = topology
        .models()
        .map(|(_, card)| card.name.as_str())
        .collect();
    QueryError::NoSuchModel {
        asked: asked.to_owned(),
        nearest: nearest(asked, names.iter().copied()).map(str::to_owned),
        known: names.len(),
    }
}
