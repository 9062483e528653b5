package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

func TestWorkerTerminated(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	v.traffic(t)
	v.CaughtUp(t)
	totals, agent, worker := v.Totals(t), v.agent(t), v.worker(t)
	harness.Signal(t, worker, syscall.SIGTERM)
	v.LogSays(t, 0, `background worker "pg_netstat worker"`)
	st := v.AwaitStatus(t, "another agent", func(st harness.Status) bool {
		return st.State == "counting" && int(*st.AgentPID) != agent
	})
	if st.Restored != "shared memory" || harness.Alive(agent) || harness.Alive(worker) || v.worker(t) == worker {
		t.Errorf("restored is %q, the agent is %d after %d", st.Restored, *st.AgentPID, agent)
	}
	if now := v.Totals(t); now.PacketsIn < totals.PacketsIn {
		t.Errorf("the totals are %+v, they were %+v", now, totals)
	}
}

// TestWorkerStopped stops the worker's process for longer than an agent may be
// silent. It must not blame the agent for what it was itself too late to hear.
func TestWorkerStopped(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	agent, worker := v.agent(t), v.worker(t)
	v.traffic(t)
	v.CaughtUp(t)
	totals := v.Totals(t)
	harness.Signal(t, worker, syscall.SIGSTOP)
	time.Sleep(25 * time.Second)
	v.traffic(t)
	if st := v.Status(t); *st.SnapshotAge < 20 {
		t.Errorf("the snapshots are %g s old", *st.SnapshotAge)
	}
	harness.Signal(t, worker, syscall.SIGCONT)
	v.CaughtUp(t)
	v.traffic(t)
	v.CaughtUp(t)
	st := v.Await(t, "")
	if int(*st.AgentPID) != agent || st.Restarts != 0 || *st.Gaps != 0 || st.LastError != "" {
		t.Errorf("the status is %+v", st)
	}
	if now := v.Totals(t); now.PacketsIn <= totals.PacketsIn {
		t.Errorf("the totals are %+v, they were %+v", now, totals)
	}
}

// TestCrashRecovery kills processes of the server, which then starts all of them
// again with fresh shared memory: figures go back to what was saved last, no
// further, and the status view says so.
func TestCrashRecovery(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(t *testing.T, v *victim){
		"backend": func(t *testing.T, v *victim) {
			harness.Signal(t, int(harness.Value[int32](t, v.Server, "SELECT pg_backend_pid()")), syscall.SIGKILL)
		},
		"worker": func(t *testing.T, v *victim) { harness.Signal(t, v.worker(t), syscall.SIGKILL) },
		"worker, while the agent is stopped": func(t *testing.T, v *victim) {
			harness.Signal(t, v.agent(t), syscall.SIGSTOP)
			harness.Signal(t, v.worker(t), syscall.SIGKILL)
		},
		"checkpointer": func(t *testing.T, v *victim) {
			pid := harness.Value[int32](t, v.Server, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
			harness.Signal(t, int(pid), syscall.SIGKILL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			v.traffic(t)
			v.CaughtUp(t)
			v.witness.lose(t, func() { v.Restart(t) })
			saved := v.Await(t, "").RestoredFrom
			totals := v.Totals(t)
			if totals.PacketsIn == 0 {
				t.Fatal("nothing was saved")
			}
			for range 2 {
				agent := v.agent(t)
				v.traffic(t)
				v.CaughtUp(t)
				v.witness.lose(t, func() { kill(t, v) })
				st := v.AwaitStatus(t, "another agent", func(st harness.Status) bool {
					return st.State == "counting" && int(*st.AgentPID) != agent
				})
				if st.Restored != "file" || !st.RestoredFrom.Equal(*saved) || harness.Alive(agent) {
					t.Errorf("restored is %q of %s, want that of %s", st.Restored, st.RestoredFrom, saved)
				}
				if *st.Gaps < 1 || st.Restarts != 0 {
					t.Errorf("the status is %+v", st)
				}
				if now := v.Totals(t); now.PacketsIn < totals.PacketsIn || now.BytesOut < totals.BytesOut {
					t.Errorf("the totals are %+v, %+v were saved", now, totals)
				}
			}
			v.LogSays(t, 0, "all server processes terminated; reinitializing")
		})
	}
}

// agents are what a server may have when it is stopped or dies.
var agents = map[string]func(t *testing.T) *victim{
	"running": func(t *testing.T) *victim { return newVictim(t) },
	"stopped": func(t *testing.T) *victim {
		v := newVictim(t)
		harness.Signal(t, v.agent(t), syscall.SIGSTOP)
		return v
	},
	"missing": func(t *testing.T) *victim {
		v := &victim{Server: harness.NewServer(t, harness.Options{Settings: victimSettings(harness.Settings{"pg_netstat.agent_path": "/nowhere/agent"})})}
		v.witness = newWitness(t, v.Server)
		v.AwaitStatus(t, "no agent", func(st harness.Status) bool { return st.State == "no agent" })
		v.witness.answered(t)
		return v
	},
	"silent":    func(t *testing.T) *victim { return started(t, "silent") },
	"deaf":      func(t *testing.T) *victim { return started(t, "deaf") },
	"log flood": func(t *testing.T) *victim { return started(t, "many logs") },
	"stubborn":  func(t *testing.T) *victim { return started(t, "stubborn") },
}

// started makes a server with a fake agent and waits until it runs.
func started(t *testing.T, mode string) *victim {
	t.Helper()
	v := newFooled(t, mode)
	v.AwaitStatus(t, "the fake running", func(st harness.Status) bool { return st.AgentPID != nil })
	v.witness.answered(t)
	return v
}

// TestShutdown stops servers in each way, whatever their agents do.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for name, start := range agents {
		t.Run("agent "+name, func(t *testing.T) {
			t.Parallel()
			v := start(t)
			for _, mode := range []string{"smart", "fast", "immediate"} {
				v.witness.stop(t)
				begin := time.Now()
				v.Stop(t, mode)
				if took := time.Since(begin); took > tolerance {
					t.Errorf("a %s shutdown took %s", mode, took)
				}
				v.gone(t)
				v.Start(t)
				v.witness = newWitness(t, v.Server)
				v.witness.answered(t)
				if name == "stopped" {
					v.Await(t, "")
					harness.Signal(t, v.agent(t), syscall.SIGSTOP)
				}
			}
		})
	}
}

