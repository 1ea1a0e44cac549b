"""Makes the bytes of docs/spec/message.md, 2.2, 3, 5, 6, 10 and 14, without a line of the implementation.

Needs the packages `blake3` and `cryptography` (50 or later). Run in this folder: python3 make.py
"""

import base64
import hashlib
import hmac
import os
import struct
import textwrap

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
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


def in_context(context, message):
    """docs/spec/directory.md, 2: what is signed."""
    return bytes([len(context)]) + context + message


def signed(key, gateway, body):
    return body + key.sign(in_context(CONTEXT, gateway + body))


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

# 14: an agent of this seed, in a network of five gateways, which enters by the third.
SEED = bytes([0x5E]) * 32
LISTED = [bytes([number]) * 32 for number in range(1, 6)]
ENTRY = LISTED[2]
KNOCK = bytes([0x44]) * 16


def derived(context, *parts):
    return blake3(b"".join(parts), derive_key_context=context).digest()


def of_seed(context):
    """What an agent derives from its key's seed, and number 0."""
    return derived(context, SEED, bytes(8))


def line(content):
    """14.2: a contact as it is passed on."""
    content += derived("subrosa 2026-11 contact checksum", content)[:4]
    return "sr1" + base64.b32encode(content).decode().rstrip("=").lower() + "\n"


LABEL = bytes.fromhex("5c2e2f2f5e5c")


class XWing:
    """The key pair of a seed (the KEM that section 3 names)."""

    def __init__(self, seed):
        expanded = hashlib.shake_256(seed).digest(96)
        self.lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.point = self.curve.public_key().public_bytes_raw()
        self.public = self.lattice.public_key().public_bytes_raw() + self.point

    def combined(self, lattice, curve, sent):
        return hashlib.sha3_256(lattice + curve + sent + self.point + LABEL).digest()

    def encapsulate(self):
        secret, ciphertext = self.lattice.public_key().encapsulate()
        own = X25519PrivateKey.generate()
        sent = own.public_key().public_bytes_raw()
        shared = self.combined(secret, own.exchange(self.curve.public_key()), sent)
        return shared, ciphertext + sent

    def decapsulate(self, encapsulated):
        ciphertext, sent = encapsulated[:1088], encapsulated[1088:]
        point = X25519PublicKey.from_public_bytes(sent)
        return self.combined(self.lattice.decapsulate(ciphertext), self.curve.exchange(point), sent)


SUITE = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0003)


def extract(salt, label, content):
    return hmac.digest(salt, b"HPKE-v1" + SUITE + label + content, "sha256")


def expand(secret, label, context, length):
    """RFC 9180, 4; no more than one block is ever wanted."""
    info = struct.pack(">H", length) + b"HPKE-v1" + SUITE + label + context
    return hmac.digest(secret, info + bytes([1]), "sha256")[:length]


def packet_key(shared):
    """RFC 9180, 5.1, mode base: the cipher of the one message, and its nonce."""
    context = bytes([0]) + extract(b"", b"psk_id_hash", b"")
    context += extract(b"", b"info_hash", b"subrosa mail packet 2")
    secret = extract(shared, b"secret", b"")
    cipher = ChaCha20Poly1305(expand(secret, b"key", context, 32))
    return cipher, expand(secret, b"base_nonce", context, 12)


def seal(key, mailbox, content):
    shared, encapsulated = key.encapsulate()
    cipher, nonce = packet_key(shared)
    return encapsulated + cipher.encrypt(nonce, content, mailbox)


def opened(key, mailbox, sealed):
    cipher, nonce = packet_key(key.decapsulate(sealed[:1120]))
    return cipher.decrypt(nonce, sealed[1120:], mailbox)


# 14.2: a contact of any bytes.
some = bytes(place * 7 % 256 for place in range(32)) + b"\xa1" * 6 + b"\x5e" * 6 + b"\x3c" * 16
with open("contact.txt", "w") as out:
    out.write(line(some))

# 14.1, 14.2 and 10.3: the agent's contact, and the gateways that keep its mailbox.
mailbox = derived("subrosa 2026-11 mailbox address", public)
word = of_seed("subrosa 2026-11 contact word")[:16]
place = of_seed("subrosa 2026-11 mailbox gateways")
others = [listed for listed in LISTED if listed != ENTRY]
keepers = sorted(others, key=lambda listed: blake3(listed, key=place).digest())[:2]
with open("contact_agent.txt", "w") as out:
    out.write(line(mailbox + keepers[0][:6] + keepers[1][:6] + word))

# 2.2: a knock.
knock = bytes([2]) + KNOCK
write("knock", knock)
write("knock_bad_length", knock[:-1])
write("knock_bad_rest", knock + bytes(1))

# 14.3: the knock sealed to the door, in a packet of one reply block. Sealing draws at random, so
# that the bytes are made anew only if they do not open.
door = XWing(derived("subrosa 2026-11 door", mailbox, word))
body = SECRET + struct.pack(">III", len(knock), 0, 1) + bytes([1]) + bytes([0x33]) * 396
body += knock.ljust(6_486, bytes(1))
if os.path.exists("knock_sealed.hex"):
    with open("knock_sealed.hex") as kept:
        sealed = bytes.fromhex(kept.read())
else:
    sealed = seal(door, mailbox, body)
assert opened(door, mailbox, sealed) == body
write("knock_sealed", sealed)


def profile(gateways, knock=KNOCK):
    """14.3: what the agent says of itself to this knock."""
    sealing = XWing(of_seed("subrosa 2026-11 agent sealing")).public
    said = sealing + bytes([len(gateways)]) + b"".join(gateways)
    return public + said + key.sign(in_context(b"subrosa 2026-11 profile", knock + said))


good = profile(keepers)
write("profile", good)
write("profile_bad_signature", good[:-1] + bytes([good[-1] ^ 1]))
write("profile_bad_no_gateway", profile([]))
write("profile_bad_three_gateways", profile(others[:3]))
write("profile_other_knock", profile(keepers, bytes([0x45]) * 16))

# 6.2: an answer, and the failure `BadInput`; the model ran 3 ms, 250 ms passed.
response = KNOCK + struct.pack(">II", 3_000, 250_000)
write("response", response + bytes([0]) + struct.pack(">I", 3) + b"abc")
write("response_failed", response + bytes([2]))
write("response_bad_failure", response + bytes([8]))
