//! Making one packet of a message: route, reply blocks, seal, wrap.

use super::{
    Asking, AttemptId, CryptoRng, Duration, Encode, Fragment, Kind, NodeId, Outstanding, Part,
    Purpose, Ready, RngExt, SurbId, Surroundings, Time, Zeroizing, random_identifier, route,
};
use crate::layout::{ADMISSION_LEN, to_usize};
use sphinx::{Address, Packet, Surb};
use wire::SURB_LEN;

impl Asking {
    /// Makes a packet of an attempt that goes on; `None` if there is no way, or no room for its
    /// reply blocks: it counts as left, and is made good like one that was lost.
    pub(crate) fn make(
        &mut self,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        part: Part,
    ) -> Option<Ready> {
        let (id, index) = (part.attempt, part.number);
        let free = self.surbs.room();
        let attempt = self.attempts.get_mut(&id)?;
        let count = attempt.out.surbs();
        attempt.parked = free < count;
        if attempt.parked {
            return None;
        }
        let begin = rng.random_range(0..to_usize(MAX_GATEWAYS));
        let is_listed = |gateway: &NodeId| route::lists(around.topology, gateway);
        // Whoever keeps the mailbox is not to know who sits next to it, if that can be.
        let is_apart = |gateway: &NodeId| is_listed(gateway) && *gateway != around.home.gateway;
        let apart = attempt.out.gateway(index, begin, is_apart);
        let gateway = apart.or_else(|| attempt.out.gateway(index, begin, is_listed))?;
        let (blocks, back) = self.reply_blocks(rng, around, id, count)?;
        let route = route::outward(rng, around.topology, &gateway).ok()?;

        let attempt = self.attempts.get_mut(&id)?;
        let (symbol, end) = attempt.out.fragment(index);
        let out = &mut attempt.out;
        out.made(index, gateway, route.delay, back);
        let fragment = Fragment {
            secret: out.secret.duplicate(),
            length: out.length(),
            index,
            end,
            surbs: blocks,
            symbol,
        };
        let body = Zeroizing::new(fragment.to_bytes());
        let mut payload = out.secret.tag(index).0.to_vec();
        payload.resize(ADMISSION_LEN, 0);
        let unused = payload.get_mut(wire::AdmissionTag::LEN..)?;
        rng.fill_bytes(unused);
        payload.extend(out.to.sealing_key.seal(rng, &out.to.mailbox, &body));
        let identifier = random_identifier(rng);
        let packet = Packet::wrap(
            rng,
            around.topology.geometry(),
            &route.hops,
            Address::from(out.to.mailbox),
            identifier,
            &payload,
        );
        Some(Ready {
            first: route.first,
            packet: packet.ok()?,
            kind: Kind::Request(part),
        })
    }

    /// Reply blocks on routes of their own, as the packet carries them; the book keeps the rest.
    fn reply_blocks(
        &mut self,
        rng: &mut dyn CryptoRng,
        around: &Surroundings<'_>,
        attempt: AttemptId,
        count: usize,
    ) -> Option<(Vec<[u8; SURB_LEN]>, Duration)> {
        let mut blocks = Vec::with_capacity(count);
        let mut longest = Duration::ZERO;
        for _ in 0..count {
            let route = route::homeward(rng, around.topology, around.home).ok()?;
            let id = SurbId(random_identifier(rng));
            let (surb, recovery) = Surb::create(rng, &route.hops, id).ok()?;
            blocks.push(surb.to_bytes());
            longest = longest.max(route.delay);
            self.surbs.add(Outstanding {
                recovery,
                purpose: Purpose::Answer(attempt),
                delay: route.delay,
                until: Time::MAX,
            });
        }
        Some((blocks, longest))
    }
}

/// More gateways than a mailbox has.
const MAX_GATEWAYS: u32 = 64;