// TestPostmasterKilled: what then remains of the server ends by itself.
func TestPostmasterKilled(t *testing.T) {
	t.Parallel()
	for name, start := range agents {
		t.Run("agent "+name, func(t *testing.T) {
			t.Parallel()
			v := start(t)
			v.witness.stop(t)
			v.Disconnect()
			harness.Signal(t, v.Postmaster(), syscall.SIGKILL)
			v.gone(t)
			// Its foster parent may take its time to reap it, and until then its id is
			// taken for that of a server that runs.
			for _, path := range []string{filepath.Join(v.Data, "postmaster.pid"), filepath.Join(v.Sockets, fmt.Sprintf(".s.PGSQL.%d.lock", v.Port))} {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			v.Start(t)
			v.witness = newWitness(t, v.Server)
			v.witness.answered(t)
		})
	}
}

// TestWorkerAndPostmasterKilled: nobody is left to end the agent but the kernel.
func TestWorkerAndPostmasterKilled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"running", "stopped", "stubborn"} {
		t.Run("agent "+name, func(t *testing.T) {
			t.Parallel()
			v := agents[name](t)
			v.witness.stop(t)
			worker, postmaster := v.worker(t), v.Postmaster()
			v.Disconnect()
			harness.Signal(t, postmaster, syscall.SIGKILL)
			_ = syscall.Kill(worker, syscall.SIGKILL)
			v.gone(t)
		})
	}
}

// TestTwoServers has two on one host that differ by the port, and two that differ
// by the address only. Each counts its own traffic, and the end of one is
// nothing to the other.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		ports     [2]int
		addresses [2]string
	}{
		{"by port", [2]int{5432, 5433}, [2]string{"127.0.0.1", "127.0.0.1"}},
		{"by address", [2]int{5432, 5432}, [2]string{"127.0.0.1", "127.0.0.2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			var both [2]*victim
			for i := range both {
				s := harness.NewServer(t, harness.Options{Host: host, Port: c.ports[i],
					Settings: victimSettings(harness.Settings{"listen_addresses": c.addresses[i]})})
				both[i] = &victim{Server: s, witness: newWitness(t, s)}
				both[i].Await(t, "")
			}
			for i, v := range both {
				other := both[1-i]
				for _, s := range both {
					s.Reset(t)
				}
				host.Run(t, "psql", "-X", "-q", "-At", "-h", c.addresses[i], "-p", fmt.Sprint(v.Port), "-c", "SELECT generate_series(1, 1000)", "postgres")
				v.CaughtUp(t)
				other.CaughtUp(t)
				if mine, its := v.Totals(t), other.Totals(t); mine.PacketsIn < 5 || its != (harness.Counts{}) {
					t.Errorf("traffic of one server: it counted %+v, the other %+v", mine, its)
				}
			}
			agent := both[1].agent(t)
			both[0].witness.stop(t)
			both[0].Disconnect()
			harness.Signal(t, both[0].Postmaster(), syscall.SIGKILL)
			harness.Until(t, 10*time.Second, "one server being gone", func() error {
				for _, pid := range host.Pids() {
					if line := harness.CommandLine(pid); strings.Contains(line, both[0].Data) {
						return fmt.Errorf("%s is there", line)
					}
				}
				return nil
			})
			both[1].witness.answered(t)
			if st := both[1].Status(t); st.State != "counting" || int(*st.AgentPID) != agent {
				t.Errorf("the status of the other is %+v", st)
			}
		})
	}
}
