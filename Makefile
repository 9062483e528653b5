# pg_netstat: the module, its SQL and its agent.

PG_CONFIG ?= pg_config
# The operating system's group that the server runs under. It alone may execute the agent.
SERVER_GROUP ?= postgres
GO ?= go
VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" extension/pg_netstat.control)
CAPABILITIES = cap_net_raw,cap_bpf=p

pkglibdir = $(DESTDIR)$(shell $(PG_CONFIG) --pkglibdir)
agent = $(pkglibdir)/pg_netstat-agent
go_sources = $(shell find cmd internal -name '*.go' -o -name '*.o' 2>/dev/null | grep -v _test.go)

all: module bin/pg_netstat-agent ## build the module and the agent (default)

module:
	$(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)" all

bin/pg_netstat-agent: go.mod go.sum $(go_sources)
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/pg_netstat-agent

install: all ## install where PG_CONFIG says; DESTDIR= for packagers, SERVER_GROUP= the server's group
	$(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)" install
	install -d "$(pkglibdir)"
	install -m 0750 bin/pg_netstat-agent "$(agent).new"
	mv -f "$(agent).new" "$(agent)"
	@script/lib/permit "$(agent)" "$(SERVER_GROUP)" "$(CAPABILITIES)" "$(DESTDIR)"

uninstall: ## remove what install installed
	$(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)" uninstall
	rm -f "$(agent)"

installcheck: ## test the SQL on a running server that has the module preloaded
	$(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)" installcheck

generate: ## compile the eBPF program again (clang-19, llvm-19, libbpf-dev)
	$(GO) generate ./internal/engine/ebpf

check-generated: ## fail if compiling the eBPF program again changes what is committed
	script/lib/check-generated

lint: ## gofmt, go vet, golangci-lint where it is installed
	test -z "$$(gofmt -l cmd internal test bench)" || { gofmt -l cmd internal test bench; exit 1; }
	$(GO) vet ./...
	if command -v golangci-lint >/dev/null; then golangci-lint run; fi

clean: ## remove what was built
	$(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)" clean
	$(MAKE) -C extension/fuzz clean
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

.PHONY: all module install uninstall installcheck generate check-generated lint clean help
