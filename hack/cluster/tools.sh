# Builds the programs of the cluster from their Go modules, once for each set of versions.
# shellcheck shell=bash
# shellcheck source=hack/programs.sh
source "$REPO/hack/programs.sh"

TOOLS=$CACHE/tools-$(echo "$KUBERNETES $KSERVE $COREDNS $METRICS_SERVER $TRAEFIK $GATEWAY_API $HELM $VERSITYGW" | digest)
BIN=$TOOLS/bin

need_tools() {
  need_commands_for_tools
  need_unpacked prometheus # the tests scrape with it
  [[ -f $TOOLS/complete ]] || alone tools build_tools
}

build_tools() {
  [[ -f $TOOLS/complete ]] && return
  say "building the cluster's programs into $TOOLS (about 15 minutes on two cores, once)"
  mkdir -p "$BIN"
  need_go
  local k8s_version=k8s.io/component-base/version
  ldflags="-X $k8s_version.gitVersion=v$KUBERNETES -X $k8s_version.gitMajor=1 -X $k8s_version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES")" \
    go_build "k8s.io/kubernetes@v$KUBERNETES" cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubelet,kubectl}
  go_build "github.com/kserve/kserve@$KSERVE" cmd/{manager,agent}
  go_build "github.com/coredns/coredns@$COREDNS" .
  go_build "sigs.k8s.io/metrics-server@$METRICS_SERVER" cmd/metrics-server
  go_build "github.com/traefik/traefik/v3@$TRAEFIK" cmd/traefik
  go_build "helm.sh/helm/v3@$HELM" cmd/helm
  go_build "github.com/versity/versitygw@$VERSITYGW" cmd/versitygw
  build_pause
  local crds
  crds=$(module_field Dir "github.com/kserve/kserve@$KSERVE")/config/crd/full
  awk 'FNR == 1 {print "---"} {print}' "$crds"/serving.kserve.io_*.yaml "$crds"/clusterstoragecontainer/serving*.yaml >"$TOOLS/kserve-crds.yaml"
  crds=$(module_field Dir "sigs.k8s.io/gateway-api@$GATEWAY_API")/config/crd/standard
  awk 'FNR == 1 {print "---"} {print}' "$crds"/*.yaml >"$TOOLS/gateway-crds.yaml"
  write_node_images
  touch "$TOOLS/complete"
}

module_field() { go mod download -json "$2" | jq -r "if .Error then error(.Error) else .$1 end"; }

# go_build module@version package…: builds packages of a module into BIN. A module's `replace` and `exclude` lines count
# only where it is the main module, so the packages are built from a scratch module that repeats them.
go_build() {
  local module=${1%@*} version=${1#*@} scratch=$TOOLS/build/${1%%@*} package packages=()
  shift
  for package; do packages+=("$module/$package"); done
  packages=("${packages[@]%/.}")
  mkdir -p "$scratch"
  {
    printf 'module build.invalid/tools\n\ngo %s\n\nrequire %s %s\n' "${GO%.*}" "$module" "$version"
    replaces_of "$module" "$version"
  } >"$scratch/go.mod"
  (cd "$scratch" && go build -mod=mod -trimpath -ldflags "-s -w ${ldflags:-}" -o "$BIN/" "${packages[@]}") >>"$TOOLS/build.log" 2>&1 \
    || die "could not build $module: see the end of $TOOLS/build.log"
}

replaces_of() { # module version
  go mod edit -json "$(module_field GoMod "$1@$2")" | jq -r --arg staging "v0.${2#v1.}" '
    (.Replace // [])[]
    | if .New.Version then "replace \(.Old.Path) \(.Old.Version // "") => \(.New.Path) \(.New.Version)"
      # Kubernetes keeps its libraries in its own tree and publishes each one under its own version.
      elif .New.Path | startswith("./staging/src/") then "replace \(.Old.Path) => \(.Old.Path) \($staging)"
      else empty end'
  go mod edit -json "$(module_field GoMod "$1@$2")" | jq -r '(.Exclude // [])[] | "exclude \(.Path) \(.Version)"'
}

# The process that holds a pod's namespaces: it reaps orphans and waits for the end.
build_pause() {
  gcc -static -O2 -o "$BIN/pause" -x c - <<'EOT'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
static void leave(int s) { (void)s; _exit(0); }
int main(void) {
  signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap);
  for (;;) pause();
}
EOT
}

NODE_IMAGES=(
  "localhost/pause:1 pause"
  "localhost/coredns:$COREDNS coredns"
  "localhost/metrics-server:$METRICS_SERVER metrics-server"
  "localhost/traefik:$TRAEFIK traefik"
  "localhost/kserve-manager:$KSERVE manager"
  "localhost/kserve-agent:$KSERVE agent"
  "localhost/churn-operator/versitygw:dev versitygw"
)

# Image archives of one layer with one static program each.
write_node_images() {
  local image name program dir
  mkdir -p "$TOOLS/images"
  for image in "${NODE_IMAGES[@]}"; do
    read -r name program <<<"$image"
    dir=$(mktemp -d -p "$TOOLS")
    mkdir "$dir/root" "$dir/root/tmp" && chmod 1777 "$dir/root/tmp" && ln "$BIN/$program" "$dir/root/$program"
    tar -C "$dir/root" --owner=0 --group=0 -cf "$dir/layer.tar" .
    jq -n --arg program "/$program" --arg layer "sha256:$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)" \
      '{architecture: "amd64", os: "linux", config: {Entrypoint: [$program], User: "65532"}, rootfs: {type: "layers", diff_ids: [$layer]}}' >"$dir/config.json"
    jq -n --arg name "$name" '[{Config: "config.json", RepoTags: [$name], Layers: ["layer.tar"]}]' >"$dir/manifest.json"
    tar -C "$dir" -cf "$TOOLS/images/$program.tar" manifest.json config.json layer.tar
    rm -rf "$dir"
  done
}
