"""Everything between resources and bytes: reading what is stored, writing it, and strictness about unknown fields."""

from calico.model.decoding import Decoded, decode
from calico.model.encoding import encode, merge_unknown
from calico.model.schema import unknown_fields

__all__ = ["Decoded", "decode", "encode", "merge_unknown", "unknown_fields"]
