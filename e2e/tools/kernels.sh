#!/bin/bash
# Owns the lab's kernels: Debian amd64 kernels, downloaded and unpacked beside the machine's
# own, never installed. Prints one line a kernel on stdout: `LABEL VERSION VMLINUZ`.
#
#   kernels.sh [6.1|6.12|rt|newest|all]...          (default: all)
#
# `rt` is the PREEMPT_RT flavour of the 6.12 line.
#
#   $CACHE/kernels/VERSION/boot/vmlinuz-VERSION, …/lib/modules/VERSION
#   $CACHE/kernels/LABEL -> VERSION
#
# A label is looked up in the archive once a week (VRFGATE_KERNELS_REFRESH=1: now) and keeps
# its last kernel when that fails. The generic flavour is used: the much smaller cloud flavour
# has vrf, veth, dummy, ipvlan, nf_tables and tun too but no 9p, which is how the VM sees
# the machine's files. Apt works here on an own state directory, so the machine's sources and
# index stay as they are; trust is the machine's own Debian keyring.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

kernels=$CACHE/kernels
apt_dir=$CACHE/apt
refresh_after_days=7

# Where a label is looked for: words are tried in order, suites joined by `+` are one index.
# Big indexes come last where they can. Backports are at times ahead of sid (or of what a mirror
# has of it), and carry `newest` alone when this keyring or a stale mirror rules out sid.
suites_of() {
    case $1 in
    6.1) echo bookworm-security bookworm ;;
    6.12 | rt) echo trixie-security trixie bookworm-backports ;;
    newest) echo sid+trixie-backports trixie-backports bookworm-backports ;;
    esac
}

# Package names of one label: 6.1.0-NN-amd64, 6.12.NN+debNN-amd64, 6.12.NN+debNN-rt-amd64, any x.y.z(+deb)-amd64.
pattern_of() {
    # Nothing that begins with a letter, but for abi numbers and what Debian adds to versions: no flavours.
    local rest='[0-9]+(\.[0-9]+)*([+~-](deb|bpo)?[0-9]+[a-z0-9+~.]*)*'
    case $1 in
    newest) echo "^linux-image-[0-9]+\\.[0-9]+\\.${rest}-amd64$" ;;
    rt) echo "^linux-image-6\\.12\\.${rest}-rt-amd64$" ;;
    *) echo "^linux-image-${1//./\\.}\\.${rest}-amd64$" ;;
    esac
}

# Prints a Debian mirror this machine already uses: `mirror_of archive` or `mirror_of security`.
mirror_of() {
    local suites='^(bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)(-updates)?$'
    [ "$1" != security ] || suites='^[a-z]+-security$'
    # shellcheck disable=SC2016  # the fields are apt's, not the shell's
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suites="$suites" '$1 ~ suites && $2 == "main" {
            # Third parties name their suites after Debian too; the archive ends in /debian/.
            if ($3 ~ /\/debian(-security)?\/$/) { print $3; found = 1; exit }
            if (!other) other = $3
        }
        END { if (!found && other) print other }'
}

keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        [ ! -r "$file" ] || { echo "$file" && return; }
    done
    die "no Debian archive keyring on this machine"
}

# Makes an apt state directory for the suites `A+B` and prints it; fails when the machine
# names no mirror that could have them.
apt_state() {
    local suite mirror dir=$apt_dir/$1
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    : >"$dir/sources.list"
    for suite in ${1//+/ }; do
        case $suite in
        *-security) mirror=$(mirror_of security) ;;
        *) mirror=$(mirror_of archive) ;;
        esac
        [ -n "$mirror" ] || continue
        echo "deb [arch=amd64 signed-by=$(keyring)] $mirror $suite main" >>"$dir/sources.list"
    done
    [ -s "$dir/sources.list" ] || return 1
    # Hooks and indexes that other software on the machine asked apt for are not for us.
    cat >"$dir/apt.conf" <<-EOF
	Dir::State::lists "$dir/lists";
	Dir::Cache "$dir/cache";
	Dir::Etc::sourcelist "$dir/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::preferences "/dev/null";
	Dir::Etc::preferencesparts "/dev/null";
	APT::Architecture "amd64";
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	Acquire::Retries "2";
	Acquire::http::Timeout "20";
	Acquire::https::Timeout "20";
	#clear APT::Update::Pre-Invoke;
	#clear APT::Update::Post-Invoke;
	#clear APT::Update::Post-Invoke-Success;
	#clear Acquire::IndexTargets::deb::DEP-11;
	#clear Acquire::IndexTargets::deb::DEP-11-icons;
	#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
	#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
	#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
	#clear Acquire::IndexTargets::deb::CNF;
	#clear Acquire::IndexTargets::deb::Contents-deb;
	EOF
    echo "$dir"
}

# Prints the kernel image packages of a label in an apt state, newest first.
candidates() {
    apt-cache -c "$2/apt.conf" pkgnames linux-image- | grep -E "$(pattern_of "$1")" |
        sort --version-sort --reverse
}

