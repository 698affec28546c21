"""All neighbours in one: what a kind may read (`Cluster`) and what the loop may write (`Writer`)."""

from churn_operator.core.client import ApiClient
from churn_operator.core.prober import Prober
from churn_operator.core.tracking import Tracking


class Neighbours:
    """The API server, MLflow and the servers, each through its own client."""

    def __init__(self, api: ApiClient, tracking: Tracking, prober: Prober) -> None:
        self.get = api.get
        self.list = api.list
        self.create = api.create
        self.apply = api.apply
        self.delete = api.delete
        self.apply_status = api.apply_status
        self.event = api.event
        self.find_run = tracking.find_run
        self.alias = tracking.alias
        self.set_alias = tracking.set_alias
        self.predict = prober.predict
