# containerd, kubelet and kube-proxy. Works with cgroup v1, v2 and the hybrid of both, and without CAP_SYS_RESOURCE.
# shellcheck shell=bash disable=SC2153 # NODE_IP is set by write_certificates

POD_RANGE=10.244.0.0/16
STORE=$CACHE/containerd # images outlive the cluster

ctr_() { ctr --address "$RUN/containerd.sock" --namespace k8s.io "$@"; }

start_node_runtime() {
  mkdir -p "$STATE/cni" "$STORE"
  sysctl -qw net.ipv4.ip_forward=1
  iptables -w -t nat -C POSTROUTING "${MASQUERADE[@]}" 2>/dev/null || iptables -w -t nat -A POSTROUTING "${MASQUERADE[@]}"
  cat >"$STATE/cni/10-pods.conflist" <<EOT
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {
  "type": "host-local", "dataDir": "$STATE/cni/addresses", "ranges": [[{"subnet": "$POD_RANGE"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
EOT
  cat >"$STATE/containerd.toml" <<EOT
version = 2
root = "$STORE"
state = "$RUN/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni"
EOT
  start_containerd
  remove_containers
  forget_old_images
  local image name program
  for image in "${NODE_IMAGES[@]}"; do
    read -r name program <<<"$image"
    ctr_ images ls -q | grep -qxF "$name" || ctr_ images import "$TOOLS/images/$program.tar" >/dev/null
  done
}
MASQUERADE=(-s "$POD_RANGE" ! -d "$POD_RANGE" -m comment --comment churn-operator -j MASQUERADE)

start_containerd() {
  start containerd containerd --config "$STATE/containerd.toml"
  need containerd 30 ctr_ images ls -q
}

start_kubelet() {
  local resolv=/run/systemd/resolve/resolv.conf # where /etc/resolv.conf names only a resolver that pods cannot reach
  [[ -f $resolv ]] || resolv=/etc/resolv.conf
  cat >"$STATE/kubelet.yaml" <<EOT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$RUN/containerd.sock
enforceNodeAllocatable: []
evictionHard: {memory.available: 200Mi}
failSwapOn: false
featureGates: {KubeletInUserNamespace: true}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
resolvConf: $resolv
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
EOT
  start kubelet "$BIN/kubelet" --kubeconfig="$STATE/kubelet.kubeconfig" --config="$STATE/kubelet.yaml" --hostname-override="$NODE_NAME" \
    --node-ip="$NODE_IP" --root-dir="$STATE/kubelet"
  start proxy "$BIN/kube-proxy" --kubeconfig="$STATE/proxy.kubeconfig" --hostname-override="$NODE_NAME" --proxy-mode=iptables \
    --cluster-cidr="$POD_RANGE" --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
}

# Ends every container of ours and forgets it; images stay.
remove_containers() {
  local containers
  mapfile -t containers < <(ctr_ containers ls -q)
  ((${#containers[@]})) || return 0
  ctr_ tasks rm --force "${containers[@]}" >/dev/null 2>&1 || true # a container that has ended has no task
  ctr_ containers rm "${containers[@]}" >/dev/null
}

# The node refers to an image by its digest as well, and would keep all the versions that a tag ever had.
forget_old_images() {
  local old
  mapfile -t old < <(ctr_ images ls -q | grep -v ^localhost/)
  ((${#old[@]} == 0)) || ctr_ images rm "${old[@]}" >/dev/null
}

stop_node() {
  stop kubelet proxy
  if [[ -f $STATE/containerd.toml ]]; then
    [[ -n $(pid_of containerd) ]] || { mkdir -p "$RUN" && start_containerd; }
    remove_containers
    stop containerd
  fi
  awk -v state="$STATE/" -v run="$RUN/" 'index($2, state) == 1 || index($2, run) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount --lazy
  remove_firewall_rules 2>/dev/null || true # some may never have been made
}

remove_firewall_rules() {
  "$BIN/kube-proxy" --cleanup
  # kube-proxy makes this chain for the kubelet, and leaves it to the kubelet to remove.
  iptables -w -D INPUT -j KUBE-FIREWALL
  iptables -w -D OUTPUT -j KUBE-FIREWALL
  iptables -w -F KUBE-FIREWALL
  iptables -w -X KUBE-FIREWALL
  iptables -w -t nat -D POSTROUTING "${MASQUERADE[@]}"
}
