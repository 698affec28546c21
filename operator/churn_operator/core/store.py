"""What is known of the cluster without asking: what the watches showed, and what our own writes were answered.

An object is kept as the JSON it came in, which takes a tenth of the memory that its dictionaries would, and without the
managedFields of others. Of two states of an object the one with the higher resourceVersion counts, so that a watch that
is behind never hides what this process wrote. A watch can miss a deletion while it is cut off: everything is listed
anew from time to time, and what is not there any more is forgotten. What a watch shows as deleted may only have lost
the label that it is watched by: what is said of it after that counts again.

What is news is told to all who listen, whoever tells it; the echo of an own write, which a watch shows later, is none.

A read of a state that has passed is no danger: a write names the resourceVersion it was decided on (see core/lease.py),
and one that is refused has the object read from the API server.
"""

import json
import math
from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from churn_operator.core.objects import MANAGER, Object, Page, name_of, uid_of

INDEXED = frozenset(
    {
        "churnops.dev/model",
        "churnops.dev/monitor",
        "churnops.dev/run",
        "batch.kubernetes.io/job-name",
        "spec.modelRef.name",
    }
)
"""Labels and fields by which something is looked for that few objects have."""
GRAVES = 10_000
"""UIDs of deleted objects that are remembered, lest the late answer to a write bring one back."""
FOR_GOOD = math.inf
"""The version up to which nothing is believed of what the API server said is gone."""

Place = tuple[str, str]
"""Kind and namespace."""


class Kept(NamedTuple):
    """One object."""

    version: int
    uid: str
    text: str
    tags: tuple[tuple[str, str], ...]


class News(Protocol):
    """What is called with each state that was not known."""

    def __call__(self, obj: Object, *, gone: bool, first: bool) -> None:
        """`first`: the first listing is not over, and it may have been like this for long."""


