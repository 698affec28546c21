# CLUSTER=kind: a node in Docker, with kind's own DNS and volumes, and the same KServe as on the one of CLUSTER=own.
# shellcheck shell=bash disable=SC2034,SC2153 # some are read, and some set, by the scripts beside this one

STATE=$CACHE/kind
PKI=$STATE/pki
NODE_NAME=churn-operator-control-plane
SERVICE_RANGE=10.96.0.0/16
export KUBECONFIG=$STATE/kubeconfig

need_commands_for_tools() { need_commands docker openssl jq gcc; }
print_more() { :; }
is_up() { [[ -f $STATE/complete ]] && answers; }

kind_() {
  need_program kind sigs.k8s.io/kind "$KIND"
  "$PROGRAM" "$@" --name churn-operator
}

up() {
  [[ $(uname -sm) == "Linux x86_64" ]] || die "CLUSTER=kind runs programs that are built on this machine, which must be Linux on x86_64"
  need_tools
  if is_up; then
    say "the cluster is up already"
  else
    down
    mkdir -p "$PKI"
    kind_ create cluster --kubeconfig "$KUBECONFIG" --wait 180s >&2
    for program in metrics-server traefik manager agent versitygw; do kind_ load image-archive "$TOOLS/images/$program.tar" >&2; done
    write_authority
    certificate kserve-webhook /CN=kserve-webhook DNS:kserve-webhook-server-service.kserve.svc
    install_metrics
    install_gateway
    install_kserve
    wait_until_ready
    touch "$STATE/complete"
    say "the cluster is up after $SECONDS s"
  fi
  reach_services || say "Services cannot be reached from this machine: the demonstration and the end-to-end tests need that (Linux, and root or sudo)"
  echo "$KUBECONFIG"
}

# The node leads to the addresses of Services, and its address changes with every start of Docker.
reach_services() {
  local node as_root=()
  ((EUID == 0)) || as_root=(sudo --non-interactive)
  node=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$NODE_NAME")
  "${as_root[@]}" ip route replace "$SERVICE_RANGE" via "$node"
}

load() { # image…
  is_up || die "the cluster is down: run hack/cluster/cluster up"
  kind_ load docker-image "$@" >&2
}

down() {
  [[ -d $STATE ]] || return 0
  kind_ delete cluster --kubeconfig "$KUBECONFIG" >&2
  rm -rf "$STATE"
}
