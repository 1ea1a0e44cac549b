//! Signing feeds, and telling whose they are (docs/spec/message.md, 10).

use directory::Identity;
use thiserror::Error;
use wire::{AdmissionTag, Encode, Epoch, Feed, MailboxAddress, NodeId, SURB_LEN, Writer};

/// A feed that the mailbox's owner did not make for this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a valid feed of a mailbox")]
pub struct BadFeed;

/// What a feed brings.
pub struct FeedDraft {
    /// The epoch whose keys the reply blocks name.
    pub epoch: Epoch,
    /// Rises with every feed, across restarts too: a time in microseconds will do.
    pub counter: u64,
    /// Reply blocks of feeds with a lower counter are discarded.
    pub floor: u64,
    /// Packets in 1,000 seconds taken of senders whose tags were not announced.
    pub stranger_millihertz: u32,
    /// Tags that go before all others.
    pub tags: Vec<AdmissionTag>,
    /// The reply blocks.
    pub surbs: Vec<[u8; SURB_LEN]>,
}

/// Signs a feed of the mailbox of `key` for `gateway`.
#[must_use]
pub fn sign_feed(key: &Identity, gateway: &NodeId, draft: FeedDraft) -> Feed {
    let mut feed = Feed {
        key: key.public(),
        epoch: draft.epoch,
        counter: draft.counter,
        floor: draft.floor,
        stranger_millihertz: draft.stranger_millihertz,
        tags: draft.tags,
        surbs: draft.surbs,
        signature: [0; 64],
    };
    feed.signature = key.sign(CONTEXT, &signed_bytes(gateway, &feed));
    feed
}

/// The mailbox that is fed, if its owner made the feed for this gateway.
///
/// Whether epoch and counter are new is for the gateway to say.
///
/// # Errors
/// [`BadFeed`] if the signature is not the owner's, or for another gateway.
pub fn verify_feed(feed: &Feed, gateway: &NodeId) -> Result<MailboxAddress, BadFeed> {
    let signed = signed_bytes(gateway, feed);
    directory::verify(&feed.key, CONTEXT, &signed, &feed.signature)
        .then(|| MailboxAddress::of_key(&feed.key))
        .ok_or(BadFeed)
}

fn signed_bytes(gateway: &NodeId, feed: &Feed) -> Vec<u8> {
    let mut writer = Writer::default();
    gateway.encode(&mut writer);
    writer.raw(&feed.unsigned_bytes());
    writer.into_bytes()
}

const CONTEXT: &str = "subrosa 2026-11 feed";

#[cfg(test)]
mod tests {
    use wire::Decode;

    use super::*;

    const GATEWAY: NodeId = NodeId([1; 32]);

    fn draft() -> FeedDraft {
        FeedDraft {
            epoch: Epoch(4),
            counter: 5,
            floor: 5,
            stranger_millihertz: 6_000,
            tags: vec![AdmissionTag([7; 16])],
            surbs: vec![[8; SURB_LEN], [9; SURB_LEN]],
        }
    }

    #[test]
    fn a_feed_names_the_mailbox_of_its_key() {
        let key = Identity::from_seed(&[3; 32]);
        let feed = sign_feed(&key, &GATEWAY, draft());
        assert_eq!(verify_feed(&feed, &GATEWAY), Ok(key.mailbox()));
    }

    #[test]
    fn a_feed_is_for_one_gateway_and_for_what_it_says() {
        let feed = sign_feed(&Identity::from_seed(&[3; 32]), &GATEWAY, draft());
        assert_eq!(verify_feed(&feed, &NodeId([2; 32])), Err(BadFeed));
        let changes: [fn(&mut Feed); 7] = [
            |feed| feed.key = Identity::from_seed(&[4; 32]).public(),
            |feed| feed.epoch = Epoch(5),
            |feed| feed.counter = 6,
            |feed| feed.floor = 4,
            |feed| feed.stranger_millihertz = 1,
            |feed| feed.tags.clear(),
            |feed| feed.surbs.swap(0, 1),
        ];
        for change in changes {
            let mut changed = feed.clone();
            change(&mut changed);
            assert_eq!(verify_feed(&changed, &GATEWAY), Err(BadFeed));
        }
    }

    #[test]
    fn verifies_the_feeds_of_the_reference_and_refuses_the_bad_ones() {
        let gateway = NodeId([0xa1; 32]);
        let key = Identity::from_seed(&[0x5e; 32]);
        let good = vector(include_str!("../tests/vectors/feed.hex"));
        let feed = Feed::from_bytes(&good).unwrap();
        assert_eq!(verify_feed(&feed, &gateway), Ok(key.mailbox()));
        let drafted = FeedDraft {
            epoch: Epoch(7),
            counter: 1_790_000_000_000_000,
            floor: 1_789_999_999_999_999,
            stranger_millihertz: 12_500,
            tags: vec![AdmissionTag([0x11; 16]), AdmissionTag([0x22; 16])],
            surbs: vec![[0x33; SURB_LEN]],
        };
        assert_eq!(sign_feed(&key, &gateway, drafted).to_bytes(), good);
        let unsigned = vector(include_str!("../tests/vectors/feed_bad_signature.hex"));
        let unsigned = Feed::from_bytes(&unsigned).unwrap();
        assert_eq!(verify_feed(&unsigned, &gateway), Err(BadFeed));
        let elsewhere = vector(include_str!("../tests/vectors/feed_other_gateway.hex"));
        let elsewhere = Feed::from_bytes(&elsewhere).unwrap();
        assert_eq!(verify_feed(&elsewhere, &gateway), Err(BadFeed));
        let floor = vector(include_str!("../tests/vectors/feed_bad_floor.hex"));
        assert!(Feed::from_bytes(&floor).is_err());
    }

    fn vector(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        (0..text.len() / 2).map(byte).collect()
    }
}
