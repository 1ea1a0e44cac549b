//! What clients ask of their gateway over the control stream.

use std::sync::Arc;

use directory::{ClockCheck, Descriptor};
use link::{GuestId, Peer};
use rand::CryptoRng;
use sphinx::Surb;
use traffic::Rate;
use wire::{
    Attach, Call, CallRefused, Decode, Encode, NodeId, PublicationPart, Refusal, Register, Reply,
    Time,
};

use crate::accounts::Registration;
use crate::admit::{Applicant, Decision};
use crate::bucket::Bucket;
use crate::gateway::Gateway;
use crate::mailbox::Claim;
use crate::publications::PublicationTicket;

/// What a call comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Say this.
    Reply(Reply),
    /// Publish this service descriptor at the authorities, and say what they say.
    Relay(Vec<u8>),
}

impl Gateway {
    /// Answers a call.
    pub fn handle_call(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        from: Peer,
        call: Call,
    ) -> Answer {
        let done = match (call, from) {
            (Call::NewestDocument, _) => {
                let newest = self.documents.values().next_back();
                return document(newest);
            }
            (Call::Document(epoch), _) => return document(self.documents.get(&epoch)),
            (Call::Clocks, _) => return Answer::Reply(self.show_clocks(now)),
            _ if self.draining => Err(CallRefused::Busy),
            (Call::Register(register), Peer::Guest(guest)) => {
                self.register(now, rng, guest, register)
            }
            (Call::Attach(attach), Peer::Guest(guest)) => self.attach(guest, &attach),
            (Call::Publish(descriptor), Peer::Guest(guest)) => {
                match self.may_publish(now, guest, &descriptor) {
                    Ok(()) => return Answer::Relay(descriptor),
                    Err(refused) => Err(refused),
                }
            }
            _ => Err(CallRefused::NotForThisNode),
        };
        Answer::Reply(match done {
            Ok(()) => Reply::Done,
            Err(refused) => Reply::Refused(refused),
        })
    }

    /// Takes what the authorities' clocks showed at `now`, to hand it on while it is fresh.
    pub fn set_clocks(&mut self, now: Time, readings: Arc<[u8]>) {
        self.clocks = Some((now, readings));
    }

    fn show_clocks(&self, now: Time) -> Reply {
        match &self.clocks {
            // The oldest of them came a round of calls before.
            Some((at, readings)) if now.since(*at) + ClockCheck::ROUND <= ClockCheck::MAX_AGE => {
                Reply::Clocks(readings.to_vec())
            }
            _ => Reply::Refused(CallRefused::NotYet),
        }
    }

    fn register(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        guest: GuestId,
        register: Register,
    ) -> Result<(), CallRefused> {
        let Register {
            handle,
            epoch,
            class,
        } = register;
        let topology = self.gate.topology(epoch).ok_or(CallRefused::WrongEpoch)?;
        let rate = topology.parameters().class(class);
        let rate = rate.ok_or(CallRefused::Invalid)?;
        let taken = self
            .accounts
            .by_handle(&handle)
            .and_then(|id| self.accounts.get(id));
        if taken.is_some_and(|account| account.handle(epoch) != Some(handle))
            || topology.place(&NodeId(handle.0)).is_some()
        {
            return Err(CallRefused::Invalid);
        }
        let account = match self.accounts.known(guest, &handle) {
            Some(account) => account,
            None => {
                self.make_room();
                let applicant = Applicant {
                    class,
                    accounts: self.accounts.count(),
                    bound: self.limits.clients,
                };
                match self.admission.decide(&applicant) {
                    Decision::Admit => self.accounts.open(now, rate),
                    Decision::Refuse(refused) => return Err(refused),
                }
            }
        };
        let registration = Registration {
            guest,
            epoch,
            handle,
            class: rate,
        };
        self.accounts.register(now, rng, account, &registration);
        Ok(())
    }

    /// At the bound, the account whose client is away longest makes room.
    fn make_room(&mut self) {
        if self.accounts.count() < self.limits.clients {
            return;
        }
        if let Some(account) = self.accounts.away_longest() {
            self.close_account(account, Refusal::NotConnected);
        }
    }

    fn attach(&mut self, guest: GuestId, attach: &Attach) -> Result<(), CallRefused> {
        let owner = self.accounts.by_guest(guest).ok_or(CallRefused::Invalid)?;
        let account = self.accounts.get(owner).ok_or(CallRefused::Invalid)?;
        let handle = account
            .handle(attach.epoch)
            .ok_or(CallRefused::WrongEpoch)?;
        let address = message::verify_attach(attach, self.id, handle);
        let address = address.map_err(|_| CallRefused::Invalid)?;
        let known = account.mailboxes.contains(&address);
        if !known && account.mailboxes.len() >= self.limits.client_mailboxes {
            return Err(CallRefused::Busy);
        }
        let claim = Claim {
            epoch: attach.epoch,
            counter: attach.counter,
        };
        let before = self.mailboxes.attach(address, owner, claim);
        if let Some(before) = before.map_err(|_| CallRefused::Invalid)? {
            self.accounts
                .with(before, |account| account.mailboxes.remove(&address));
        }
        self.accounts
            .with(owner, |account| account.mailboxes.insert(address));
        Ok(())
    }

