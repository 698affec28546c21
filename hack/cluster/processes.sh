# Starts and stops the cluster's daemons. A pid file is believed only while its process mentions our state folder.
# shellcheck shell=bash

start() { # name program argument…
  local name=$1
  shift
  mkdir -p "$STATE/log"
  (
    close_inherited
    exec setsid nohup "$@"
  ) >"$STATE/log/$name.log" 2>&1 </dev/null &
  echo $! >"$STATE/$name.pid"
}

# A daemon that inherits a lock of whoever called would hold it for as long as it lives.
close_inherited() {
  local descriptor
  for descriptor in "/proc/$BASHPID/fd/"*; do
    descriptor=${descriptor##*/}
    ((descriptor < 3 || descriptor == 255)) || exec {descriptor}>&- # 255 is bash's own
  done
}

pid_of() {
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) || return 0
  if grep -qsF "$STATE/" "/proc/$pid/cmdline"; then echo "$pid"; fi
}

stop() { # name…: asks them all to end, and does not wait long, because their state goes as well
  local name pids=()
  for name; do mapfile -t -O "${#pids[@]}" pids < <(pid_of "$name"); done
  ((${#pids[@]})) || return 0
  kill "${pids[@]}" 2>/dev/null || true
  wait_for 2 gone "${pids[@]}" || kill -9 "${pids[@]}" 2>/dev/null || true
}

gone() { ! kill -0 "$@" 2>/dev/null; }

wait_for() { # seconds command…: until the command succeeds
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

need() { # name seconds command…: as wait_for, but gives up at once when the daemon has ended
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [[ -z $(pid_of "$name") ]] || ((SECONDS >= deadline)); then
      die "$name did not come up: see the end of $STATE/log/$name.log"
    fi
    sleep 0.2
  done
}
