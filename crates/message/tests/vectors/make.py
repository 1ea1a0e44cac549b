"""Makes the feeds of docs/spec/message.md, 10, without a line of the implementation.

Needs the package `cryptography`. Run in this folder: python3 make.py
"""

import struct
import textwrap

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
