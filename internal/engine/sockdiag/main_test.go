package sockdiag

import (
	"os"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }
