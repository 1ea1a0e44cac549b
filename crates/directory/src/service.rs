//! What a service says of itself: its mailbox, its sealing key, its models.

use wire::{
    AnswerClass, Decode, DecodeError, Encode, Epoch, GraphHash, MailboxAddress, NodeId, NodeName,
    Reader, Writer,
};

use crate::{BadDescriptor, Identity, identity};

/// What a service says before it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDraft {
    /// Its name in the catalogue.
    pub name: NodeName,
    /// The epoch for which it speaks.
    pub epoch: Epoch,
    /// The gateways that keep its mailbox: 1 or 2.
    pub gateways: Vec<NodeId>,
    /// The public key to which requests are sealed (X-Wing).
    pub sealing_key: Vec<u8>,
    /// The models that it answers for: 1 to 16.
    pub models: Vec<ModelCard>,
}

/// A service's signed word about itself for one epoch (docs/spec/directory.md, 5.2).
///
/// It names no network address: only the mailbox's key and the gateways that keep the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDescriptor {
    /// The Ed25519 key made for this mailbox.
    pub mailbox_key: [u8; 32],
    /// Its name in the catalogue.
    pub name: NodeName,
    /// The epoch for which it speaks.
    pub epoch: Epoch,
    /// The gateways that keep its mailbox.
    pub gateways: Vec<NodeId>,
    /// The public key to which requests are sealed.
    pub sealing_key: Vec<u8>,
    /// The models that it answers for.
    pub models: Vec<ModelCard>,
    /// By `mailbox_key`, over all of the above.
    pub signature: [u8; 64],
}

impl ServiceDescriptor {
    /// Longest encoding, and longest of any descriptor: what a guest's call carries.
    pub const MAX_LEN: usize = 60 << 10;
    /// Most gateways that keep one mailbox.
    pub const MAX_GATEWAYS: usize = 2;
    /// Most models of one service.
    pub const MAX_MODELS: usize = 16;
    /// Length of a sealing key: X-Wing's public key.
    pub const SEALING_KEY_LEN: usize = 1216;

    /// Signs what `draft` says with the mailbox's key.
    #[must_use]
    pub fn sign(mailbox: &Identity, draft: ServiceDraft) -> Self {
        let mut descriptor = Self {
            mailbox_key: mailbox.public(),
            name: draft.name,
            epoch: draft.epoch,
            gateways: draft.gateways,
            sealing_key: draft.sealing_key,
            models: draft.models,
            signature: [0; 64],
        };
        descriptor.signature = mailbox.sign(CONTEXT, &descriptor.signed_bytes());
        descriptor
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`BadDescriptor::Signature`] or [`BadDescriptor::TooLong`].
    pub fn verify(&self) -> Result<(), BadDescriptor> {
        let signed = self.signed_bytes();
        if signed.len() + 65 > Self::MAX_LEN {
            return Err(BadDescriptor::TooLong);
        }
        if identity::verify(&self.mailbox_key, CONTEXT, &signed, &self.signature) {
            Ok(())
        } else {
            Err(BadDescriptor::Signature)
        }
    }

    /// The address of its mailbox.
    #[must_use]
    pub fn mailbox(&self) -> MailboxAddress {
        MailboxAddress::of_key(&self.mailbox_key)
    }

    /// The card of the model named `name`.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&ModelCard> {
        self.models.iter().find(|card| card.name.as_str() == name)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.encode_unsigned(&mut writer);
        writer.into_bytes()
    }

    fn encode_unsigned(&self, writer: &mut Writer) {
        writer.raw(&self.mailbox_key);
        self.name.encode(writer);
        self.epoch.encode(writer);
        writer.list(&self.gateways);
        writer.bytes(&self.sealing_key);
        writer.list(&self.models);
    }
}

