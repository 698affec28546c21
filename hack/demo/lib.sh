# Sourced by the scripts of the demonstration: the cluster, its tools, and the two neighbours.
# shellcheck shell=bash disable=SC2034
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

NEIGHBOURS=churn-neighbours
PYTHON_BIN=$CACHE/venv/bin/python
export PYTHONPATH=$REPO/operator:$REPO

# Does nothing that is done already.
bring_up() {
  "$REPO/hack/cluster/cluster" up >/dev/null
  "$REPO/hack/images/build"
  use_cluster
}

kubectl() { "$KUBECTL" "$@"; }

# The address of a Service on this machine, which is the node.
address() { # namespace, service
  kubectl -n "$1" get service "$2" -o jsonpath='http://{.spec.clusterIP}:{.spec.ports[0].port}'
}
