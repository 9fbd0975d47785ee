"""A ciphertext of AES-256-GCM that opens under two keys.

GCM's tag is linear in the ciphertext, so one block can be chosen that makes the tags under two known
keys equal (Dodis, Grubbs, Ristenpart, Woodage: Fast Message Franking, CRYPTO 2018).
"""

from __future__ import annotations

from Crypto.Cipher import AES

_REDUCTION = 0xE1 << 120
_ONE = 1 << 127  # GCM counts bits of a block from the left
_FIRST_COUNTER = bytes(15) + b"\x01"  # of the zero nonce


def multiply(left: int, right: int) -> int:
    """Multiply in GF(2^128) by NIST SP 800-38D, section 6.3."""
    product = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (_REDUCTION if right & 1 else 0)
    return product


def invert(element: int) -> int:
    """Return the inverse, the element to the power of 2^128 - 2."""
    inverse = _ONE
    for _ in range(127):
        element = multiply(element, element)
        inverse = multiply(inverse, element)
    return inverse


def opens_under_both(keys: tuple[bytes, bytes], associated: bytes, first: bytes) -> bytes:
    """Return ciphertext and tag that open under both keys with the zero nonce.

    Args:
        keys: two keys of 32 bytes.
        associated: associated data.
        first: an arbitrary first block; the second block makes the tags agree.
    """
    lengths = (8 * len(associated)).to_bytes(8) + (8 * 32).to_bytes(8)
    without = _tag(keys[0], associated, first, bytes(16), lengths) ^ _tag(
        keys[1], associated, first, bytes(16), lengths
    )
    # The last block enters the tag times the square of the hash key.
    squares = [multiply(_hash_key(key), _hash_key(key)) for key in keys]
    second = multiply(without, invert(squares[0] ^ squares[1])).to_bytes(16)
    return first + second + _tag(keys[0], associated, first, second, lengths).to_bytes(16)


def _hash_key(key: bytes) -> int:
    return int.from_bytes(AES.new(key, AES.MODE_ECB).encrypt(bytes(16)))


def _tag(key: bytes, associated: bytes, *blocks: bytes) -> int:
    padded = associated + bytes(-len(associated) % 16) + b"".join(blocks)
    hashed = 0
    for at in range(0, len(padded), 16):
        hashed = multiply(hashed ^ int.from_bytes(padded[at : at + 16]), _hash_key(key))
    return hashed ^ int.from_bytes(AES.new(key, AES.MODE_ECB).encrypt(_FIRST_COUNTER))
