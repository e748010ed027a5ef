# Every target installs what it needs on a Debian-like machine; see e2e/tools.

TOOLS := e2e/tools
# Attaching BPF programs and making namespaces takes root. Cargo runs as you, the tests run as root.
ifneq ($(shell id -u),0)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER ?= sudo -E
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER ?= sudo -E
endif

.PHONY: all demo test test-unit test-kill test-fuzz test-object test-kernels test-k8s test-cni bench bench-decisions bench-traffic bench-apply bench-figures bench-cni bench-fleet object chart-readme lint audit test-packaging test-release image deb sbom

all:
	cargo build --release -p vrfgate-operator -p vrfgate-cni

# What vrfgate is for, before and after, on a kernel with VRFs (in a VM if this one has none). Two minutes once it is built.
demo:
	e2e/demo.sh

# All tests. The last line is `N passed, N failed`.
test:
	e2e/test-all.sh

# For the inner loop: pure code, and the BPF program and the loader on this kernel.
test-unit:
	$(TOOLS)/packages.sh build lab
	cargo test --workspace --no-fail-fast

# The CNI plugin's answers, beside those of a plugin by the specification's authors.
test-cni:
	$(TOOLS)/packages.sh build lab
	$(TOOLS)/cni-plugins.sh >/dev/null
	eval "$$($(TOOLS)/cni-plugins.sh | sed 's/^/export /')"; cargo test --workspace --test reference -- --nocapture

# kill -9 at every system call of attach, edit, upgrade and detach.
test-kill:
	$(TOOLS)/packages.sh build lab
	cargo test --workspace --test killed_at_any_moment

# Untrusted input, made by LLVM's libFuzzer: for FUZZ_SECONDS (10) each, for every reader or those that TARGETS names.
test-fuzz:
	$(TOOLS)/packages.sh build
	e2e/fuzz/run.sh $(TARGETS)

# The committed BPF objects are what their source makes.
test-object:
	eval "$$($(TOOLS)/bpf-toolchain.sh | sed 's/^/export /')"; ebpf/program/check.sh

# The VRF lab on real kernels: KERNELS="6.1 6.12 newest", or `host` for this one; TESTS=part of a test's name.
KERNELS ?= all
test-kernels:
	e2e/run-lab.sh $(KERNELS) $(if $(TESTS),-- $(TESTS))

# The contents of the image and of the Debian package. The lab on 6.12 installs the package (TESTS=package).
test-packaging:
	$(TOOLS)/packages.sh build image deb
	image=$$(operator/packaging/image.sh) && deb=$$(operator/packaging/deb.sh) && \
	env "$$image" "$$deb" cargo test --workspace --test packaging -- --nocapture

# The operator and the Helm chart with a real kube-apiserver and etcd, and with nodes that are VMs, one with a kubelet.
# TESTS=part of a test's name.
PROGRAMS := etcd kube-apiserver kubelet
KUBERNETES = $(TOOLS)/kubernetes.sh $(PROGRAMS) && $(TOOLS)/containerd.sh && \
	$(TOOLS)/cni-plugins.sh && $(TOOLS)/helm.sh
test-k8s:
	$(TOOLS)/packages.sh build lab vm
	{ $(KUBERNETES); } >/dev/null
	$(TOOLS)/kernels.sh 6.12 >/dev/null
	cargo build --workspace --bins --test cluster
	eval "$$({ $(KUBERNETES); } | sed 's/^/export /')"; cargo test --workspace --test cluster -- $(or $(TESTS),--skip a_release)

# The chart and the image on a whole cluster with a real node: installed, upgraded, uninstalled; and the agent without
# each of its capabilities in turn. Takes twenty minutes in an emulated machine, and so isn't part of `make test`. IDLE=600
# also prints the memory of agent and controller after so many seconds without any change.
test-release:
	$(TOOLS)/packages.sh image
	operator/packaging/image.sh >/dev/null
	operator/packaging/image.sh --version 99.0.0-next >/dev/null
	$(MAKE) test-k8s TESTS=$(or $(TESTS),a_release) \
		PROGRAMS="$(PROGRAMS) kube-controller-manager kube-scheduler kubectl"

# Every benchmark; draws the figures of docs/benchmarks.md again. Results are in target/bench.
bench: bench-decisions bench-traffic bench-apply bench-figures bench-cni bench-fleet

# What one decision of the gate costs by the number of rules, beside an empty program and a single trie.
bench-decisions:
	$(TOOLS)/packages.sh build lab
	cargo bench -p vrfgate-ebpf --bench decisions

# What the gate costs traffic on this kernel; and traffic through a VRF, beside nftables and a relay.
bench-traffic:
	e2e/bench-traffic.sh

# How long rules take until they are in force, while clients connect.
bench-apply:
	$(TOOLS)/packages.sh build lab
	cargo bench -p vrfgate-ebpf --bench apply

# Draws ebpf/benches/figures/*.svg from target/bench/*.json.
bench-figures:
	cargo bench -p vrfgate-ebpf --bench figures

# What the CNI plugin costs a pod, without a VRF and with one, beside reference plugins.
bench-cni:
	e2e/bench-cni.sh

# What a fleet of NODES nodes and LEAKS leaks costs, with EDITS edits of each kind: a table, and target/bench/fleet.json.
bench-fleet:
	$(TOOLS)/packages.sh build
	$(TOOLS)/kubernetes.sh >/dev/null
	$(TOOLS)/helm.sh >/dev/null
	cargo build --release -p vrfgate-operator -p vrfgate-cluster --bin vrfgate --bench fleet
	eval "$$({ $(TOOLS)/kubernetes.sh; $(TOOLS)/helm.sh; } | sed 's/^/export /')"; \
	$(if $(NODES),NODES=$(NODES)) $(if $(LEAKS),LEAKS=$(LEAKS)) $(if $(EDITS),EDITS=$(EDITS)) \
	cargo bench -p vrfgate-operator -p vrfgate-cluster --bench fleet

# Rebuilds the committed BPF objects from ebpf/program.
object:
	eval "$$($(TOOLS)/bpf-toolchain.sh | sed 's/^/export /')"; \
	ebpf/program/build.sh ebpf/object && ebpf/program/provenance.sh ebpf/object >ebpf/object/provenance

# Writes the README of the Helm chart from its template, its values and their comments.
chart-readme:
	$(TOOLS)/helm.sh >/dev/null
	eval "$$($(TOOLS)/helm.sh)"; "$$HELM_DOCS" --chart-search-root charts/vrfgate

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

# What a release consists of, with this version or VERSION; ARCH=arm64 makes it for that architecture.
#   image   target/image/vrfgate-VERSION-ARCH.oci.tar
#   deb     target/debian/vrfgate_VERSION_ARCH.deb
#   sbom    target/sbom/PROGRAM-VERSION-ARCH.cdx.json
OPTIONS = $(if $(ARCH),--arch $(ARCH)) $(if $(VERSION),--version $(VERSION))
image deb sbom:
	operator/packaging/$@.sh $(OPTIONS)

# Licences, sources and known vulnerabilities of the dependencies. The list of vulnerabilities comes from GitHub.
audit:
	eval "$$($(TOOLS)/cargo-deny.sh | sed 's/^/export /')"; $$CARGO_DENY check