# Downloads the packages that make up one kernel image. Newer Debian splits it: the image
# package is empty and depends on linux-{base,binary,modules}-*.
download() {
    local state=$1 image=$2 into=$3 packages
    read -ra packages <<<"$image $(apt-cache -c "$state/apt.conf" depends --no-recommends "$image" |
        sed -nE 's/^ +Depends: (linux-(base|binary|modules)-.*)/\1/p' | tr '\n' ' ')"
    (cd "$into" && quietly timeout 900 apt-get -q -c "$state/apt.conf" download "${packages[@]}")
}

# Unpacks the packages in a directory to $kernels/VERSION and keeps what a VM can use. Where
# Debian puts things has moved over the years: boot/ and lib/modules/, then all below usr/lib/modules/.
unpack() {
    local from=$1 version=$2 kept=$1/kept package vmlinuz modules
    for package in "$from"/*.deb; do
        dpkg -x "$package" "$from/tree"
        rm "$package"
    done
    modules=$(find "$from/tree" -type d -path "*/lib/modules/$version")
    vmlinuz=$(find "$from/tree" -type f -path "*/boot/vmlinuz-$version" -o \
        -type f -path "*/lib/modules/$version/vmlinuz")
    if [ ! -d "$modules/kernel" ] || [ ! -f "$vmlinuz" ]; then
        say "the packages of $version are laid out in a way this script does not know"
        return 1
    fi
    mkdir -p "$kept/boot" "$kept/lib/modules"
    mv "$vmlinuz" "$kept/boot/vmlinuz-$version"
    mv "$modules" "$kept/lib/modules/"
    rm -f "$kept/lib/modules/$version/"{build,source,System.map,config}
    # Most modules drive hardware that QEMU does not have.
    (cd "$kept/lib/modules/$version/kernel" &&
        rm -rf sound drivers/{accel,ata,bluetooth,comedi,edac,gpu,hid,hwmon,i2c,iio,infiniband,input} \
            drivers/{isdn,md,media,message,mfd,misc,mmc,mtd,net/ethernet,net/wireless,nvme,pinctrl} \
            drivers/{platform,power,scsi,soundwire,spi,staging,thunderbolt,tty,usb,video} \
            fs/{btrfs,ceph,gfs2,jfs,nilfs2,ocfs2,reiserfs,smb,ubifs,xfs})
    rm -rf "${kernels:?}/$version"
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$kept" "$version" && mv "$kept" "$kernels/$version"
}

# Fetches a label's newest downloadable kernel and points the label at it.
fetch() {
    local label=$1 suites state image version work tries
    for suites in $(suites_of "$label"); do
        state=$(apt_state "$suites") || continue
        if ! quietly timeout 300 apt-get -q -c "$state/apt.conf" \
            -o APT::Update::Error-Mode=any update; then
            say "no sound index of $suites from this machine's mirror and keyring"
            continue
        fi
        tries=0
        while read -r image && [ "$((tries += 1))" -le 4 ]; do
            version=${image#linux-image-}
            if [ -e "$kernels/$version/boot/vmlinuz-$version" ]; then
                point "$label" "$version"
                return
            fi
            say "downloading $image from $suites"
            work=$(mktemp -d "$kernels/.new-XXXXXX")
            if ! download "$state" "$image" "$work"; then
                say "$image is in the index but could not be downloaded; trying the one before it"
            elif unpack "$work" "$version"; then
                rm -rf "$work"
                point "$label" "$version"
                return
            fi
            rm -rf "$work"
        done < <(candidates "$label" "$state")
    done
    return 1
}

# Points a label at a version and removes the version that no label names any more.
point() {
    local former
    former=$(readlink "$kernels/$1" || true)
    ln -sfnT "$2" "$kernels/$1"
    touch "$kernels/$1.checked"
    [ -n "$former" ] && [ "$former" != "$2" ] || return 0
    [ -n "$(find "$kernels" -maxdepth 1 -type l -lname "$former")" ] || rm -rf "${kernels:?}/$former"
}

vmlinuz_of() {
    local version
    version=$(readlink "$kernels/$1") && echo "$kernels/$version/boot/vmlinuz-$version"
}

checked_lately() {
    [ -z "${VRFGATE_KERNELS_REFRESH:-}" ] &&
        [ -n "$(find "$kernels/$1.checked" -mtime "-$refresh_after_days" 2>/dev/null)" ]
}

provide() {
    local label=$1 vmlinuz
    vmlinuz=$(vmlinuz_of "$label") || vmlinuz=
    if [ ! -r "$vmlinuz" ] || ! checked_lately "$label"; then
        "$here/packages.sh" kernels
        if ! fetch "$label"; then
            [ -r "$vmlinuz" ] || die "no $label kernel: none could be downloaded and none is cached"
            say "could not look for a newer $label kernel; using the cached one"
        fi
        vmlinuz=$(vmlinuz_of "$label")
    fi
    echo "$label $(readlink "$kernels/$label") $vmlinuz"
}

[ "$(uname -m)" = x86_64 ] || die "only amd64 kernels are handled; this machine is $(uname -m)"
[ $# != 0 ] || set -- all
labels=()
for label; do
    case $label in
    6.1 | 6.12 | rt | newest) labels+=("$label") ;;
    all) labels+=(6.1 6.12 rt newest) ;;
    *) die "usage: kernels.sh [6.1|6.12|rt|newest|all]..." ;;
    esac
done
mkdir -p "$kernels"
lock_cache kernels
for label in "${labels[@]}"; do
    provide "$label"
done
