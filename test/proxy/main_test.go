package proxy

import (
	"os"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
