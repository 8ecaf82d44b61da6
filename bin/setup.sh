# Sourced by the launchers: leaves in $python an interpreter that runs facefit, after installing it where needed.
#
#   $root    the project's folder, absolute
#   $level   what to install: base (to use it), label (to label folders of photos as well), webcam (to record and send
#            what a camera sees as well), test (to test all of it), dev (to lint and build it as well)
#
# The last step of an installation writes a stamp per level into .venv: the folder and the checksum of setup.cfg.
# Without the right stamp (interrupted, new dependencies, project moved) the installation is done again over what is
# there, so a half-made .venv is never taken for good. Two launchers at once: the second waits for the first.

venv=$root/.venv
wanted="$root $(cksum <"$root/setup.cfg")"

case $level in
base) includes='base' target=. probe='import facefit' ;;
label) includes='base label' target='.[label]' probe='import facefit, pyarrow' ;;
webcam) includes='base webcam' target='.[live,video]' probe='import facefit, av, pythonosc' ;;
test)
    includes='base label webcam test' target='.[test]'
    probe='import facefit, pytest, hypothesis, trimesh, os.path, sys
assert os.path.samefile(os.path.dirname(facefit.__file__), os.path.join(sys.argv[1], "api"))'
    ;;
dev) includes='base label webcam test dev' target='.[dev]' probe='raise SystemExit("always .venv")' ;;
esac

lock='import fcntl
try:
    fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("facefit: another run is installing it; waiting for that one", flush=True)
    fcntl.flock(0, fcntl.LOCK_EX)'

fail() {
    printf 'facefit: %s\n' "$1" >&2
    exit 1
}

installed() {
    [ -x "$venv/bin/python" ] && [ "$(cat "$venv/installed-$level" 2>/dev/null)" = "$wanted" ]
}

find_base_python() {
    reason='Python 3.11 or newer is needed and none was found; install one and run this again'
    for base_python in python3.13 python3.12 python3.11 python3 python3.14 python; do
        "$base_python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        "$base_python" -I -c 'import ensurepip, venv' 2>/dev/null && return
        reason="$base_python lacks its venv module; install it (Debian, Ubuntu: apt install python3-venv) and run this again"
    done
    fail "$reason"
}

pip_install() {
    (cd "$root" && "$venv/bin/python" -m pip --disable-pip-version-check install --no-input "$@")
}

install() {
    find_base_python
    exec 9<"$root/setup.cfg"
    "$base_python" -I -c "$lock" <&9 2>/dev/null # unlocked where the file system has no locks
    if ! installed; then
        trap 'fail "interrupted; run this again to finish the installation"' INT TERM
        echo "facefit: installing into $venv (once; some 300 MB to download, a few minutes)"
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$base_python" -m venv --clear "$venv" ||
            fail "cannot make the virtual environment $venv"
        # Only wheels, so that no compiler is asked for; face-recognition-models is plain files and has none.
        pip_install --quiet --retries 2 --upgrade setuptools wheel &&
            pip_install --no-build-isolation --only-binary :all: --no-binary face-recognition-models --editable "$target" ||
            fail 'the installation failed (see above); check the network and the free disk space, then run this again'
        for included in $includes; do
            printf '%s\n' "$wanted" >"$venv/installed-$included"
        done
        echo "facefit: installed; to undo it, delete $venv"
        trap - INT TERM
    fi
    exec 9<&-
}

if installed; then
    python=$venv/bin/python
elif [ ! -e "$venv" ] && python3 -P -c "$probe" "$root" 2>/dev/null; then
    python=python3
else
    install >&2
    python=$venv/bin/python
fi
