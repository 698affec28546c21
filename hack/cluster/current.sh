# CLUSTER=current: whatever the current kubectl context leads to, and only when asked for by that word.
# shellcheck shell=bash disable=SC2034,SC2153 # some are read, and some set, by the scripts beside this one

export KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config}
KUBECTL=$(command -v kubectl || echo "$BIN/kubectl")
HELM_BIN=$(command -v helm || echo "$BIN/helm")

need_commands_for_tools() { need_commands openssl jq gcc; }
print_more() { :; }
is_up() { answers; }

up() {
  need_tools
  "$REPO/hack/doctor" >&2
  echo "$KUBECONFIG"
}

down() { die "CLUSTER=current is a cluster that was not made here, and is not taken down from here"; }

# hack/images/build pushes to IMAGES, where there is a registry.
load() { say "CLUSTER=current with IMAGES=$IMAGES: the cluster must have the images already, $* and versitygw"; }
