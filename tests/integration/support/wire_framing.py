"""How frames become bytes: LZ4 and Snappy bodies of v3 and v4, segments of v5. Encoded here on its own, and able to do it wrong."""

import struct
import zlib

import lz4.block
import snappy

MAX_PAYLOAD = 131071
FLAG_COMPRESSED = 0x01


class Corrupt(Exception):
    """What came does not add up: a checksum, or a length."""


# ---- bodies of v3 and v4


def deflate(compression, body):
    if compression == "lz4":
        return struct.pack(">I", len(body)) + lz4.block.compress(body, store_size=False)
    return snappy.compress(body)


def inflate(compression, body):
    if compression == "snappy":
        try:
            return bytes(snappy.decompress(body))
        except snappy.UncompressError as error:
            raise Corrupt(f"no Snappy: {error}") from None
    (announced,) = struct.unpack(">I", body[:4])
    if announced > 255 * len(body):
        raise Corrupt(f"{len(body)} bytes of LZ4 announce {announced}")
    return lz4_block(body[4:], announced)


def lz4_block(packed, announced):
    try:
        data = lz4.block.decompress(packed, uncompressed_size=announced) if announced else b""
    except lz4.block.LZ4BlockError as error:
        raise Corrupt(f"no LZ4: {error}") from None
    if len(data) != announced:
        raise Corrupt(f"LZ4 announces {announced} bytes and holds {len(data)}")
    return data


# ---- segments of v5


def crc24(data):
    crc = 0x875060
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1974F0B
    return crc


def crc32(data):
    return zlib.crc32(data, zlib.crc32(b"\xfa\x2d\x55\xca"))


def segment(payload, *, is_self_contained=True, compression=None, spoil_header=0, spoil_payload=0, uncompressed=None):
    """One segment. spoil_… is xored into the checksum; uncompressed overrides the length announced (0: sent as it is)."""
    if compression is None:
        header = (len(payload) | is_self_contained << 17).to_bytes(3, "little")
    else:
        packed = lz4.block.compress(payload, store_size=False)
        if uncompressed is None:
            uncompressed = len(payload) if len(packed) < len(payload) else 0
        payload = packed if uncompressed else payload
        header = (len(payload) | uncompressed << 17 | is_self_contained << 34).to_bytes(5, "little")
    checksum = (crc24(header) ^ spoil_header).to_bytes(3, "little")
    return header + checksum + payload + (crc32(payload) ^ spoil_payload).to_bytes(4, "little")


def segments(frame, compression=None, limit=MAX_PAYLOAD):
    """One frame: in a segment of its own, or split into as many as it takes."""
    if len(frame) <= limit:
        return segment(frame, compression=compression)
    pieces = [frame[at : at + limit] for at in range(0, len(frame), limit)]
    return b"".join(segment(piece, is_self_contained=False, compression=compression) for piece in pieces)


def take_segment(buffer, compression=None):
    """(bytes used, payload, whether self-contained) of the segment that begins the buffer; None while it is not all there."""
    size = 5 if compression else 3
    if len(buffer) < size + 3:
        return None
    if crc24(buffer[:size]) != int.from_bytes(buffer[size : size + 3], "little"):
        raise Corrupt("the CRC24 of a header does not fit")
    header = int.from_bytes(buffer[:size], "little")
    length, uncompressed = header & MAX_PAYLOAD, header >> 17 & MAX_PAYLOAD if compression else 0
    end = size + 3 + length
    if len(buffer) < end + 4:
        return None
    payload = bytes(buffer[size + 3 : end])
    if crc32(payload) != int.from_bytes(buffer[end : end + 4], "little"):
        raise Corrupt("the CRC32 of a payload does not fit")
    if uncompressed:
        payload = lz4_block(payload, uncompressed)
    return end + 4, payload, bool(header >> (34 if compression else 17) & 1)
