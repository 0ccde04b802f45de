# make test     every test, as CI runs it (root, Linux)
# make cluster  a cluster on this machine, until Ctrl-C
# make kubectl  kubectl into bin, from its Go module
# make soak     three members of the store under faults (SOAK=20m), power cuts, full disks, flipped bits
# make vmtest   the privileged tests in a virtual machine with Debian's kernel and cgroup version 2
# make bench    the benchmarks behind docs/PERFORMANCE.md
# make vet      static checks, for every system that a part builds on
# make deps     Debian packages that the build and the tests need
# make peers    Kubernetes' own code beside ours (slow to build; not part of make test)
# make tidy     go.mod and go.sum of every module

SHELL := /bin/bash -o pipefail
GO    ?= go
TAGS  := seccomp
PKGS  ?= ./...
NESTED := internal/interop
PEERS  := internal/peers

# What must build elsewhere too: all but the node, which is for Linux.
PORTABLE = $(shell $(GO) list ./... | grep -vE '/(runtime|netplug|volume)(/|$$)|/examples/cluster')

.PHONY: deps vet test unit interop peers bench cluster kubectl soak vmtest tidy

deps:
	@missing=""; for p in gcc pkg-config libseccomp-dev busybox-static e2fsprogs; do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

vet:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these files"; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) vet $(PORTABLE)
	GOOS=windows CGO_ENABLED=0 $(GO) vet $(PORTABLE)

unit:
	$(GO) test -race -tags $(TAGS) -timeout 20m $(PKGS)

interop:
	for m in $(NESTED); do (cd $$m && $(GO) vet ./... && $(GO) test -timeout 20m ./...) || exit 1; done

test: vet unit interop

peers:
	cd $(PEERS) && $(GO) vet ./... && $(GO) test -timeout 60m ./...

bench:
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchmem -timeout 60m $(PKGS)

cluster: deps
	$(GO) build -tags $(TAGS) -o bin/cluster ./examples/cluster
	./bin/cluster

SOAK ?= 20m
soak: deps
	$(GO) test ./internal/soak -v -count=1 -timeout 0 -soak $(SOAK)

kubectl:
	cd internal/interop && $(GO) build -o ../../bin/kubectl ./kubectl

# Its kernel and busybox are what internal/vm's documentation says; a quarter of an hour where KVM is of no use.
VMTEST ?= ./runtime ./runtime/agent ./runtime/image ./volume/local ./netplug
vmtest: deps
	@type qemu-system-x86_64 mke2fs >/dev/null 2>&1 || { echo "installing qemu-system-x86 e2fsprogs"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-x86 e2fsprogs >/dev/null; }
	$(GO) run ./internal/vm -tags $(TAGS) -cluster $(VMTEST)

tidy:
	$(GO) mod tidy
	for m in $(NESTED) $(PEERS); do (cd $$m && $(GO) mod tidy) || exit 1; done
