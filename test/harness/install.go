package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Account is the operating system's user that runs the servers.
const Account = "postgres"

// Install is a private installation of the server, with pg_netstat in it as
// "make install" puts it there. The server finds its files relative to its own
// program, so a tree of copied programs and of links to everything else is one.
type Install struct {
	Root  string // what stands before the directories that pg_config tells
	Bin   string // directory of the server's programs
	Lib   string // directory of loadable modules
	Share string
	Agent string // the agent's program
}

// shared is the installation of all tests that do nothing to it.
var shared struct {
	sync.Mutex
	install *Install
}

// SharedInstall gives an installation that no test may change.
func SharedInstall(t testing.TB) *Install {
	t.Helper()
	needRoot(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.install == nil {
		shared.install = install(t, filepath.Join(scratch, "shared"))
	}
	return shared.install
}

// NewInstall makes an installation of the test's own, to do with what it likes.
func NewInstall(t testing.TB) *Install {
	t.Helper()
	return install(t, dir(t))
}

func install(t testing.TB, root string) *Install {
	t.Helper()
	b := built(t)
	in := &Install{Root: root}
	in.Bin = filepath.Join(in.Root, pgConfig(t, "--bindir"))
	in.Lib = filepath.Join(in.Root, pgConfig(t, "--pkglibdir"))
	in.Share = filepath.Join(in.Root, pgConfig(t, "--sharedir"))
	in.Agent = filepath.Join(in.Lib, "pg_netstat-agent")
	err := errors.Join(
		copyDir(pgConfig(t, "--bindir"), in.Bin),
		linkDir(pgConfig(t, "--pkglibdir"), in.Lib),
		linkDir(pgConfig(t, "--sharedir"), in.Share),
		os.Remove(filepath.Join(in.Share, "extension")),
		linkDir(filepath.Join(pgConfig(t, "--sharedir"), "extension"), filepath.Join(in.Share, "extension")),
	)
	if err != nil {
		t.Fatal(err)
	}
	must(t, "make", "-C", filepath.Join(b, "extension"), "-s", "install", "DESTDIR="+in.Root)
	in.PutAgent(t, filepath.Join(b, "pg_netstat-agent"))
	in.Setcap(t, "cap_net_raw,cap_bpf+p")
	return in
}

// PutAgent replaces the agent's program by a copy of a file: it belongs to root,
// the server's group may execute it, it has no capabilities. The former one is
// unlinked, so that it may be running.
func (in *Install) PutAgent(t testing.TB, from string) {
	t.Helper()
	fresh := in.Agent + ".new"
	_, group := account(t)
	err := errors.Join(copyFile(from, fresh, 0o750), os.Chown(fresh, 0, group), os.Rename(fresh, in.Agent))
	if err != nil {
		t.Fatal(err)
	}
}

// BuiltAgent gives the file that PutAgent puts the real agent back from.
func BuiltAgent(t testing.TB) string { return filepath.Join(built(t), "pg_netstat-agent") }

// Setcap gives the agent's file these capabilities; "" takes them all.
func (in *Install) Setcap(t testing.TB, capabilities string) {
	t.Helper()
	if capabilities != "" {
		must(t, "setcap", capabilities, in.Agent)
	} else if exec.Command("setcap", "-v", "=", in.Agent).Run() != nil {
		must(t, "setcap", "-r", in.Agent)
	}
}

// build is what all installations of this test program have in common.
var build struct {
	once   sync.Once
	dir    string
	errors error
}

// built gives a directory with the compiled module and agent, and a data
// directory to copy.
func built(t testing.TB) string {
	t.Helper()
	needRoot(t)
	build.once.Do(func() {
		build.dir = filepath.Join(scratch, "build")
		build.errors = makeAll(build.dir)
	})
	if build.errors != nil {
		t.Fatal("building: ", build.errors)
	}
	return build.dir
}

func makeAll(to string) error {
	root, err := projectRoot()
	if err != nil {
		return err
	}
	// The module is made in a copy, beside whoever makes it in its place.
	module := filepath.Join(to, "extension")
	err = errors.Join(os.MkdirAll(to, 0o755), copyDir(filepath.Join(root, "extension"), module))
	if err != nil {
		return err
	}
	compile := exec.Command("go", "build", "-ldflags", "-X main.version=test", "-o", filepath.Join(to, "pg_netstat-agent"), "./cmd/pg_netstat-agent")
	compile.Dir = root
	for _, c := range []*exec.Cmd{
		compile,
		exec.Command("make", "-C", module, "-s", "clean"),
		exec.Command("make", "-C", module, "-s"),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", c, err, out)
		}
	}
	return nil
}

// projectRoot finds the directory of go.mod.
func projectRoot() (string, error) {
	at, err := os.Getwd()
	for ; err == nil; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			err = errors.New("no go.mod above the working directory")
		}
	}
	return "", err
}

// pgConfig asks the pg_config of the environment's PG_CONFIG, or that of the path.
func pgConfig(t testing.TB, option string) string {
	t.Helper()
	program := os.Getenv("PG_CONFIG")
	if program == "" {
		program = "pg_config"
	}
	return strings.TrimSpace(must(t, program, option))
}

func account(t testing.TB) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(Account)
	if err != nil {
		t.Fatal(err)
	}
	uid, err = strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// must runs a command and gives what it printed; its failure ends the test.
func must(t testing.TB, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func copyFile(from, to string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, data, mode), os.Chmod(to, mode))
}

func copyDir(from, to string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), exec.Command("cp", "-rL", from, to).Run())
}

// linkDir makes a directory with a link for each file of another.
func linkDir(from, to string) error {
	entries, err := os.ReadDir(from)
	errs := []error{err, os.MkdirAll(to, 0o755)}
	for _, e := range entries {
		errs = append(errs, os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return errors.Join(errs...)
}
