//! What a provider says of itself: one signed descriptor an epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use directory::{Identity, ModelCard, ServiceDescriptor, ServiceDraft};
use message::SealingPublicKey;
use wire::{Epoch, GraphHash, MailboxAddress, NodeId, NodeName};

use crate::ProviderError;
use crate::library::have_room;

/// How a service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Two gateways other than the entry gateway keep the mailbox and are fed with reply blocks
    /// through the mixes; its descriptor is published through the mixes, too. No gateway knows
    /// both the mailbox and the provider's address.
    Anonymous,
    /// The entry gateway keeps the mailbox: a third less latency, but the document tells
    /// everybody at which gateway the provider is, and that gateway knows which client it is.
    Attached,
}

/// A service: its mailbox and what is served. No `Debug`: it holds a key.
pub struct Service {
    name: NodeName,
    mailbox: Arc<Identity>,
    sealing_key: SealingPublicKey,
    cards: Mutex<Cards>,
}

/// What is served, and what descriptors that were signed say of it.
struct Cards {
    now: Vec<Arc<ModelCard>>,
    signed: BTreeMap<Epoch, Signed>,
}

#[derive(Clone)]
struct Signed {
    cards: Vec<Arc<ModelCard>>,
    gateways: Vec<NodeId>,
}

impl Service {
    /// A service behind the mailbox of the key `mailbox`, made for it alone.
    ///
    /// # Errors
    /// [`ProviderError::Models`] unless `cards` are 1 to 16 of different names that a descriptor
    /// has room for.
    pub fn new(
        name: NodeName,
        mailbox: Identity,
        sealing_key: SealingPublicKey,
        cards: Vec<ModelCard>,
    ) -> Result<Self, ProviderError> {
        if cards.is_empty() || !listable(&cards) {
            return Err(ProviderError::Models);
        }
        Ok(Self {
            name,
            mailbox: Arc::new(mailbox),
            sealing_key,
            cards: Mutex::new(Cards {
                now: cards.into_iter().map(Arc::new).collect(),
                signed: BTreeMap::new(),
            }),
        })
    }

    /// Serves `cards` from now on. Descriptors that were signed stay what they are: the next one
    /// lists these.
    ///
    /// # Errors
    /// [`ProviderError::Models`] if they are more than 16, of one name, or too large to list.
    pub fn offer(&self, cards: Vec<ModelCard>) -> Result<(), ProviderError> {
        if !listable(&cards) {
            return Err(ProviderError::Models);
        }
        self.held().now = cards.into_iter().map(Arc::new).collect();
        Ok(())
    }

    /// The descriptor for `epoch`: the same bytes whenever it is asked for, naming the gateways
    /// that kept the mailbox when it was asked for first.
    #[must_use]
    pub fn descriptor(&self, epoch: Epoch, gateways: Vec<NodeId>) -> ServiceDescriptor {
        let mut held = self.held();
        let cards = held.now.clone();
        let signed = held.signed.entry(epoch);
        let Signed { cards, gateways } = signed.or_insert(Signed { cards, gateways }).clone();
        while held.signed.len() > SIGNED {
            held.signed.pop_first();
        }
        drop(held);
        let draft = ServiceDraft {
            name: self.name.clone(),
            epoch,
            gateways,
            sealing_key: self.sealing_key.to_bytes(),
            models: cards.iter().map(|card| ModelCard::clone(card)).collect(),
        };
        ServiceDescriptor::sign(&self.mailbox, draft)
    }

    /// The mailbox's address.
    #[must_use]
    pub fn mailbox(&self) -> MailboxAddress {
        self.mailbox.mailbox()
    }

    /// The cards of the models served.
    #[must_use]
    pub fn cards(&self) -> Vec<Arc<ModelCard>> {
        self.held().now.clone()
    }

    pub(crate) fn card(&self, graph: &GraphHash) -> Option<Arc<ModelCard>> {
        let held = self.held();
        let card = held.now.iter().find(|card| card.graph_hash == *graph);
        card.map(Arc::clone)
    }

    fn held(&self) -> MutexGuard<'_, Cards> {
        // Cards are whole whoever panicked beside them.
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn identity(&self) -> &Arc<Identity> {
        &self.mailbox
    }
}

fn listable(cards: &[ModelCard]) -> bool {
    let names: BTreeSet<_> = cards.iter().map(|card| &card.name).collect();
    names.len() == cards.len() && have_room(cards)
}

/// Epochs whose descriptors are remembered: those that can still be asked for.
const SIGNED: usize = 4;

#[cfg(test)]
mod tests {
    use message::SealingKey;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::model_card;

    fn card(place: usize) -> ModelCard {
        let model = compiler::shipped()[place].model().unwrap();
        model_card(directory::Parameters::demo().geometry, &model).unwrap()
    }

    fn service(cards: Vec<ModelCard>) -> Result<Service, ProviderError> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = SealingKey::generate(&mut rng).public().clone();
        let name = NodeName::new("clinic").unwrap();
        let mailbox = Identity::generate(&mut rng);
        Service::new(name, mailbox, key, cards)
    }

    #[test]
    fn what_was_signed_for_an_epoch_stays_and_the_next_one_says_the_new() {
        let service = service(vec![card(0)]).unwrap();
        let at = |number: u8| vec![NodeId([number; 32])];
        let first = service.descriptor(Epoch(1), at(1));
        service.offer(vec![card(0), card(1)]).unwrap();
        assert_eq!(service.descriptor(Epoch(1), at(2)), first);
        let next = service.descriptor(Epoch(2), at(2));
        assert_eq!((&first.gateways, &next.gateways), (&at(1), &at(2)));
        assert_eq!(next.models, [card(0), card(1)]);
        assert!(next.verify().is_ok());
        service.offer(vec![card(1)]).unwrap();
        assert!(service.card(&card(0).graph_hash).is_none());
        assert!(service.card(&card(1).graph_hash).is_some());
    }

    #[test]
    fn what_cannot_be_listed_is_not_offered() {
        let service = service(vec![card(0)]).unwrap();
        let refused = Err(ProviderError::Models);
        assert_eq!(service.offer(vec![card(0), card(0)]), refused);
        let mut large = card(1);
        large.input.zero = vec![directory::Finite::new(0.0).unwrap(); 16_000];
        assert_eq!(service.offer(vec![large]), refused);
        assert_eq!(service.cards().len(), 1);
    }
}
