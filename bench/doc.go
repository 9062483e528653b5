// Package bench measures pg_netstat beside what a user would take instead, in
// one run on one machine: its figures are for comparing, not for keeping.
//
//	script/bench
//
// It needs root, as it makes network namespaces. Nothing of it is a test: no
// figure is held to a bound.
package bench
