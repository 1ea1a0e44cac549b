//! What a provider says of itself: one signed descriptor an epoch.

use std::collections::BTreeSet;

use directory::{Identity, ModelCard, ServiceDescriptor, ServiceDraft};
use message::SealingPublicKey;
use wire::{Epoch, MailboxAddress, NodeId, NodeName};

use crate::ProviderError;

/// A service: its mailbox, where that is kept, and what is served. No `Debug`: it holds a key.
///
/// The mailbox is kept by the provider's entry gateway (`reach = "attached"`): the document
/// tells everybody at which gateway the provider is, and that gateway knows which client it is.
pub struct Service {
    name: NodeName,
    gateway: NodeId,
    mailbox: Identity,
    sealing_key: SealingPublicKey,
    cards: Vec<ModelCard>,
}

impl Service {
    /// A service behind the mailbox of the key `mailbox`, made for it alone.
    ///
    /// # Errors
    /// [`ProviderError::Models`] unless `cards` are 1 to 16 of different names.
    pub fn new(
        name: NodeName,
        gateway: NodeId,
        mailbox: Identity,
        sealing_key: SealingPublicKey,
        cards: Vec<ModelCard>,
    ) -> Result<Self, ProviderError> {
        let names: BTreeSet<_> = cards.iter().map(|card| &card.name).collect();
        let some = (1..=ServiceDescriptor::MAX_MODELS).contains(&cards.len());
        if !some || names.len() != cards.len() {
            return Err(ProviderError::Models);
        }
        Ok(Self {
            name,
            gateway,
            mailbox,
            sealing_key,
            cards,
        })
    }

    /// The descriptor for `epoch`: the same bytes whenever it is asked for.
    #[must_use]
    pub fn descriptor(&self, epoch: Epoch) -> ServiceDescriptor {
        let draft = ServiceDraft {
            name: self.name.clone(),
            epoch,
            gateways: vec![self.gateway],
            sealing_key: self.sealing_key.to_bytes(),
            models: self.cards.clone(),
        };
        ServiceDescriptor::sign(&self.mailbox, draft)
    }

    /// The gateway that keeps the mailbox.
    #[must_use]
    pub const fn gateway(&self) -> NodeId {
        self.gateway
    }

    /// The mailbox's address.
    #[must_use]
    pub fn mailbox(&self) -> MailboxAddress {
        self.mailbox.mailbox()
    }

    /// The cards of the models served.
    #[must_use]
    pub fn cards(&self) -> &[ModelCard] {
        &self.cards
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.mailbox
    }
}