impl Encode for ServiceDescriptor {
    fn encode(&self, writer: &mut Writer) {
        self.encode_unsigned(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for ServiceDescriptor {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let descriptor = Self {
            mailbox_key: reader.array()?,
            name: NodeName::decode(reader)?,
            epoch: Epoch::decode(reader)?,
            gateways: reader.list(Self::MAX_GATEWAYS)?,
            sealing_key: reader.bytes(Self::SEALING_KEY_LEN)?.to_vec(),
            models: reader.list(Self::MAX_MODELS)?,
            signature: reader.array()?,
        };
        let gateways = &descriptor.gateways;
        let repeated = gateways.len() == 2 && gateways.first() == gateways.last();
        let in_form = !gateways.is_empty()
            && !repeated
            && descriptor.sealing_key.len() == Self::SEALING_KEY_LEN
            && distinct_models(&descriptor.models);
        checked(in_form, descriptor)
    }
}

/// A model's name: 1 to 64 of `a-z`, `0-9`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// `None` unless `name` is 1 to 64 of `a-z`, `0-9`, `-`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = !name.is_empty() && name.len() <= Self::MAX_LEN && name.bytes().all(allowed);
        fits.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of text for people: at most 256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Line(String);

impl Line {
    /// Longest line, in bytes.
    pub const MAX_LEN: usize = 256;

    /// `None` if `text` is longer than 256 bytes or holds a control character.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= Self::MAX_LEN && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the catalogue says of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    /// The name by which clients ask for it.
    pub name: ModelName,
    /// What it answers, for people.
    pub description: Line,
    /// Hash of the integer graph: the model's identity in requests.
    pub graph_hash: GraphHash,
    /// BLAKE3 of the compiled module.
    pub module_hash: [u8; 32],
    /// The size of its answers.
    pub class: AnswerClass,
    /// What goes in.
    pub input: InputSchema,
    /// What comes out.
    pub output: OutputSchema,
    /// Fuel that every run consumes at most.
    pub fuel: u64,
}

/// A model's input, and how a client's numbers become integers before the graph (docs/spec/model.md,
/// 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSchema {
    /// Elements of one input: 1 to [`InputSchema::MAX_ELEMENTS`].
    pub elements: u32,
    /// What an integer says of a number.
    pub encoding: Encoding,
    /// What stands for a number that the asker does not know: none, or one an element.
    pub missing: Vec<Finite>,
    /// What one step is worth, above zero: one for all elements, or one an element.
    pub scale: Vec<Finite>,
    /// What integer 0 stands for: one for all elements, or one an element.
    pub zero: Vec<Finite>,
    /// Smallest integer.
    pub lo: i32,
    /// Largest integer.
    pub hi: i32,
}

/// What the integers of an input say of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `clamp(round((x - zero) / scale), lo, hi)`, halves away from zero.
    Scaled,
    /// The number itself, as the integer of the same order that its bits make; scale is 1, zero 0.
    Ordered,
}

/// A model's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSchema {
    /// Elements of one output: 1 to [`OutputSchema::MAX_ELEMENTS`].
    pub elements: u32,
    /// What one step is worth, above zero.
    pub scale: Finite,
    /// What the classes are called; empty if the output is not a class.
    pub labels: Vec<Line>,
}

/// A finite `f32`, compared and signed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finite(u32);

