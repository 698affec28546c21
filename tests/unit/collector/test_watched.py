"""The object store as a loop sees it: there is progress in all that takes many answers."""

from pathlib import Path

from churn_operator.collector.watched import WatchedStore
from churn_operator.storage.files import AT_ONCE, LocalStore, join


def test_of_a_long_listing_each_part_is_progress(tmp_path: Path) -> None:
    marks: list[str] = []
    store = WatchedStore(LocalStore(), lambda: marks.append("loop"))
    for number in range(5):
        LocalStore().write(join(str(tmp_path), f"{number}"), b"")
    assert len(store.list(str(tmp_path), lambda: marks.append("caller")).files) == 5
    assert marks == ["loop", "caller"] * 5 + ["loop"]


def test_of_a_long_deletion_each_part_is_progress(tmp_path: Path) -> None:
    marks: list[None] = []
    store = WatchedStore(LocalStore(), lambda: marks.append(None))
    uris = [join(str(tmp_path), f"{number}") for number in range(2 * AT_ONCE + 1)]
    LocalStore().write(uris[-1], b"")
    store.delete(uris)
    assert not LocalStore().exists(uris[-1])
    assert len(marks) == 3
    store.delete([])
    assert len(marks) == 3
