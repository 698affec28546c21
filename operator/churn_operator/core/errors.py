"""What can stand in the way. An error's class says whether waiting helps."""


class KindMissing(Exception):
    """The API server does not serve a kind: its CRD is not installed."""


class Unavailable(Exception):
    """A neighbour does not answer; waiting helps."""


class TrackingUnavailable(Unavailable):
    """MLflow does not answer."""


class WriteRefused(Exception):
    """The API server understood a write and refused it; waiting alone does not help."""

    reason = "Refused"


class ChildConflict(WriteRefused):
    """An object of the wanted name exists and belongs to somebody else."""

    reason = "ChildConflict"
