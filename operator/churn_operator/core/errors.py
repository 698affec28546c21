"""What can stand in the way. An error's class says whether waiting helps."""


class KindMissing(Exception):
    """The API server does not serve a kind: its CRD is not installed."""


class Unavailable(Exception):
    """A neighbour does not answer; waiting helps."""


class Outdated(Unavailable):
    """Somebody was faster: an object changed since it was read, or is there already. Look again, now."""


class Fenced(Unavailable):
    """This process may not write: another may lead by now."""


class NamespaceGoing(Unavailable):
    """The object's namespace is being deleted."""


class TrackingUnavailable(Unavailable):
    """MLflow does not answer."""


class WriteRefused(Exception):
    """The API server understood a write and refused it; waiting alone does not help."""

    reason = "Refused"


class ChildConflict(WriteRefused):
    """An object of the wanted name exists and belongs to somebody else."""

    reason = "ChildConflict"
