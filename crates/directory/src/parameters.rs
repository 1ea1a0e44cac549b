//! The signed parameters: the numbers on which every participant must agree.

use std::time::Duration;

use sphinx::Geometry;
use traffic::{Rate, Rates};
use wire::{Decode, DecodeError, Encode, Reader, Writer};

/// What a network's participants agree on (docs/spec/directory.md, 3).
///
/// Decoding checks them; [`Parameters::sane`] checks those made by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Length of an epoch. Whole milliseconds, as every duration here.
    pub epoch: Duration,
    /// Length of epoch 1 alone, if it is another: a service that publishes through the mixes can
    /// be listed in epoch 2 at the earliest. Above zero.
    pub first_epoch: Option<Duration>,
    /// How long after its epoch a Sphinx key is still accepted.
    pub overlap: Duration,
    /// For how many epochs a document may stand in for a missing newer one. At most
    /// [`Parameters::MAX_GRACE`]: a descriptor names keys of two epochs and no more.
    pub grace: u8,
    /// One of the five steps of a vote (docs/spec/directory.md, 6).
    pub vote_step: Duration,
    /// Sizes of all packets.
    pub geometry: Geometry,
    /// Rate classes: slots per second of a client. 1 to [`Parameters::MAX_CLASSES`].
    pub classes: Vec<Rate>,
    /// The class that providers and routers use, as an index.
    pub provider_class: u8,
    /// The rates of cover and the law of delays.
    pub rates: Rates,
    /// Answers leave a provider on this tick only.
    pub answer_tick: Duration,
    /// Whether descriptors may name loopback and private addresses: for networks on one
    /// machine or in a laboratory. Public networks refuse them.
    pub local_addresses: bool,
}

impl Parameters {
    /// Most epochs of grace.
    pub const MAX_GRACE: u8 = 1;
    /// The largest share of a gateway's clock that mixes' loops may take.
    pub const MAX_LOOP_LOAD: f64 = 0.5;
    /// Most rate classes.
    pub const MAX_CLASSES: usize = 8;
    /// Steps of a vote from its lists to its epoch's start.
    pub const VOTE_STEPS: u32 = 5;
    /// Steps before its epoch's start at which a descriptor is published.
    pub const PUBLISH_STEPS: u32 = 8;

    /// The parameters of a demonstration on one machine: epochs of ten minutes, a vote of
    /// two and a half seconds.
    #[must_use]
    pub fn demo() -> Self {
        Self {
            epoch: Duration::from_secs(600),
            vote_step: Duration::from_millis(500),
            rates: Rates {
                // 9 mixes' loops over 4 gateways take 4.5 slots a second of each. Six clients who
                // ask five times a second put 30 items a second into mailboxes: 15 at each of
                // two gateways if both providers keep theirs there. A third is in use.
                gateway_loop: Rate::from_millihertz(60_000)
                    .unwrap_or(Rates::default().gateway_loop),
                ..Rates::default()
            },
            local_addresses: true,
            ..Self::default()
        }
    }

    /// The same, but for a first epoch just long enough for publishing through the mixes and the
    /// vote on the second one.
    #[must_use]
    pub fn with_short_first_epoch(self) -> Self {
        let voting = self.vote_step * Self::VOTE_STEPS;
        let first = (voting + PUBLISHING).max(self.shortest_epoch());
        Self {
            first_epoch: Some(first.min(self.epoch)),
            ..self
        }
    }

    /// Which share of a gateway's own clock the loops of `mixes` take, spread over `gateways`.
    ///
    /// Loops of mixes wait for that clock, and so do items on their way to owners of mailboxes:
    /// above [`Parameters::MAX_LOOP_LOAD`] loops of honest mixes come back too late.
    #[must_use]
    pub fn loop_load(&self, mixes: usize, gateways: usize) -> f64 {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let loops = count(mixes) * self.rates.mix_loop.per_second();
        loops / count(gateways.max(1)) / self.rates.gateway_loop.per_second()
    }

    fn shortest_epoch(&self) -> Duration {
        self.vote_step * (Self::PUBLISH_STEPS + 2)
    }

    /// Whether these parameters can carry a network.
    #[must_use]
    pub fn sane(&self) -> bool {
        let first = self.first_epoch.unwrap_or(self.epoch);
        let whole = [
            self.epoch,
            first,
            self.overlap,
            self.vote_step,
            self.answer_tick,
        ]
        .iter()
        .all(|d| d.subsec_nanos() % 1_000_000 == 0 && d.as_millis() <= u128::from(u32::MAX));
        whole
            && self.vote_step >= Duration::from_millis(10)
            && self.epoch >= self.shortest_epoch()
            && (self.shortest_epoch()..=self.epoch).contains(&first)
            && self.overlap * 2 <= self.epoch
            && self.grace <= Self::MAX_GRACE
            && (1..=Self::MAX_CLASSES).contains(&self.classes.len())
            && usize::from(self.provider_class) < self.classes.len()
            && self.answer_tick >= Duration::from_millis(1)
    }

