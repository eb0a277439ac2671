#!/usr/bin/env bash
# What plugins cost: the load case "plugins" against this server without the plugin
# (off), with it inside the server (inside), and as a process of its own (process), in
# turn. Run it from the root of the module; each run's line goes to standard output.
#
# Settings: RUNS (1), RATES ("1000 20000 100000"), FOR (10s), MODES ("off inside process"),
# WHATS ("plain observe decide own"), MEMBERS (1000; 0: no groups), OUT (a new folder).
set -euo pipefail
OUT=${OUT:-$(mktemp -d)}
mkdir -p "$OUT"
echo "results and logs: $OUT, $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
go build -tags cost -o "$OUT/hexmpp" ./cmd/hexmpp
go build -o "$OUT/load" ./test/load
MEMBERS=${MEMBERS:-1000}
server=0
trap '[ "$server" = 0 ] || kill "$server"' EXIT
start() { # MODE
	local plugins='{}'
	[ "$1" = off ] || plugins="{cost: {run: $1}}"
	cat >"$OUT/$1.yaml" <<-YAML
		domains: [bench.test]
		data: "$OUT/data"
		listen: {c2s: "127.0.0.1:31472", c2s-tls: "127.0.0.1:31473", http: "127.0.0.1:31480"}
		tls: {required: false}
		registration: {mode: open}
		limits: {rates: false}
		log: {level: warn}
		extensions: {mam: {enabled: false}}
		plugins: $plugins
	YAML
	"$OUT/hexmpp" serve --config "$OUT/$1.yaml" >>"$OUT/$1.log" 2>&1 &
	server=$!
	for _ in $(seq 100); do
		! (exec 3<>/dev/tcp/127.0.0.1/31472) 2>/dev/null || return 0
		kill -0 "$server" || break
		sleep 0.1
	done
	cat "$OUT/$1.log"
	exit 1
}
stop() { kill "$server"; wait "$server" || true; server=0; }
load() { # MODE CASE FLAG...
	local mode=$1
	shift
	"$OUT/load" "$@" -addr 127.0.0.1:31472 -domain bench.test -pid "$server" -label "$mode" -json "$OUT/results.json" || echo "failed: $mode $*"
}
mkdir -p "$OUT/data"
start off
load off register -n "$((MEMBERS + 1 > 100 ? MEMBERS + 1 : 100))"
stop
for run in $(seq "${RUNS:-1}"); do
	for rate in ${RATES-1000 20000 100000}; do
		for mode in ${MODES:-off inside process}; do
			start "$mode"
			for what in ${WHATS:-plain observe decide own}; do
				[ "$mode" != off ] || [ "$what" = plain ] || continue
				echo "run $run, $rate a second, load $(cut -d' ' -f1-3 /proc/loadavg)"
				load "$mode" plugins -what "$what" -rate "$rate" -for "${FOR:-10s}"
			done
			stop
		done
	done
	for mode in ${MODES:-off inside process}; do
		[ "$MEMBERS" -gt 0 ] || break
		start "$mode"
		for what in direct cast; do
			[ "$mode" != off ] || [ "$what" = direct ] || continue
			echo "run $run, groups, load $(cut -d' ' -f1-3 /proc/loadavg)"
			load "$mode" plugins -what "$what" -pairs "$MEMBERS" -rate 20000 -for "${FOR:-10s}"
		done
		stop
	done
done
