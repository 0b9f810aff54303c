"""Reads the keys of SentencePiece's precompiled charsmap (a darts-clone double array before its replacement texts)."""

import struct

from sentencepiece import sentencepiece_model_pb2


def charsmap_of(spiece_model):
    proto = sentencepiece_model_pb2.ModelProto()
    with open(spiece_model, "rb") as f:
        proto.ParseFromString(f.read())
    return proto.normalizer_spec.precompiled_charsmap


def keys(blob):
    """All keys as bytes, in byte order."""
    size = struct.unpack("<I", blob[:4])[0]
    units, out, stack = struct.unpack(f"<{size // 4}I", blob[4:4 + size]), [], [(0, b"")]
    while stack:
        at, prefix = stack.pop()
        unit = units[at]
        base = at ^ ((unit >> 10) << ((unit & 0x200) >> 6))
        if unit & 0x100:
            out.append(prefix)
        for byte in range(1, 256):
            child = base ^ byte
            if child < len(units) and units[child] & 0x800000FF == byte:
                stack.append((child, prefix + bytes([byte])))
    return sorted(out)
