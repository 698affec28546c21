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

# A cluster elsewhere pulls its images: they are pushed to where IMAGES says.
load() { # image…
  local image
  if [[ $IMAGES == localhost/* ]]; then
    say "IMAGES=$IMAGES is no registry: the cluster must have the images already"
    return
  fi
  versitygw_image
  for image in "$@" localhost/churn-operator/versitygw:dev; do push "$image"; done
}

versitygw_image() {
  if docker_runs; then
    docker load --quiet --input "$TOOLS/images/versitygw.tar" >/dev/null
  else
    buildah_ pull --quiet "docker-archive:$TOOLS/images/versitygw.tar" >/dev/null
  fi
}

push() { # image
  local name=${1##*/}
  local there=$IMAGES/${name%:*}:${TAG:-dev}
  if docker_runs; then
    docker tag "$1" "$there"
    docker push --quiet "$there" >/dev/null
  else
    buildah_ push --quiet "$1" "docker://$there"
  fi
  say "pushed $there"
}
