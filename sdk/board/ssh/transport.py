"""paramiko's transport, mended where it offends OpenSSH: nothing more is said of a channel once it is closed.

paramiko makes a message (data, the end of an input, a request) under the channel's lock and sends it after that lock is
free again. When the command ends at that moment, the answer to its close overtakes the message, and OpenSSH drops the
whole connection because of a message for a channel that is gone (``channel_from_packet_id`` in its ``channels.c``).
Sending under the channel's lock would be no cure: while keys are exchanged again, the thread that does it needs that
lock.

So the order is kept in the place where every message passes, one at a time, right before it is encrypted: a message of
a channel whose close has gone out is dropped there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

# RFC 4254, section 9: window adjust, data, extended data, end of file, close, request, success and failure; all of
# them begin with the number that the other side gave the channel.
_OF_A_CHANNEL = range(93, 101)
_CLOSE = 97
#: One kind of key, whose signatures are of several (RFC 8332).
_RSA_SIGNATURES = {"rsa-sha2-512": "ssh-rsa", "rsa-sha2-256": "ssh-rsa"}


def transport_class(known: Collection[str] = ()) -> type[paramiko.Transport]:
    """For ``SSHClient.connect(transport_factory=...)``; paramiko is imported only when somebody connects.

    ``known``: the kinds of keys ("ssh-ed25519") that the host is known by; they are asked for first.
    """
    import paramiko

    class OrderedTransport(paramiko.Transport):
        # AES-GCM first: what it sends needs no hash of its own, and to hash is half the work of a large push.
        _preferred_ciphers = tuple(
            sorted(paramiko.Transport._preferred_ciphers, key=lambda cipher: "-gcm@" not in cipher)  # noqa: SLF001
        )

        # A host has keys of several kinds; it must not be refused for showing one that nobody noted.
        _preferred_keys = tuple(
            sorted(
                paramiko.Transport._preferred_keys,  # noqa: SLF001
                key=lambda algorithm: _RSA_SIGNATURES.get(algorithm, algorithm) not in known,
            )
        )

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._closed_there: set[int] = set()
            self.keys_offered = 0
            super().__init__(*arguments, **options)

        def auth_publickey(self, username: str, key: paramiko.PKey, *rest: Any) -> list[str]:
            self.keys_offered += 1
            return super().auth_publickey(username, key, *rest)

        def _send_message(self, data: paramiko.Message) -> None:
            # For messages of channels the caller holds the lock that lets one of them through at a time.
            start = data.asbytes()[:5]
            if start[0] in _OF_A_CHANNEL:
                channel = int.from_bytes(start[1:], "big")
                if channel in self._closed_there:
                    return
                if start[0] == _CLOSE:
                    self._closed_there.add(channel)
            super()._send_message(data)

        def _parse_channel_open_success(self, message: paramiko.Message) -> None:
            message.get_int()  # our number of the channel
            # The other side gives a number again only after our close of its last bearer has arrived.
            self._closed_there.discard(message.get_int())
            message.rewind()
            super()._parse_channel_open_success(message)

    return OrderedTransport
