"""All of the field's protocols, to be found by name."""

from typing import Final

from hdrvideo.errors import ProtocolError
from hdrvideo.validate import dexycb, followups, hdr_protocol, ho3d, interhand, tzionas
from hdrvideo.validate.field import Protocol

FIELD_PROTOCOLS: Final[tuple[Protocol, ...]] = (
    *interhand.PROTOCOLS,
    *hdr_protocol.PROTOCOLS,
    *followups.PROTOCOLS,
    *ho3d.PROTOCOLS,
    *dexycb.PROTOCOLS,
    *tzionas.PROTOCOLS,
)


def protocol_named(name: str) -> Protocol:
    """Give a protocol by its whole name, or by the name before the bracket.

    For another split or subset take :meth:`hdrvideo.validate.field.Protocol.on` of it.

    Raises:
        ProtocolError: There is none of that name.
    """
    for protocol in FIELD_PROTOCOLS:
        if name in (protocol.name, protocol.name.partition("[")[0]):
            return protocol
    raise ProtocolError(
        f"no protocol is named {name!r}; see FIELD_PROTOCOLS, and Protocol.on for other splits"
    )