impl Finite {
    /// `None` if `value` is infinite or not a number.
    #[must_use]
    pub const fn new(value: f32) -> Option<Self> {
        if value.is_finite() {
            Some(Self(value.to_bits()))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl std::fmt::Debug for Finite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl InputSchema {
    /// Most elements of an input: a request holds 1 MiB.
    pub const MAX_ELEMENTS: u32 = 1 << 18;
    /// Most scales or zeros, where there is one an element.
    pub const MAX_EACH: usize = 4096;

    fn in_form(&self) -> bool {
        let each = usize::try_from(self.elements).unwrap_or(usize::MAX);
        let one_or_each = |values: &[Finite]| values.len() == 1 || values.len() == each;
        (1..=Self::MAX_ELEMENTS).contains(&self.elements)
            && one_or_each(&self.scale)
            && one_or_each(&self.zero)
            && self.scale.iter().all(|scale| scale.get() > 0.0)
            && (self.missing.is_empty() || self.missing.len() == each)
            && self.lo <= self.hi
    }
}

impl OutputSchema {
    /// Most elements of an output.
    pub const MAX_ELEMENTS: u32 = 1 << 17;
    /// Most labels.
    pub const MAX_LABELS: usize = 1024;

    fn in_form(&self) -> bool {
        (1..=Self::MAX_ELEMENTS).contains(&self.elements) && self.scale.get() > 0.0
    }
}

fn distinct_models(models: &[ModelCard]) -> bool {
    let names: std::collections::BTreeSet<_> = models.iter().map(|card| &card.name).collect();
    !models.is_empty() && names.len() == models.len()
}

fn signed(value: i32, writer: &mut Writer) {
    writer.raw(&value.to_be_bytes());
}

fn read_signed(reader: &mut Reader<'_>) -> Result<i32, DecodeError> {
    reader.array().map(i32::from_be_bytes)
}

fn read_text<'a>(reader: &mut Reader<'a>, max: usize) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(reader.bytes(max)?).map_err(|_| DecodeError::OutOfRange)
}

impl Encode for ModelName {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.0.as_bytes());
    }
}

impl Decode for ModelName {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(read_text(reader, Self::MAX_LEN)?).ok_or(DecodeError::OutOfRange)
    }
}

impl Encode for Line {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.0.as_bytes());
    }
}

impl Decode for Line {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(read_text(reader, Self::MAX_LEN)?).ok_or(DecodeError::OutOfRange)
    }
}

impl Encode for ModelCard {
    fn encode(&self, writer: &mut Writer) {
        self.name.encode(writer);
        self.description.encode(writer);
        self.graph_hash.encode(writer);
        writer.raw(&self.module_hash);
        self.class.encode(writer);
        self.input.encode(writer);
        self.output.encode(writer);
        writer.u64(self.fuel);
    }
}

impl Decode for ModelCard {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: ModelName::decode(reader)?,
            description: Line::decode(reader)?,
            graph_hash: GraphHash::decode(reader)?,
            module_hash: reader.array()?,
            class: AnswerClass::decode(reader)?,
            input: InputSchema::decode(reader)?,
            output: OutputSchema::decode(reader)?,
            fuel: reader.u64()?,
        })
    }
}

impl Encode for InputSchema {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.elements);
        writer.u8(match self.encoding {
            Encoding::Scaled => 0,
            Encoding::Ordered => 1,
        });
        writer.list(&self.missing);
        writer.list(&self.scale);
        writer.list(&self.zero);
        signed(self.lo, writer);
        signed(self.hi, writer);
    }
}

impl Decode for InputSchema {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let schema = Self {
            elements: reader.u32()?,
            encoding: match reader.u8()? {
                0 => Encoding::Scaled,
                1 => Encoding::Ordered,
                _ => return Err(DecodeError::OutOfRange),
            },
            missing: reader.list(Self::MAX_EACH)?,
            scale: reader.list(Self::MAX_EACH)?,
            zero: reader.list(Self::MAX_EACH)?,
            lo: read_signed(reader)?,
            hi: read_signed(reader)?,
        };
        checked(schema.in_form(), schema)
    }
}

impl Encode for OutputSchema {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.elements);
        self.scale.encode(writer);
        writer.list(&self.labels);
    }
}

impl Decode for OutputSchema {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let schema = Self {
            elements: reader.u32()?,
            scale: Finite::decode(reader)?,
            labels: reader.list(Self::MAX_LABELS)?,
        };
        checked(schema.in_form(), schema)
    }
}

impl Encode for Finite {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.0);
    }
}

impl Decode for Finite {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(f32::from_bits(reader.u32()?)).ok_or(DecodeError::OutOfRange)
    }
}

fn checked<T>(in_form: bool, value: T) -> Result<T, DecodeError> {
    if in_form {
        Ok(value)
    } else {
        Err(DecodeError::OutOfRange)
    }
}

const CONTEXT: &str = "subrosa 2026-11 service descriptor";