    /// The rate of a class, if there is such a class.
    #[must_use]
    pub fn class(&self, class: u8) -> Option<Rate> {
        self.classes.get(usize::from(class)).copied()
    }
}

/// Epochs of an hour, keys accepted for two minutes more, votes of ten minutes.
impl Default for Parameters {
    fn default() -> Self {
        let rate = |per_second| Rate::new(per_second).expect("a constant in range");
        Self {
            epoch: Duration::from_secs(3600),
            first_epoch: None,
            overlap: Duration::from_secs(120),
            grace: 1,
            vote_step: Duration::from_secs(120),
            geometry: Geometry::DEFAULT,
            classes: vec![rate(6.0), rate(30.0), rate(120.0)],
            provider_class: 2,
            rates: Rates::default(),
            answer_tick: Duration::from_millis(250),
            local_addresses: false,
        }
    }
}

impl Encode for Parameters {
    fn encode(&self, writer: &mut Writer) {
        millis(self.epoch, writer);
        millis(self.first_epoch.unwrap_or_default(), writer);
        millis(self.overlap, writer);
        writer.u8(self.grace);
        millis(self.vote_step, writer);
        // A geometry is at most 64 KiB.
        writer.u32(u32::try_from(self.geometry.payload_len()).unwrap_or(u32::MAX));
        writer.list(&self.classes);
        writer.u8(self.provider_class);
        self.rates.encode(writer);
        millis(self.answer_tick, writer);
        writer.u8(u8::from(self.local_addresses));
    }
}

impl Decode for Parameters {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let parameters = Self {
            epoch: read_millis(reader)?,
            first_epoch: Some(read_millis(reader)?).filter(|first| !first.is_zero()),
            overlap: read_millis(reader)?,
            grace: reader.u8()?,
            vote_step: read_millis(reader)?,
            geometry: usize::try_from(reader.u32()?)
                .ok()
                .and_then(Geometry::new)
                .ok_or(DecodeError::OutOfRange)?,
            classes: reader.list(Self::MAX_CLASSES)?,
            provider_class: reader.u8()?,
            rates: Rates::decode(reader)?,
            answer_tick: read_millis(reader)?,
            local_addresses: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError::OutOfRange),
            },
        };
        if parameters.sane() {
            Ok(parameters)
        } else {
            Err(DecodeError::OutOfRange)
        }
    }
}

/// For descriptors to come through the mixes once the first document is there.
const PUBLISHING: Duration = Duration::from_millis(9_500);

fn millis(duration: Duration, writer: &mut Writer) {
    writer.u32(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
}

fn read_millis(reader: &mut Reader<'_>) -> Result<Duration, DecodeError> {
    Ok(Duration::from_millis(reader.u32()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_parameters_are_sane() {
        let short = Parameters::demo().with_short_first_epoch();
        for parameters in [Parameters::default(), Parameters::demo(), short] {
            assert!(parameters.sane());
            assert_eq!(
                Parameters::from_bytes(&parameters.to_bytes()),
                Ok(parameters)
            );
        }
    }

    #[test]
    fn refuses_parameters_that_cannot_carry_a_network() {
        let break_by: [fn(&mut Parameters); 9] = [
            |p| p.first_epoch = Some(p.vote_step * 9),
            |p| p.first_epoch = Some(p.epoch * 2),
            |p| p.epoch = p.vote_step * 9,
            |p| p.overlap = p.epoch,
            |p| p.grace = 2,
            |p| p.vote_step = Duration::ZERO,
            |p| p.classes.clear(),
            |p| p.provider_class = 3,
            |p| p.answer_tick = Duration::ZERO,
        ];
        for change in break_by {
            let mut parameters = Parameters::default();
            change(&mut parameters);
            assert!(!parameters.sane());
            assert_eq!(
                Parameters::from_bytes(&parameters.to_bytes()),
                Err(DecodeError::OutOfRange)
            );
        }
    }

    #[test]
    fn the_demos_gateways_have_room_for_loops_and_items() {
        let load = Parameters::demo().loop_load(9, 4);
        assert!(load < 0.1, "{load}");
        assert!(Parameters::demo().loop_load(100, 2) > Parameters::MAX_LOOP_LOAD);
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(parameters) = Parameters::from_bytes(bytes) {
                assert_eq!(parameters.to_bytes(), bytes);
            }
        });
    }
}
