// Package runner runs the processes of plugins: it starts a command, speaks
// go-plugin's handshake with it, reads its log, watches its memory, and sees to
// it that no process of it is left when it was stopped, when it ended by itself,
// or when the server itself was killed. It knows nothing of what plugins do:
// the contract, supervision and cut-over are in adapters/pluginhost.
//
// docs/plugins/processes.md says what a plugin meets: environment, life-line, log
// format, limits, integrity.
//
// Processes are cut off from the server's descriptors, environment and terminal,
// not from its user: a plugin may do what the server's user may. A process that
// leaves its process group (setsid) outlives the group unless cgroup v2 is
// delegated. On systems other than Unix there are neither groups nor memory
// limits, and stopping is killing.
package runner
