//! What comes from the gateway: dummies, own packets, items from mailboxes.

use link::Frame;
use sphinx::{Address, Next, Packet, Payload, Peeled, SecretKey};
use wire::{NodeId, Refusal, SurbId, Time};

use super::{Edge, EdgeEvent, MAX_EVENTS};
use crate::route;
use crate::surbs::Purpose;

impl Edge {
    /// Takes what a gateway hands over.
    ///
    /// # Errors
    /// Why it goes no further.
    pub(super) fn delivery(
        &mut self,
        now: Time,
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
            Frame::PACKET => self.packet(now, packet),
            Frame::MAILBOX_ITEM => self.item(now, packet),
            _ => Err(Refusal::Malformed),
        }
    }

    fn packet(&mut self, now: Time, bytes: &[u8]) -> Result<(), Refusal> {
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
            self.tell(EdgeEvent::Loop {
                after: returned.after(now),
            })
            .or(Ok(()))
        } else {
            let surb = self.asking.take_surb(&id)?;
            let (Purpose::Answer(attempt), delay) = (surb.purpose, surb.delay);
            let plaintext = surb.recovery.recover(delivered(opened.finish())?)?;
            self.counts.replies_in += 1;
            let answer = self
                .asking
                .reply(now, &self.topology, attempt, delay, &plaintext)?;
            let Some((response, timing, ended)) = answer else {
                return Ok(());
            };
            self.slots.withdraw(|attempt| ended.contains(&attempt));
            self.tell(EdgeEvent::Response { response, timing })
        }
    }

    fn item(&mut self, now: Time, item: &[u8]) -> Result<(), Refusal> {
        if self.events.len() >= MAX_EVENTS {
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
        let request = self.serving.item(now, &self.topology, knows, item)?;
        request.map_or(Ok(()), |request| self.tell(EdgeEvent::Request(request)))
    }
}

fn delivered(peeled: Peeled) -> Result<Payload, Refusal> {
    match peeled {
        Peeled::Deliver { payload, .. } => Ok(payload),
        Peeled::Forward { .. } => Err(Refusal::BadNextHop),
    }
}
