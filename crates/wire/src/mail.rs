//! What a mailbox is for: questions to a model, letters to an agent, and asking an agent for its
//! key.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Decode, DecodeError, Encode, Reader, Request, RequestId, Writer};

/// Most bytes of one letter.
pub const MAX_LETTER_LEN: usize = 1 << 20;

/// One message to a mailbox, whole. Fragments of all kinds look alike; only who opens them all
/// learns which it was.
pub enum Mail {
    /// A question to a model.
    Request(Request),
    /// A letter to an agent.
    Letter(Letter),
    /// Asks an agent for its profile: the answer is a response to this id.
    Knock(RequestId),
}

/// What one agent writes to another: any bytes, at most [`MAX_LETTER_LEN`] of them.
///
/// `Debug` is not derived: a letter is nobody's business.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Letter {
    /// What it says.
    pub body: Vec<u8>,
}

impl Encode for Mail {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Request(request) => {
                writer.u8(0);
                request.encode(writer);
            }
            Self::Letter(letter) => {
                writer.u8(1);
                writer.bytes(&letter.body);
            }
            Self::Knock(id) => {
                writer.u8(2);
                id.encode(writer);
            }
        }
    }
}

impl Decode for Mail {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Request::decode(reader).map(Self::Request),
            1 => Ok(Self::Letter(Letter {
                body: reader.bytes(MAX_LETTER_LEN)?.to_vec(),
            })),
            2 => RequestId::decode(reader).map(Self::Knock),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(mail) = Mail::from_bytes(bytes) {
                assert_eq!(mail.to_bytes(), bytes);
            }
        });
    }

    #[test]
    fn a_letter_is_bounded_and_of_a_kind_of_its_own() {
        let letter = |length| {
            let body = vec![7; length];
            Mail::Letter(Letter { body }).to_bytes()
        };
        assert!(matches!(
            Mail::from_bytes(&letter(MAX_LETTER_LEN)),
            Ok(Mail::Letter(_))
        ));
        let refused = Mail::from_bytes(&letter(MAX_LETTER_LEN + 1)).err();
        assert_eq!(refused, Some(DecodeError::TooLong));
        let mut unknown = letter(1);
        unknown[0] = 3;
        let refused = Mail::from_bytes(&unknown).err();
        assert_eq!(refused, Some(DecodeError::UnknownTag));
    }
}
