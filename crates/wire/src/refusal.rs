//! The closed list of reasons for which a packet or frame goes no further.

/// Why a packet went no further. Counted under its label, never sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Not as long as the network's geometry says.
    BadLength,
    /// Alpha is of low order or not canonical.
    BadGroupElement,
    /// The header's authentication tag does not fit any key in force.
    BadMac,
    /// A version of the format other than 260.
    UnsupportedVersion,
    /// The tag was seen before under this key.
    Replay,
    /// The replay filter has no room left this epoch.
    ReplayFilterFull,
    /// The replay log could not be written; nothing is forwarded unlogged.
    ReplayLogFailed,
    /// The next hop is not one that the topology allows from here.
    BadNextHop,
    /// The delay is above the accepted quantile of its law.
    DelayOutOfRange,
    /// For an epoch whose keys are not in force.
    WrongEpoch,
    /// The payload does not decrypt to a well-formed plaintext.
    PayloadIntegrity,
    /// A queue is at its bound.
    Overload,
    /// The peer sends faster than its rate.
    RateExceeded,
    /// No link to the next hop.
    NotConnected,
    /// No client has this handle.
    UnknownHandle,
    /// No mailbox has this address.
    UnknownMailbox,
    /// The mailbox is at its bound.
    MailboxFull,
    /// The mailbox's owner admits no more at present.
    NotAdmitted,
    /// A reply block or loop identifier that is unknown or was used before.
    SurbReused,
    /// A reply block that cannot be used.
    SurbInvalid,
    /// A feed that is not one, or that the mailbox's owner did not sign for this gateway.
    FeedInvalid,
    /// A feed that is not newer than the last, or for an epoch that is not at hand.
    FeedStale,
    /// A seal that does not open.
    SealInvalid,
    /// A fragment that fits no message, repeats or contradicts another.
    FragmentInvalid,
    /// Bytes that are not what their place calls for.
    Malformed,
    /// A first-hop index that names no mix of layer 1.
    BadFirstHop,
    /// The node announced that it stops.
    Draining,
}

impl Refusal {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 27] = [
        Self::BadLength,
        Self::BadGroupElement,
        Self::BadMac,
        Self::UnsupportedVersion,
        Self::Replay,
        Self::ReplayFilterFull,
        Self::ReplayLogFailed,
        Self::BadNextHop,
        Self::DelayOutOfRange,
        Self::WrongEpoch,
        Self::PayloadIntegrity,
        Self::Overload,
        Self::RateExceeded,
        Self::NotConnected,
        Self::UnknownHandle,
        Self::UnknownMailbox,
        Self::MailboxFull,
        Self::NotAdmitted,
        Self::SurbReused,
        Self::SurbInvalid,
        Self::FeedInvalid,
        Self::FeedStale,
        Self::SealInvalid,
        Self::FragmentInvalid,
        Self::Malformed,
        Self::BadFirstHop,
        Self::Draining,
    ];

    /// The label in metrics and reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadLength => "bad_length",
            Self::BadGroupElement => "bad_group_element",
            Self::BadMac => "bad_mac",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Replay => "replay",
            Self::ReplayFilterFull => "replay_filter_full",
            Self::ReplayLogFailed => "replay_log_failed",
            Self::BadNextHop => "bad_next_hop",
            Self::DelayOutOfRange => "delay_out_of_range",
            Self::WrongEpoch => "wrong_epoch",
            Self::PayloadIntegrity => "payload_integrity",
            Self::Overload => "overload",
            Self::RateExceeded => "rate_exceeded",
            Self::NotConnected => "not_connected",
            Self::UnknownHandle => "unknown_handle",
            Self::UnknownMailbox => "unknown_mailbox",
            Self::MailboxFull => "mailbox_full",
            Self::NotAdmitted => "not_admitted",
            Self::SurbReused => "surb_reused",
            Self::SurbInvalid => "surb_invalid",
            Self::FeedInvalid => "feed_invalid",
            Self::FeedStale => "feed_stale",
            Self::SealInvalid => "seal_invalid",
            Self::FragmentInvalid => "fragment_invalid",
            Self::Malformed => "malformed",
            Self::BadFirstHop => "bad_first_hop",
            Self::Draining => "draining",
        }
    }
}
