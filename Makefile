# pg_netstat: the module, its SQL and its agent.

PG_CONFIG ?= pg_config
# The operating system's group that the server runs under. It alone may execute the agent.
SERVER_GROUP ?= postgres
GO ?= go
VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" extension/pg_netstat.control)
CAPABILITIES = cap_net_raw,cap_bpf=p

# Where script/bootstrap unpacks a Go if the machine has none that is recent.
export PATH := $(CURDIR)/.cache/go/bin:$(PATH)

pkglibdir = $(shell $(PG_CONFIG) --pkglibdir)
agent = $(pkglibdir)/pg_netstat-agent
sources = $(shell find cmd internal -name '*_test.go' -o -name '*.go' -print -o -name '*.[cho]' -print)
extension = $(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)"

all: module bin/pg_netstat-agent ## build the module and the agent (default)

# Objects compiled for another server are of no use for this one.
module: pg_config
	@mkdir -p bin && $(PG_CONFIG) >bin/server.new
	@cmp -s bin/server.new bin/server || $(extension) -s clean
	@mv bin/server.new bin/server
	$(extension) all

pg_config:
	@command -v $(PG_CONFIG) >/dev/null || { echo "there is no $(PG_CONFIG): install the server's headers (script/bootstrap does on Debian), or set PG_CONFIG=" >&2; exit 1; }

bin/pg_netstat-agent: go.mod go.sum extension/pg_netstat.control $(sources)
	@command -v $(GO) >/dev/null || { echo "there is no Go: run script/bootstrap, or put go on the PATH (sudo has a PATH of its own: run make before sudo make install)" >&2; exit 1; }
	CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/pg_netstat-agent

install: permitted all ## install where PG_CONFIG says; DESTDIR= for packagers, SERVER_GROUP= the server's group
	$(extension) install
	install -m 0700 bin/pg_netstat-agent "$(DESTDIR)$(agent).new"
	@script/lib/permit "$(DESTDIR)$(agent).new" "$(agent)" "$(SERVER_GROUP)" "$(CAPABILITIES)" "$(DESTDIR)"
	mv -f "$(DESTDIR)$(agent).new" "$(DESTDIR)$(agent)"

# Before anything is built or installed.
permitted:
	@script/lib/permit --check "$(SERVER_GROUP)" "$(DESTDIR)"

uninstall: pg_config ## remove what install installed
	$(extension) uninstall
	rm -f "$(DESTDIR)$(agent)"

installcheck: pg_config ## test the SQL on a running server that has the module preloaded
	$(extension) installcheck

generate: ## compile the eBPF program again (clang-19, llvm-19, libbpf-dev)
	$(GO) generate ./internal/engine/ebpf

check-generated: ## fail if compiling the eBPF program again changes what is committed
	script/lib/check-generated

lint: ## gofmt, go vet, shellcheck; golangci-lint where it is installed
	@unformatted=$$(gofmt -l cmd internal test bench) && { test -z "$$unformatted" || { echo "not as gofmt has it: $$unformatted"; exit 1; }; }
	$(GO) vet ./...
	shellcheck -x script/bench script/bootstrap script/demo script/regress-postgres script/test script/lib/* .ci/run
	if command -v golangci-lint >/dev/null; then golangci-lint run; fi

clean: ## remove what was built
	if command -v $(PG_CONFIG) >/dev/null; then $(extension) clean; fi
	$(MAKE) -C extension/fuzz clean
	rm -rf bin

help: ## this list
	@echo "pg_netstat: make, then make install. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: all module pg_config install permitted uninstall installcheck generate check-generated lint clean help
