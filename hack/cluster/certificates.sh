# Certificates and kubeconfigs, made anew at every start.
# shellcheck shell=bash

PKI_DAYS=3650

write_authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days $PKI_DAYS -subj /CN=kubernetes-ca \
    -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
}

write_certificates() {
  PKI=$STATE/pki
  NODE_IP=$(ip -4 -o route get 192.0.2.1 2>/dev/null | grep -oP 'src \K\S+' || ip -4 -o addr show scope global | grep -oP 'inet \K[^/]+' | head -1)
  [[ -n $NODE_IP ]] || die "this machine has no IPv4 address that pods could reach it by"
  mkdir -p "$PKI"
  write_authority
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/service-accounts.key"
  certificate apiserver /CN=kube-apiserver "DNS:kubernetes.default.svc,DNS:kubernetes.default,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_IP"
  certificate kubelet-server "/CN=$NODE_NAME" "DNS:$NODE_NAME,IP:$NODE_IP"
  certificate kserve-webhook /CN=kserve-webhook DNS:kserve-webhook-server-service.kserve.svc
  certificate front-proxy /CN=front-proxy DNS:front-proxy
  kubeconfig admin /O=system:masters/CN=admin
  kubeconfig controller-manager /CN=system:kube-controller-manager
  kubeconfig scheduler /CN=system:kube-scheduler
  kubeconfig proxy /CN=system:kube-proxy
  kubeconfig kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
}

certificate() { # name subject alternative-names
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$PKI/$1.key" -out "$PKI/$1.csr" 2>/dev/null
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days $PKI_DAYS -out "$PKI/$1.crt" \
    -extfile <(echo "subjectAltName=$3") 2>/dev/null
}

kubeconfig() { # name subject
  certificate "$1" "$2" "DNS:$1"
  (umask 077 && cat >"$STATE/$1.kubeconfig") <<EOT
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}}]
contexts: [{name: churn-operator, context: {cluster: local, user: $1}}]
current-context: churn-operator
EOT
}
