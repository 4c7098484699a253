"""Under which key an answer is kept. Everything that separates people or versions is in the partition, outside of any
likeness; nothing of a question can be read from a key."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from server.chat.cache.asked import Asked
from server.settings import Secret

_LENGTH = 32  # hex digits: 128 bits


@dataclass(frozen=True, slots=True)
class Scope:
    """Who shares an answer: all who agree in every one of these.

    There is no outlet: a question that an outlet's name would change is not looked at, and what an answer may have seen
    besides documents and catalogue vetoes it (server/chat/cache/witness.py).
    """

    tenant: str
    role: str
    language: str
    assistant: str
    model: str
    prompt: str
    arm: str
    knowledge: str
    catalogue: str


@dataclass(frozen=True, slots=True)
class Key:
    """Keys of one question in Redis; all of a partition live in one slot of a cluster."""

    partition: str
    question: str

    @property
    def entry(self) -> str:
        return f"tria:cache:{{{self.partition}}}:a:{self.question}"

    @property
    def lock(self) -> str:
        return f"tria:cache:{{{self.partition}}}:l:{self.question}"

    def sibling(self, question: str) -> Key:
        """The key of another question of the partition."""
        return Key(self.partition, question)


class Keys:
    """Makes keys with HMAC-SHA-256: without the secret nobody can try questions against a copy of Redis."""

    def __init__(self, secret: Secret) -> None:
        self._secret = hmac.digest(secret.reveal().encode(), b"tria answer cache v1", hashlib.sha256)

    def of(self, scope: Scope, asked: Asked) -> Key:
        partition = self._digest(
            "partition",
            scope.tenant,
            scope.role,
            scope.language,
            scope.assistant,
            scope.model,
            scope.prompt,
            scope.arm,
            scope.knowledge,
            scope.catalogue,
        )
        return Key(partition, self._digest("question", partition, asked.text))

    def likes(self, partition: str, signature: str) -> str:
        """The key of the questions of a partition that ask about the same things."""
        return f"tria:cache:{{{partition}}}:s:{self._digest('signature', partition, signature)}"

    def tenant(self, tenant: str) -> str:
        """What stands for a tenant in the names of counters."""
        return self._digest("tenant", tenant)[:16]

    def _digest(self, *parts: str) -> str:
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        content = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return hmac.digest(self._secret, content, hashlib.sha256).hex()[:_LENGTH]
