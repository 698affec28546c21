# What runs in the cluster before anybody's pods: DNS, what measures pods, a gateway and KServe.
# shellcheck shell=bash disable=SC2153 # PKI is set by write_certificates

apply() { "$BIN/kubectl" apply --server-side --force-conflicts -f - >/dev/null; }

install_dns() { sed "s/@COREDNS@/$COREDNS/" "$MANIFESTS/coredns.yaml" | apply; }

install_metrics() { sed "s/@METRICS_SERVER@/$METRICS_SERVER/" "$MANIFESTS/metrics-server.yaml" | apply; }

install_gateway() {
  apply <"$TOOLS/gateway-crds.yaml"
  "$BIN/kubectl" wait --for=condition=Established --timeout=30s crd/gatewayclasses.gateway.networking.k8s.io crd/gateways.gateway.networking.k8s.io >/dev/null
  sed "s/@TRAEFIK@/$TRAEFIK/" "$MANIFESTS/gateway.yaml" | apply
}

# Webhooks come last: until their server runs they would refuse what they guard.
install_kserve() {
  apply <"$TOOLS/kserve-crds.yaml"
  sed "s/@KSERVE@/$KSERVE/" "$MANIFESTS/kserve.yaml" | apply
  "$BIN/kubectl" create secret tls kserve-webhook-server-cert --namespace kserve --cert="$PKI/kserve-webhook.crt" --key="$PKI/kserve-webhook.key"  \
    --dry-run=client -o yaml | apply
  sed "s/@CA@/$(base64 -w0 "$PKI/ca.crt")/" "$MANIFESTS/kserve-webhooks.yaml" | apply
}

wait_until_ready() {
  "$BIN/kubectl" wait --for=condition=Ready "node/$NODE_NAME" --timeout=60s >/dev/null
  "$BIN/kubectl" wait --for=condition=Available --timeout=120s --namespace kube-system deployment/coredns >/dev/null
  "$BIN/kubectl" wait --for=condition=Available --timeout=120s --namespace kserve deployment/kserve-controller-manager >/dev/null
  "$BIN/kubectl" wait --for=condition=Available --timeout=120s --namespace gateways deployment/traefik >/dev/null
  "$BIN/kubectl" wait --for=condition=Programmed --timeout=60s --namespace gateways gateway/public >/dev/null
  wait_for 30 "$BIN/kubectl" apply --dry-run=server -f "$MANIFESTS/kserve-check.yaml" || die "KServe runs, but its webhook does not answer"
  serve_metrics
}

# Last of all: the API server keeps its first connection, also one that kube-proxy did not lead to the pod yet.
serve_metrics() {
  "$BIN/kubectl" wait --for=condition=Available --timeout=120s --namespace kube-system deployment/metrics-server >/dev/null
  apply <"$MANIFESTS/metrics-api.yaml"
  "$BIN/kubectl" wait --for=condition=Available --timeout=60s apiservice/v1beta1.metrics.k8s.io >/dev/null
}