    /// A service may publish before it registers: its first descriptor comes before the first
    /// document.
    fn may_publish(
        &mut self,
        now: Time,
        guest: GuestId,
        descriptor: &[u8],
    ) -> Result<(), CallRefused> {
        let links = self.publications.len();
        let known = self.publications.contains_key(&guest);
        if !known && links >= self.limits.clients {
            return Err(CallRefused::Busy);
        }
        let published = self.publications.entry(guest).or_default();
        if *published >= self.limits.publications {
            return Err(CallRefused::Busy);
        }
        *published += 1;
        self.may_relay(now, descriptor)
    }

    /// Whether the authorities may be bothered with these bytes.
    fn may_relay(&mut self, now: Time, descriptor: &[u8]) -> Result<(), CallRefused> {
        match Descriptor::open(descriptor, &self.parameters) {
            Ok(Descriptor::Service(_)) => {}
            _ => return Err(CallRefused::Invalid),
        }
        let all = self.publishing.get_or_insert_with(|| everybody(now));
        all.take(now).then_some(()).ok_or(CallRefused::Busy)
    }

    /// Takes a part of a descriptor that comes through the mixes.
    pub(crate) fn take_publication(&mut self, now: Time, plaintext: &[u8]) -> Result<(), Refusal> {
        let part = PublicationPart::from_bytes(plaintext).map_err(|_| Refusal::Malformed)?;
        let surb = Surb::from_bytes(&part.surb)?;
        if !self.knows(&NodeId(surb.first_hop().0)) {
            return Err(Refusal::SurbInvalid);
        }
        self.published.take(now, part, surb)?;
        self.ledger.consumed += 1;
        Ok(())
    }

    /// The next descriptor that came through the mixes, to publish at the authorities; what they
    /// say is for [`Self::published`].
    pub fn poll_publication(&mut self, now: Time) -> Option<(PublicationTicket, Vec<u8>)> {
        loop {
            let (ticket, descriptor) = self.published.poll()?;
            match self.may_relay(now, &descriptor) {
                Ok(()) => return Some((ticket, descriptor)),
                Err(refused) => self.published(ticket, &Reply::Refused(refused)),
            }
        }
    }

    /// Sends the authorities' word on a descriptor back to its service, on the own clock.
    pub fn published(&mut self, ticket: PublicationTicket, verdict: &Reply) {
        let Some(surb) = self.published.settle(ticket) else {
            return;
        };
        let mix = NodeId(surb.first_hop().0);
        // A word too long for a packet is none of ours.
        let Ok(packet) = surb.reply(self.geometry, &verdict.to_bytes()) else {
            return;
        };
        self.ledger.made += 1;
        if !self.knows(&mix) || !self.layer.hold(self.limits.layer_queue, mix, packet) {
            self.ledger.refused.add(Refusal::Overload);
        }
    }
}

/// What all links together may publish: one descriptor in 0.8 seconds, 64 at once.
fn everybody(now: Time) -> Bucket {
    let one_a_second = Rate::from_millihertz(1_000).expect("a constant above zero");
    Bucket::new(now, one_a_second)
}

fn document(encoded: Option<&Arc<[u8]>>) -> Answer {
    Answer::Reply(match encoded {
        Some(encoded) => Reply::Document(encoded.to_vec()),
        None => Reply::Refused(CallRefused::NotYet),
    })
}

/// What to say of a descriptor that was passed on: done if enough authorities took it for a
/// document; else what one of the others said.
#[must_use]
pub fn verdict(threshold: usize, replies: &[Reply]) -> Reply {
    let done = replies.iter().filter(|reply| **reply == Reply::Done);
    if done.count() >= threshold {
        return Reply::Done;
    }
    let refused = |reply: &&Reply| matches!(reply, Reply::Refused(_));
    let why = replies.iter().find(refused).cloned();
    why.unwrap_or(Reply::Refused(CallRefused::Busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_done_when_a_quorum_has_it() {
        let refused = Reply::Refused(CallRefused::WrongEpoch);
        let some = [Reply::Done, refused.clone(), Reply::Done];
        assert_eq!(verdict(2, &some), Reply::Done);
        assert_eq!(verdict(3, &some), refused);
        assert_eq!(verdict(3, &[]), Reply::Refused(CallRefused::Busy));
    }
}
