//! Agents write to each other: listening, knocking, letters (docs/spec/message.md, 14).

use rand::CryptoRng;
use wire::{MailboxAddress, Outcome, Refusal, RequestId, Response, Time};

use super::{Edge, place, surroundings};
use crate::EdgeError;
use crate::ask::{LetterId, Recipient, Surroundings};
use crate::contact::{Contact, ContactWord};
use crate::owner::{AnonymousMailbox, Owner};
use crate::profile::{Profile, sealing_key};
use crate::serve::{OpenedKnock, Place};

impl Edge {
    /// Listens at a mailbox of its own that nobody can trace here: letters come as events, knocks
    /// are answered. The contact is what to give to those who may write.
    ///
    /// # Errors
    /// As [`Self::own_mailbox`].
    pub fn listen(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        mailbox: AnonymousMailbox,
    ) -> Result<Contact, EdgeError> {
        let key = mailbox.key.clone();
        let word = ContactWord::of(&key);
        let address = key.mailbox();
        let door = word.door(&address);
        self.own(now, rng, mailbox, sealing_key(&key), Some(door))?;
        let gateways = self.mailbox_gateways(&address);
        Ok(Contact::new(address, &gateways, word))
    }

    /// Serves an own mailbox no longer: what still comes for it is refused.
    pub fn close_mailbox(&mut self, mailbox: &MailboxAddress) {
        self.serving.close(mailbox);
        self.owners.retain(|owner| owner.mailbox() != *mailbox);
    }

    /// While `full`, whatever comes to the own mailboxes is refused, and sent again by who sent
    /// it: the owner has no room for more letters.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Asks the owner of a contact for its profile, until `deadline`: it comes as a response
    /// under `id`, for [`read_profile`](crate::read_profile) to check.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was queued.
    pub fn knock(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        contact: &Contact,
        id: RequestId,
        deadline: Time,
    ) -> Result<(), EdgeError> {
        let to = contact.door(&self.topology);
        let around = surroundings!(self);
        let jobs = self.asking.knock(now, rng, &around, &to, id, deadline)?;
        self.push(jobs);
        Ok(())
    }

    /// Sends a letter: up to [`wire::MAX_LETTER_LEN`] bytes to an agent's mailbox. One event says
    /// that it arrived, or, at `deadline` at the latest, that it did not.
    ///
    /// # Errors
    /// [`EdgeError`]; then nothing was queued.
    pub fn send_letter(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        to: &Recipient,
        body: &[u8],
        deadline: Time,
    ) -> Result<LetterId, EdgeError> {
        let around = surroundings!(self);
        let written = self.asking.write(now, rng, &around, to, body, deadline);
        let (jobs, letter) = written?;
        self.push(jobs);
        Ok(letter)
    }

    /// Gives a letter up.
    pub fn abandon_letter(&mut self, now: Time, letter: LetterId) {
        self.asking.end_letter(now, letter);
        self.slots.withdraw(|attempt| self.asking.goes_on(attempt));
    }

    /// Answers a knock at a mailbox of ours.
    pub(super) fn knocked(&mut self, now: Time, knock: OpenedKnock) -> Result<(), Refusal> {
        let mut owners = self.owners.iter();
        let owner = owners
            .find(|owner| owner.mailbox() == knock.mailbox)
            .ok_or(Refusal::UnknownMailbox)?;
        let sealing_key = sealing_key(&owner.key);
        let gateways = Owner::gateways(owner);
        let profile = Profile::sign(&owner.key, sealing_key.public(), gateways, &knock.id);
        let response = Response {
            id: knock.id,
            compute: Default::default(),
            held: Default::default(),
            outcome: Outcome::Output(wire::Encode::to_bytes(&profile)),
        };
        let place = place!(self, now);
        let jobs = self.serving.answer(&place, knock.reply, &response);
        // Who knocks again gets the answer that is kept.
        self.push(jobs.unwrap_or_default());
        Ok(())
    }
}
