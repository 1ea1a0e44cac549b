//! What comes from the gateway: dummies, own packets, items from mailboxes.

use std::time::Duration;

use link::Frame;
use sphinx::{Address, Next, Packet, Payload, Peeled, SecretKey};
use wire::{NodeId, Refusal, SurbId, Time};

use rand::CryptoRng;

use super::{Edge, EdgeEvent, MAX_EVENTS, place, surroundings};
use crate::ask::{AttemptId, Surroundings};
use crate::route;
use crate::serve::{Opened, Place};
use crate::surbs::Purpose;

impl Edge {
    /// Takes what a gateway hands over.
    ///
    /// # Errors
    /// Why it goes no further.
    pub(super) fn delivery(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        prefix: u16,
        packet: &[u8],
    ) -> Result<(), Refusal> {
        if packet.len() != self.topology.geometry().packet_len() {
            return Err(Refusal::BadLength);
        }
        match prefix {
            Frame::DUMMY => {
                self.counts.dummies_in += 1;
                Ok(())
            }
            Frame::PACKET => self.packet(now, rng, packet),
            Frame::MAILBOX_ITEM => self.item(now, packet),
            _ => Err(Refusal::Malformed),
        }
    }

    fn packet(&mut self, now: Time, rng: &mut dyn CryptoRng, bytes: &[u8]) -> Result<(), Refusal> {
        let packet = Packet::from_bytes(self.topology.geometry(), bytes)?;
        let keys: Vec<&SecretKey> = std::iter::once(&self.home)
            .chain(self.former.iter().map(|(home, _, _)| home))
            .map(|home| &home.secret)
            .collect();
        let opened = packet.open(&keys)?;
        let Next::Deliver {
            address,
            identifier,
        } = opened.next()
        else {
            return Err(Refusal::BadNextHop);
        };
        let id = SurbId(identifier);
        if address == Address::LOOP {
            let returned = self
                .loops
                .come_back(&identifier)
                .ok_or(Refusal::SurbReused)?;
            delivered(opened.finish())?.plaintext()?;
            self.jitter.observe(returned.excess(now));
            self.asking.measure().arrived();
            self.tell(EdgeEvent::Loop {
                after: returned.after(now),
            })
            .or(Ok(()))
        } else {
            let surb = self.asking.take_surb(&id)?;
            let (purpose, delay) = (surb.purpose, surb.delay);
            let plaintext = surb.recovery.recover(delivered(opened.finish())?)?;
            match purpose {
                Purpose::Answer(attempt) => self.answer(now, rng, attempt, delay, &plaintext),
                Purpose::Mailbox { gateway, epoch } => {
                    self.forwarded_item(now, rng, (&gateway, epoch), &plaintext)
                }
                Purpose::Verdict => self.verdict(&plaintext),
            }
        }
    }

    fn answer(
        &mut self,
        now: Time,
        rng: &mut dyn CryptoRng,
        attempt: AttemptId,
        delay: Duration,
        plaintext: &[u8],
    ) -> Result<(), Refusal> {
        self.counts.replies_in += 1;
        let around = surroundings!(self);
        let (jobs, ended) = self
            .asking
            .reply(now, rng, &around, attempt, delay, plaintext)?;
        self.settle(jobs, ended.into_iter().collect());
        Ok(())
    }

    pub(super) fn item(&mut self, now: Time, item: &[u8]) -> Result<(), Refusal> {
        if self.full || self.events.len() >= MAX_EVENTS {
            return Err(Refusal::Overload);
        }
        self.counts.items_in += 1;
        let topologies = [
            Some(&self.topology),
            self.former.as_ref().map(|(_, topology, _)| topology),
        ];
        let knows = |mix: &NodeId| {
            let mut known = topologies.iter().flatten();
            known.any(|topology| route::first_hop_index(topology, mix).is_some())
        };
        let place = place!(self, now);
        let taken = self.serving.item(now, &place, knows, item)?;
        self.push(taken.jobs);
        match taken.mail {
            Some(Opened::Request(request)) => self.tell(EdgeEvent::Request(request)),
            Some(Opened::Letter(letter)) => self.tell(EdgeEvent::Letter(letter)),
            Some(Opened::Knock(knock)) => self.knocked(now, knock),
            None => Ok(()),
        }
    }
}

fn delivered(peeled: Peeled) -> Result<Payload, Refusal> {
    match peeled {
        Peeled::Deliver { payload, .. } => Ok(payload),
        Peeled::Forward { .. } => Err(Refusal::BadNextHop),
    }
}
