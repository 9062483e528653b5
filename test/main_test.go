// Package test has the end-to-end tests: real servers, network namespaces,
// real clients.
package test

import (
	"flag"
	"os"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

func TestMain(m *testing.M) {
	// Tests wait more than they work: more of them than cores may run at once.
	// What the command line says wins.
	_ = flag.Set("test.parallel", "4")
	os.Exit(harness.Main(m))
}
