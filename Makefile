# Builds, tests and shows the three commands. "make help" lists the targets.
# Needs Go, Node and make; "make test" also uses the programs that test/peers
# installs on Debian.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO       ?= go
GOARCH   ?= $(shell $(GO) env GOARCH)
OUT      ?= bin
FUZZTIME ?= 10s
# "make VERSION=1.2.3" names a release; without it the source says which it is.
FLAGS    := -trimpath -buildvcs=false -ldflags '-s -w$(if $(VERSION), -X teleport/types.Release=$(VERSION))'
# Where the servers' time goes, for the compiler. By the name default.pgo vet, lint and
# tests would go by it too, and compile everything once more.
PGO      := cmd/teleport/teleport.pgo
CHILD    := sshaccess/childbin/bin/userchild_$(GOARCH)
BUF      := api/proto/node_modules/.package-lock.json
# "make WEB=" builds without the web UI, and needs no Node.
WEB      ?= $(wildcard web/package-lock.json)
WEB_INSTALLED := web/node_modules/.package-lock.json

# The commands are static. Only the race detector links C.
export CGO_ENABLED = 0
export GOARCH

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 18

## Build

.PHONY: build
build: userchild web ## bin/teleport, bin/tsh, bin/tctl (the default)
	$(GO) build $(FLAGS) -pgo=$(PGO) -o $(OUT)/ ./cmd/teleport
	$(GO) build $(FLAGS) -o $(OUT)/ ./cmd/tsh ./cmd/tctl

# The helper that the SSH service runs as the login user. It is embedded in
# teleport, for the target's architecture only.
.PHONY: userchild
userchild:
	@find $(dir $(CHILD)) -name 'userchild_*' ! -name $(notdir $(CHILD)) -delete
	@$(GO) build $(FLAGS) -o $(CHILD) ./cmd/teleport-userchild

.PHONY: arm64
arm64: ## cross build check, into bin/arm64
	$(MAKE) build GOARCH=arm64 OUT=bin/arm64

.PHONY: web
ifneq ($(WEB),)
WEB_SOURCE := $(shell find web \( -name node_modules -o -path web/dist \) -prune -o -type f ! -name '*.go' -print)
web: web/dist/index.html ## the web UI, into web/dist
web/dist/index.html: $(WEB_INSTALLED) $(WEB_SOURCE)
	npm --prefix web run build
	@touch $@ web/dist/.keep
# Not npm ci: it wants the optional packages of every platform in the lock file.
$(WEB_INSTALLED): web/package-lock.json
	npm --prefix web install --no-save --no-audit --no-fund
	@touch $@
else
web: ;
endif

## Generated code

.PHONY: generate
generate: $(BUF) ## api/gen from the protos in api/proto
	cd api/proto && node_modules/@bufbuild/*/bin/buf generate

.PHONY: check-generated
check-generated: $(BUF) ## api/gen is what generate would write
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	(cd api/proto && node_modules/@bufbuild/*/bin/buf generate -o "$$tmp/proto"); \
	diff -r api/gen "$$tmp/gen" || { echo "api/gen is stale: run make generate"; exit 1; }

$(BUF): api/proto/package-lock.json
	npm --prefix api/proto ci --no-audit --no-fund
	@touch $@

## Checks

.PHONY: lint
lint: check-generated web-lint ## gofmt, vet, staticcheck, stale generated code, the web's own
	@files=$$(find . -name node_modules -prune -o -name '*.go' -print | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "gofmt wants to change:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: web-lint web-test
ifneq ($(WEB),)
web-lint: $(WEB_INSTALLED)
	npm --prefix web run check
web-test: $(WEB_INSTALLED)
	npm --prefix web test
else
web-lint web-test: ;
endif

# The race detector needs a C compiler; test/peers installs one where it may.
RACE = $(if $(shell command -v gcc),CGO_ENABLED=1 $(GO) test -race,$(GO) test)

.PHONY: test
test: ## install what the tests talk to, build, lint, and run every test
	test/peers
	$(MAKE) build
	$(MAKE) lint
	$(MAKE) unit
	$(MAKE) e2e
	$(MAKE) web-test

.PHONY: unit
unit: userchild ## the Go tests, with the race detector
	$(RACE) -timeout 20m $$($(GO) list ./... | grep -v '^teleport/test/')

# Never from the cache: it does not know the commands that these tests run. A story
# waits for its processes more than it computes, so there are more at a time than cores.
.PHONY: e2e
e2e: build ## what a person does, with real processes and real clients
	TELEPORT_BIN=$(abspath $(OUT)) $(GO) test -count=1 -parallel 3 -timeout 20m ./test/...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	@grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=node_modules . | sort | while read -r file; do \
		for target in $$(grep -oE '^func Fuzz\w+' "$$file" | cut -c6-); do \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

.PHONY: soak
soak: build ## ten minutes of talk while everything restarts: no byte is lost (SOAK=10m)
	TELEPORT_BIN=$(abspath $(OUT)) TELEPORT_SOAK=$(or $(SOAK),10m) $(GO) test -count=1 -timeout 60m -v -run "TestNoByteIsLost|TestALinkGoesDown|TestAKilledProxysRecording" ./test/e2e

.PHONY: bench
bench: build ## the table of bench/README.md
	@test -d bench || { echo "there is no bench/ yet"; exit 1; }
	$(GO) run ./bench -bin $(OUT)

.PHONY: profile
profile: build ## cmd/teleport/teleport.pgo anew, from loads of the bench (10 minutes; commit what comes)
	$(GO) run ./bench -bin $(OUT) -parts bulk,resume,queries,copy,apps -loads small,big -rounds 1 -seconds 8s -clients 8 -pgo $(PGO)

## Use

.PHONY: demo
demo: build ## a cluster on this machine until Ctrl-C; ONCE=1 ends after the tour
	@$(GO) build -o $(OUT)/demo ./test/demo
	@exec $(OUT)/demo -bin $(OUT) $(if $(ONCE),-once)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .cache web/node_modules api/proto/node_modules
	find web/dist -mindepth 1 ! -name .keep -delete
	find $(dir $(CHILD)) -name 'userchild_*' -delete
