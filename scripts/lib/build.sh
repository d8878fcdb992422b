# shellcheck shell=bash
# Building a preset, and the Python environment of the tests. Sourced after common.sh.

# build_preset NAME: configures and builds; the binaries are in build/NAME/bin.
build_preset() {
    (
        cd "$ROOT" || exit
        cmake --preset "$1" >"$ROOT/build/configure-$1.log" 2>&1 ||
            { cat "$ROOT/build/configure-$1.log"; exit 1; }
        # Quiet when all is well: ninja has no option for "no work to do".
        cmake --build --preset "$1" -- --quiet >"$ROOT/build/build-$1.log" 2>&1 ||
            { cat "$ROOT/build/build-$1.log"; exit 1; }
    )
}

# python_environment: build/venv with the pinned packages of tests/requirements.txt, made anew when they change.
python_environment() {
    local venv=$ROOT/build/venv wanted=$ROOT/tests/requirements.txt
    cmp -s "$wanted" "$venv/requirements.installed" && return 0
    # Debian's own interpreter, whatever else is first on PATH: cqlsh is particular about versions.
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv" &&
        "$venv/bin/python" -m pip install -qq --disable-pip-version-check -r "$wanted" &&
        cp "$wanted" "$venv/requirements.installed"
}

# node_environment FOLDER: build/FOLDER with the packages of tests/FOLDER/package-lock.json, made anew when they change.
node_environment() {
    local modules=$ROOT/build/$1 wanted=$ROOT/tests/$1
    cmp -s "$wanted/package-lock.json" "$modules/node_modules/.installed" && return 0
    mkdir -p "$modules"
    cp "$wanted/package.json" "$wanted/package-lock.json" "$modules/" &&
        npm ci --prefix "$modules" --ignore-scripts --no-audit --no-fund --silent --prefer-offline &&
        cp "$wanted/package-lock.json" "$modules/node_modules/.installed"
}
