# Copies images from buildah's storage into the node, through an OCI layout in the cache, and only the layers that the
# node lacks. Nothing big is compressed: that would take longer than everything else.
# shellcheck shell=bash

LAYOUT=$CACHE/images

load() { # image…
  local image manifest
  is_up || die "the cluster is down: run hack/cluster/cluster up"
  for image; do
    export_layers "$image"
    buildah_ push --quiet --format oci "$image" "oci:$LAYOUT:$image"
    manifest=$(jq -r --arg name "$image" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $name).digest' "$LAYOUT/index.json")
    [[ $(node_digest "$image") == "$manifest" ]] || import "$image" "$manifest"
  done
  forget_other_blobs
}

# `push` takes the layers that lie in the layout as they are and compresses the others, which is well for the thin ones
# that hold this project's code. A thick one is put there uncompressed first, with all its image's others.
export_layers() { # image
  local layers layer thick copy
  mkdir -p "$LAYOUT/blobs/sha256"
  mapfile -t layers < <(buildah_ inspect --type image "$1" | jq -r '.OCIv1.rootfs.diff_ids[] | ltrimstr("sha256:")')
  thick=$(jq -r '.[] | select(."diff-size" > 20e6)."diff-digest" | ltrimstr("sha256:")' "$CACHE/buildah/overlay-layers/layers.json")
  while IFS= read -r layer; do
    [[ ! -f $LAYOUT/blobs/sha256/$layer ]] || continue
    copy=$(mktemp -d -p "$LAYOUT")
    buildah_ push --quiet --disable-compression --format oci "$1" "dir:$copy"
    mv "${layers[@]/#/$copy/}" "$LAYOUT/blobs/sha256/"
    rm -rf "$copy"
  done < <(grep -xF "$thick" <(printf '%s\n' "${layers[@]}"))
}

import() { # image manifest
  local blobs
  mapfile -t blobs < <({ echo "$2" && blobs_of "$2"; } | sort -u | grep -vxF "$(ctr_ content ls -q)")
  rm -rf "$LAYOUT/part" && mkdir "$LAYOUT/part"
  cp "$LAYOUT/oci-layout" "$LAYOUT/part"
  jq --arg name "$1" --arg manifest "$2" '.manifests |= map(select(.digest == $manifest) | .annotations = {"io.containerd.image.name": $name})[:1]' \
    "$LAYOUT/index.json" >"$LAYOUT/part/index.json"
  # containerd clears away what no image needs, and may take what this one is about to be laid upon
  import_blobs "${blobs[@]}" || import_blobs "${blobs[@]}" || die "containerd cannot unpack $1"
  [[ $(node_digest "$1") == "$2" ]] || die "containerd did not take $1"
  say "loaded $1"
}

import_blobs() { # blob…
  tar -c -C "$LAYOUT/part" oci-layout index.json -C "$LAYOUT" "${@/#sha256:/blobs/sha256/}" | ctr_ images import - >/dev/null
}

blobs_of() { jq -r '.config.digest, .layers[].digest' "$LAYOUT/blobs/${1/://}"; }

node_digest() { ctr_ images ls "name==$1" | awk 'NR == 2 {print $3}'; }

forget_other_blobs() {
  local manifests manifest
  # An image that was built anew leaves its former manifest in the index, without a name.
  jq '.manifests |= map(select(.annotations))' "$LAYOUT/index.json" >"$LAYOUT/index.new"
  mv "$LAYOUT/index.new" "$LAYOUT/index.json"
  mapfile -t manifests < <(jq -r '.manifests[].digest' "$LAYOUT/index.json")
  {
    printf '%s\n' "${manifests[@]}"
    for manifest in "${manifests[@]}"; do blobs_of "$manifest"; done
  } | cut -d: -f2 | awk 'NR == FNR {kept[$0]; next} !($0 in kept)' - <(ls "$LAYOUT/blobs/sha256") | sed "s|^|$LAYOUT/blobs/sha256/|" | xargs -r rm
}
