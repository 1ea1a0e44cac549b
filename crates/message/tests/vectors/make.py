"""Makes the bytes of docs/spec/message.md, 2.2, 5, 6.3, 10 and 14, without a line of the implementation.

Needs the packages `blake3` and `cryptography`. Run in this folder: python3 make.py
"""

import base64
import struct
import textwrap

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CONTEXT = b"subrosa 2026-11 feed"


def unsigned(public, floor=1_789_999_999_999_999):
    tags = [bytes([0x11]) * 16, bytes([0x22]) * 16]
    surbs = [bytes([0x33]) * 396]
    return (
        public
        + struct.pack(">QQQI", 7, 1_790_000_000_000_000, floor, 12_500)
        + struct.pack(">I", len(tags))
        + b"".join(tags)
        + struct.pack(">I", len(surbs))
        + b"".join(surbs)
    )


def signed(key, gateway, body):
    message = bytes([len(CONTEXT)]) + CONTEXT + gateway + body
    return body + key.sign(message)


def write(name, data):
    with open(name + ".hex", "w") as out:
        out.write("\n".join(textwrap.wrap(data.hex(), 64)) + "\n")


key = Ed25519PrivateKey.from_private_bytes(bytes([0x5E]) * 32)
public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
gateway = bytes([0xA1]) * 32
good = signed(key, gateway, unsigned(public))
write("feed", good)
write("feed_bad_signature", good[:-1] + bytes([good[-1] ^ 1]))
write("feed_other_gateway", signed(key, bytes([0xA2]) * 32, unsigned(public)))
write("feed_bad_floor", signed(key, gateway, unsigned(public, floor=1_790_000_000_000_001)))

SECRET = bytes([0x77]) * 32


def keyed(*parts):
    return blake3(b"".join(parts), key=SECRET).digest()


def name(content):
    return keyed(b"reply", content)[:16]


def reply(name, number, kind, left, said):
    """6.3: what goes back over the reply block of this number."""
    prefix = name + struct.pack(">I", number)
    key = keyed(b"key", name)
    nonce = bytes(4) + struct.pack(">Q", number)
    body = bytes([kind]) + struct.pack(">H", left) + said
    return prefix + ChaCha20Poly1305(key).encrypt(nonce, body, prefix)


def acknowledgement(number, seen):
    said = struct.pack(">III", 3, 2, len(seen)) + seen
    return reply(name(struct.pack(">I", number) + said), number, 0, 3, said)


# 5.4: the message's name, the tags of the first and the last packet, a reply's name and key.
answer = name(b"content")
write(
    "exchange",
    keyed(b"message")[:16]
    + keyed(b"tag", struct.pack(">I", 0))[:16]
    + keyed(b"tag", struct.pack(">I", 1023))[:16]
    + answer
    + keyed(b"key", answer),
)

# 6.3: packets 0, 1 and 11 came.
write("sack", acknowledgement(5, bytes([0b00000011, 0b00001000])))
write("sack_bad_last_byte", acknowledgement(5, bytes([0b00000011, 0b00001000, 0])))
write("sack_bad_length", acknowledgement(5, bytes([1]) * 129))
symbol = bytes(range(64))
write("symbol", reply(answer, 16_383, 1, 0, struct.pack(">I", 24_396) + symbol))
write("symbol_bad_number", reply(answer, 16_384, 1, 0, struct.pack(">I", 24_396) + symbol))
write("reply_bad_kind", reply(answer, 7, 2, 0, struct.pack(">I", 24_396) + symbol))


def fragment(index, end, surbs):
    """5.3, with a symbol of 64 bytes of a message of 200."""
    return (
        SECRET
        + struct.pack(">III", 200, index, end)
        + bytes([len(surbs)])
        + b"".join(surbs)
        + symbol
    )


surbs = [bytes([0x33]) * 396, bytes([0x44]) * 396]
write("fragment", fragment(2, 5, surbs))
write("fragment_bad_no_surbs", fragment(2, 5, []))

# 2.2: a question of three bytes, a letter.
question = bytes([0x55]) * 16 + bytes([0x66]) * 32 + bytes([16]) + struct.pack(">I", 3) + b"abc"
write("question", bytes([0]) + question)
write("question_bad_class", bytes([0]) + question.replace(bytes([0x66, 16]), bytes([0x66, 5])))
letter = "Grüße".encode()
write("letter", bytes([1]) + struct.pack(">I", len(letter)) + letter)
write("letter_bad_kind", bytes([3]) + struct.pack(">I", len(letter)) + letter)

contact = bytes(place * 7 % 256 for place in range(32))
contact += b"\xa1" * 6 + b"\x5e" * 6 + b"\x3c" * 16
contact += blake3(contact, derive_key_context="subrosa 2026-11 contact checksum").digest(4)
with open("contact.txt", "w") as out:
    out.write("sr1" + base64.b32encode(contact).decode().rstrip("=").lower() + "\n")
