# CLUSTER=own: one node of this machine, from Go modules and Debian packages. No Docker, no image registry.
# shellcheck shell=bash disable=SC2154 # `here` is set by cluster
# shellcheck source=hack/cluster/control-plane.sh
source "$here/control-plane.sh"
# shellcheck source=hack/cluster/node.sh
source "$here/node.sh"
# shellcheck source=hack/cluster/load.sh
source "$here/load.sh"

STATE=$CACHE/cluster
RUN=/run/churn-operator # sockets: their paths must be short
NODE_NAME=churn-operator
export KUBECONFIG=$STATE/admin.kubeconfig

need_commands_for_tools() {
  need_packages etcd-server containerd runc containernetworking-plugins iptables conntrack iproute2 openssl jq gcc libc6-dev
}

print_more() {
  cat <<EOT
AUDIT_LOG=$STATE/audit.log
CONTAINERD_ADDRESS=$RUN/containerd.sock
CONTAINERD_NAMESPACE=k8s.io
EOT
}

is_up() {
  local name
  for name in etcd apiserver controller-manager scheduler containerd kubelet proxy; do
    [[ -n $(pid_of "$name") ]] || return 1
  done
  answers
}

check_machine() {
  ((EUID == 0)) || die "the cluster runs pods, and that needs root"
  [[ -d /sys/fs/cgroup/memory || -f /sys/fs/cgroup/cgroup.controllers ]] || die "no cgroups are mounted at /sys/fs/cgroup: pods cannot run here"
}

check_ports() {
  local port
  for port in 2379 2380 6443 10249 10250 10256 10257 10259; do
    [[ -z $(ss -Hltn "sport = :$port") ]] || die "port $port is taken: is another Kubernetes running on this machine?"
  done
}

up() {
  check_machine
  need_tools
  if is_up; then say "the cluster is up already"; echo "$KUBECONFIG"; return; fi
  down
  check_ports
  mkdir -p "$STATE" "$RUN"
  write_certificates
  start_node_runtime
  start_control_plane
  start_kubelet
  install_dns
  install_metrics
  install_gateway
  install_kserve
  wait_until_ready
  say "the cluster is up after $SECONDS s"
  echo "$KUBECONFIG"
}

down() {
  [[ -d $STATE ]] || return 0
  stop_node
  stop controller-manager scheduler apiserver etcd
  rm -rf "$STATE" "$RUN"
}