class Store:
    """Objects of the kinds that are watched."""

    news: Sequence[News] = ()

    def __init__(self, clock: Callable[[], float]) -> None:
        self.filled: set[str] = set()
        """Kinds of which every object is known."""
        self._clock = clock
        self._objects: dict[Place, dict[str, Kept]] = defaultdict(dict)
        self._tagged: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
        self._owed: dict[tuple[str, str, str], tuple[int, float]] = {}
        self._graves: dict[str, float] = {}
        """By UID: the version at which it went."""

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        kept = self._objects.get((kind, namespace), {}).get(name)
        return None if kept is None else _parse(kept)

    def list(self, kind: str, namespace: str, *, labels: str = "", fields: str = "") -> tuple[Object, ...]:
        """The objects that the selectors (equalities only) match, by name."""
        wanted = dict(pair.split("=", 1) for pair in f"{labels},{fields}".split(",") if pair)
        here = self._objects.get((kind, namespace), {})
        names: Iterable[str] = here
        for tag in INDEXED & wanted.keys():
            names = self._tagged.get((kind, namespace, tag, wanted.pop(tag)), set()) & set(names)
        found = (_parse(here[name]) for name in sorted(names))
        return tuple(obj for obj in found if wanted.items() <= obj["metadata"].get("labels", {}).items())

    def see(self, obj: Object, *, gone: bool = False) -> None:
        """A watch showed it."""
        owed = self._owed.get(_key(obj))
        if owed is not None and _version(obj) >= owed[0]:
            del self._owed[_key(obj)]
        if gone:
            self._bury(obj, _version(obj))
        elif self._keep(obj):
            self._tell(obj)

    def learn(self, obj: Object) -> None:
        """The API server said it in another way; the watch has to show it, too."""
        if self._keep(obj):
            self._owed[_key(obj)] = (_version(obj), self._clock())
            self._tell(obj)

    def drop(self, obj: Object) -> None:
        """The API server said that it is not there any more."""
        self._bury(obj, FOR_GOOD)

    async def fill(self, kind: str, pages: AsyncIterable[Page]) -> None:
        """Everything there is of a kind. What is not there any more is forgotten as it was when it was listed."""
        there: set[tuple[str, str, str]] = set()
        listed: dict[str, int] = {}
        async for page in pages:
            listed[page.namespace] = min(page.version, listed.get(page.namespace, page.version))
            for obj in page.items:
                self.learn(obj)
                there.add(_key(obj))
        for key in list(self._keys(kind)):
            kept = self._objects[key[:2]][key[2]]
            if key not in there and kept.version <= listed.get(key[1], listed.get("", 0)):
                self._remove(*key)
                self._tell(_parse(kept), gone=True)
        self.filled.add(kind)

    def count(self, kind: str) -> int:
        return sum(len(objects) for place, objects in self._objects.items() if place[0] == kind)

    def lag(self) -> float:
        """Seconds for which a watch has not shown what is known in another way."""
        since = min((since for _, since in self._owed.values()), default=None)
        return 0.0 if since is None else self._clock() - since

    def _bury(self, obj: Object, version: float) -> None:
        """Forget it as it was up to this version."""
        self._graves[uid_of(obj)] = max(version, self._graves.get(uid_of(obj), version))
        if len(self._graves) > GRAVES:
            del self._graves[next(iter(self._graves))]
        kept = self._objects.get(_place(obj), {}).get(name_of(obj))
        if kept is not None and kept.uid == uid_of(obj) and kept.version <= version:
            self._remove(*_key(obj))
            self._tell(obj, gone=True)

    def _tell(self, obj: Object, *, gone: bool = False) -> None:
        for news in self.news:
            news(obj, gone=gone, first=obj["kind"] not in self.filled)

    def _keys(self, kind: str) -> Iterator[tuple[str, str, str]]:
        for place, objects in self._objects.items():
            if place[0] == kind:
                yield from ((*place, name) for name in objects)

    def _keep(self, obj: Object) -> bool:
        """True where it was news."""
        key = _key(obj)
        kept = self._objects.get(_place(obj), {}).get(key[2])
        known = max(self._graves.get(uid_of(obj), 0), 0 if kept is None else kept.version)
        if known >= _version(obj):
            return False
        if kept is not None:
            self._remove(*key, settled=False)
        tags = tuple(_tags(obj))
        self._objects[_place(obj)][key[2]] = Kept(_version(obj), uid_of(obj), _text(obj), tags)
        for tag in tags:
            self._tagged[(*_place(obj), *tag)].add(key[2])
        return True

    def _remove(self, kind: str, namespace: str, name: str, *, settled: bool = True) -> None:
        kept = self._objects[kind, namespace].pop(name)
        for tag in kept.tags:
            names = self._tagged[kind, namespace, *tag]
            names.discard(name)
            if not names:
                del self._tagged[kind, namespace, *tag]
        if settled:
            self._owed.pop((kind, namespace, name), None)


def _place(obj: Object) -> Place:
    return str(obj["kind"]), str(obj["metadata"]["namespace"])


def _key(obj: Object) -> tuple[str, str, str]:
    return (*_place(obj), name_of(obj))


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _tags(obj: Object) -> Iterator[tuple[str, str]]:
    for label, value in obj["metadata"].get("labels", {}).items():
        if label in INDEXED:
            yield label, value
    model = obj.get("spec", {}).get("modelRef", {}).get("name")
    if model:
        yield "spec.modelRef.name", model


def _text(obj: Object) -> str:
    ours = [entry for entry in obj["metadata"].get("managedFields", ()) if entry["manager"] == MANAGER]
    metadata: Mapping[str, Any] = dict(obj["metadata"]) | {"managedFields": ours}
    return json.dumps(dict(obj) | {"metadata": metadata}, separators=(",", ":"))


def _parse(kept: Kept) -> Object:
    obj: Object = json.loads(kept.text)
    return obj
