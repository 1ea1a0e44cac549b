//! What a packet means whose last mix is behind it: for a client, for a mailbox, for nobody,
//! or on its way through to layer 1.

use std::time::Duration;

use directory::{Place, Topology};
use sphinx::{Address, Next, Packet, Payload, Peeled};
use wire::{Handle, MailboxAddress, NodeId, Refusal, Time};

use crate::gateway::Gateway;
use crate::mailbox;

/// Whether the topology lets a packet go from a gateway where it wants: to no node but a mix of
/// layer 1. Whether an address that is no node's is a client's is asked later.
pub(crate) fn allows(topology: &Topology, next: &Next) -> bool {
    match next {
        Next::Hop { address, .. } => {
            let place = topology.place(&NodeId(address.0));
            place.is_none_or(|place| place == Place::Layer1)
        }
        Next::Deliver { .. } => true,
    }
}

impl Gateway {
    pub(crate) fn place(&mut self, now: Time, peeled: Peeled) -> Result<(), Refusal> {
        match peeled {
            Peeled::Forward {
                packet,
                next,
                delay,
            } => {
                // Gateways delay nothing by themselves; an honest sender asks for none.
                if delay != Duration::ZERO {
                    return Err(Refusal::DelayOutOfRange);
                }
                self.pass_on(next, packet)
            }
            Peeled::Deliver {
                address,
                identifier,
                payload,
            } => self.end(now, address, &identifier, &payload),
        }
    }

    /// To layer 1 on the gateway's own clock, or to a client's queue.
    fn pass_on(&mut self, next: Address, packet: Packet) -> Result<(), Refusal> {
        let node = NodeId(next.0);
        // Stage 2 let nodes pass only if they are in layer 1 of the packet's own epoch.
        if self.knows(&node) {
            let held = self.layer.hold(self.limits.layer_queue, node, packet);
            return held.then_some(()).ok_or(Refusal::Overload);
        }
        let client = self.accounts.by_handle(&Handle(next.0));
        let client = client.ok_or(Refusal::UnknownHandle)?;
        let turn = self.next_turn();
        let bound = self.limits.client_queue;
        let bytes = packet.into_bytes();
        let queued = self
            .accounts
            .with(client, |account| account.waiting.push(bound, turn, bytes));
        queued
            .unwrap_or(false)
            .then_some(())
            .ok_or(Refusal::Overload)
    }

    /// Ends here: cover, an own loop, a feed, a part of a descriptor, or an item for a mailbox.
    fn end(
        &mut self,
        now: Time,
        address: Address,
        identifier: &[u8; 16],
        payload: &Payload,
    ) -> Result<(), Refusal> {
        // Opened whatever the address says, so that all kinds cost the same.
        let plaintext = payload.plaintext();
        if address == Address::DROP {
            self.ledger.consumed += 1;
            return Ok(());
        }
        if address == Address::LOOP {
            let ours = self.layer.returned(identifier);
            self.ledger.consumed += u64::from(ours);
            return ours.then_some(()).ok_or(Refusal::SurbReused);
        }
        let plaintext = plaintext?;
        if address == Address::FEED {
            return self.feed(now, &plaintext);
        }
        if address == Address::PUBLISH {
            return self.take_publication(now, &plaintext);
        }
        self.put_in_mailbox(now, MailboxAddress(address.0), &plaintext)
    }

    fn put_in_mailbox(
        &mut self,
        now: Time,
        mailbox: MailboxAddress,
        plaintext: &[u8],
    ) -> Result<(), Refusal> {
        if self.fed.keeps(&mailbox) {
            return self.put_in_fed_mailbox(now, mailbox, plaintext);
        }
        if !self.mailboxes.keeps(&mailbox) {
            return Err(Refusal::UnknownMailbox);
        }
        let item = mailbox::item(self.geometry, plaintext)?;
        let turn = self.next_turn();
        self.mailboxes
            .put(mailbox, self.limits.mailbox_items, turn, item)
    }
}
