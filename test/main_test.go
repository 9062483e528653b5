// Package test has the end-to-end tests: real servers, network namespaces,
// real clients.
package test

import (
	"os"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
