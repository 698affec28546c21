"""What happened, as a chain in which no entry can be changed, removed or moved unseen. Pure.

An entry's hash is `digest_of({"previous": …, "fact": …})`: of the hash before it, and of the entry without its own.
Before the first stands the digest of whose chain it is. Who can rewrite a file can rewrite its chain: what makes it
proof is that each report, or its head alone, lies where nobody writes twice.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from pydantic import ConfigDict, ValidationError

from churn_operator.api.base import Digest, Model, Time
from churn_operator.api.digest import digest_of
from churn_operator.cli.failure import Code, Failure
from churn_operator.cli.summary import first_error


class What(StrEnum):
    """What can happen, in the status' own words; of one second, in this order."""

    Requested = "Requested"
    AwaitingApproval = "AwaitingApproval"
    Approved = "Approved"
    Accepted = "Accepted"
    Rejected = "Rejected"
    Failed = "Failed"
    Expired = "Expired"
    Superseded = "Superseded"
    Ordered = "Ordered"
    Done = "Done"
    Declined = "Declined"
    RollingOut = "RollingOut"
    RolledBack = "RolledBack"
    Retired = "Retired"
    Quarantined = "Quarantined"
    Champion = "Champion"


class _Exact(Model):
    """What is added to it would be in no hash."""

    model_config = ConfigDict(extra="forbid")


class Digests(_Exact):
    """Of what it was about, as far as it is known."""

    model: Digest | None = None
    data: Digest | None = None
    evidence: Digest | None = None


class Fact(_Exact):
    """One thing that happened."""

    at: Time
    what: What
    subject: str
    """A run, a version or what was ordered."""
    by: str | None = None
    """Who, where it was a person."""
    message: str | None = None
    digests: Digests = Digests()

    def __str__(self) -> str:
        return f"{self.what} {self.subject} at {self.at}"

    @property
    def identity(self) -> tuple[str, ...]:
        return self.what, self.subject, self.at

    def denied_by(self, now: "Fact") -> str:
        """What of it is told otherwise now. What is told no more is forgotten, and denies nothing."""
        was = self.told()
        other = ((field, value) for field, value in now.told().items() if was.get(field) != value)
        return "; ".join(f"{field} was {was.get(field, 'absent')!r} and is {value!r}" for field, value in other)

    def told(self) -> dict[str, str]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"digests"}) | self.digests.to_dict()

    def follows(self, previous: str) -> str:
        """The hash of its entry."""
        fact = self.model_dump(mode="json", exclude_none=True, exclude={"hash"})
        return digest_of({"previous": previous, "fact": fact})


class Entry(Fact):
    """A fact in its place."""

    hash: Digest


class Chain(Model):
    """All that ever was told of one model, the oldest telling first."""

    name: str
    namespace: str
    uid: str
    entries: tuple[Entry, ...]
    head: Digest
    """The last entry's hash."""

    @property
    def whose(self) -> dict[str, str]:
        return {"name": self.name, "namespace": self.namespace, "uid": self.uid}


def begun(name: str, namespace: str, uid: str) -> Chain:
    whose = {"name": name, "namespace": namespace, "uid": uid}
    return Chain(**whose, entries=(), head=digest_of(whose))


def grown(chain: Chain, facts: Iterable[Fact]) -> Chain:
    """With what it does not hold yet at its end, whenever that happened: what was told stays where it stands."""
    known = {entry.identity for entry in chain.entries}
    new = tuple(_linked(chain.head, (fact for fact in facts if fact.identity not in known)))
    entries = (*chain.entries, *new)
    return chain.model_copy(update={"entries": entries, "head": entries[-1].hash if entries else chain.head})


def _linked(previous: str, facts: Iterable[Fact]) -> Iterator[Entry]:
    for fact in facts:
        previous = fact.follows(previous)
        yield Entry(**dict(fact), hash=previous)


def read(text: bytes, source: str, expected: Chain) -> Chain:
    """An earlier report's chain.

    Raises:
        Failure: it is none, or another model's, or not as it was written.
    """
    try:
        chain = Chain.model_validate_json(text)
    except ValidationError as error:
        why = ": ".join(part for part in first_error(error) if part)
        raise Failure(f"{source} is no report that this kubectl-churn knows: {why}.", Code.Usage) from error
    if chain.whose != expected.whose:
        theirs = f"ChurnModel {chain.namespace}/{chain.name} (uid {chain.uid})"
        mine = f"{expected.namespace}/{expected.name} (uid {expected.uid})"
        raise Failure(f"{source} reports on {theirs}, and not on {mine}.", Code.Usage)
    if (broken := _broken(chain)) is not None:
        raise Failure(f"{source} is not as it was written: {broken}.")
    return chain


def _broken(chain: Chain) -> str | None:
    previous = digest_of(chain.whose)
    for number, entry in enumerate(chain.entries, 1):
        if entry.hash != entry.follows(previous):
            what = "it was changed or moved, or what stood before it was changed, moved or removed"
            return f"entry {number}, {entry}, does not follow from the one before it: {what}"
        previous = entry.hash
    if chain.head != previous:
        return "its head is not the hash of its last entry: what stood after that is missing, or the head was changed"
    return None
