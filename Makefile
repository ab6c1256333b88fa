# Everything here is plain go commands: a system without make loses nothing but the short names.
# Tools come from go.mod (go tool ...), so that nothing has to be installed.

LESSON ?= 07
FOR    ?= 10m

# Under this tag the Kafka client's locks are visible to virtual time. CONTRIBUTING.md says more.
TAGS  := -tags synctests
NN    := $(shell printf '%02d' "$$(echo $(LESSON) | sed 's/^lesson//; s/^0*//')")

# The trees that are green. katas/ is the learner's red to-do list and is never among them; the judge runs it.
GREEN := $(patsubst %,./%/...,$(wildcard harness ops shop internal cmd))
# Tests of a solution with a library that neither learner nor judge should build.
BESIDE := $(patsubst %,./%,$(wildcard solutions/*/described))
TIDY  := $(GREEN) $(patsubst %,./%/...,$(wildcard solutions))

# A lesson that is named on the command line is judged alone: make solutions-check LESSON=07.
JUDGED := $(if $(filter command line,$(origin LESSON)),$(NN))

.DEFAULT_GOAL := help
.PHONY: help kata watch serve check fmt build vet lint test race solutions-check broker-check bench explore golden report

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

kata: ## run a lesson: make kata LESSON=07
	go test $(TAGS) ./katas/lesson$(NN)/...

watch: ## run a lesson again at each save, in a terminal: make watch LESSON=07
	@go tool kata watch $(NN)

serve: ## watch a lesson's service run: make serve LESSON=07
	@go tool kata serve $(NN)

check: fmt build vet lint solutions-check test ## everything that CI checks

fmt:
	@bad=$$(gofmt -l .); test -z "$$bad" || { echo "not gofmt'ed: $$bad"; exit 1; }

build:
	go build ./...

vet:
	go vet ./...
	go vet $(TAGS) ./...

lint:
	go tool staticcheck $(TAGS) $(TIDY)

test: ## the tests of the harness, the judge and the tool
	@mkdir -p .katas
	go tool gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg --jsonfile .katas/test.json -- $(TAGS) $(GREEN) $(BESIDE)

race: ## the same under the race detector
	go tool gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg -- -race $(TAGS) $(GREEN)

solutions-check: ## prove that the course itself is right: the five laws
	@mkdir -p .katas
	go tool kata check $(JUDGED) --markdown .katas/laws.md

REAL = go tool kata check $(JUDGED) --brokers "$(BROKERS)" $(if $(BELT),--belt $(BELT)) --table solutions/REAL_KAFKA.md

broker-check: ## tell solutions and mistakes on a real Kafka: make broker-check BROKERS=localhost:9092
	$(REAL); specs=$$?; $(REAL) --mistakes && exit $$specs

bench: ## measure the solutions and the harness; with KAFKA_BROKERS=... also virtual against real time
	go test $(TAGS) -run '^$$' -bench . -benchmem $(TIDY)

explore: ## look for new failing schedules on the solutions: make explore FOR=10m
	go tool kata check $(JUDGED) --law 2 --repeat 1 --race=false --explore $(FOR)

golden: ## rewrite the golden files from what is printed now; read the diff
	go test $(TAGS) ./harness -update.failures -update-api
	go test ./internal/judge -update

report: ## write each story's whole timeline as HTML to .katas/: make report LESSON=07
	@mkdir -p .katas
	KATA_REPORT=$(CURDIR)/.katas go test $(TAGS) -count=1 ./katas/lesson$(NN)/...
